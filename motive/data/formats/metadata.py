"""Datasets that keep one table of clips beside the video files."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from motive.data.base import Unread
from motive.data.formats.copying import copy_rows
from motive.data.formats.reader import DatasetFormat, Detection, Row, Subset
from motive.data.formats.sequences import Mapped
from motive.data.formats.tables import TableRow, cell_text, checked, column_names, is_missing, read_rows, same_rows
from motive.data.paths import PathGuard, is_clean
from motive.errors import ClipError, DatasetError

ID_COLUMNS = ("clip_id", "id")
METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "metadata.json", "metadata.tsv")
SUBSET_CSV = "metadata.csv"
_MOST_TABLES = 64
"""Tables of a folder whose columns are looked at, to find the one that a format reads."""
CLIP_COLUMNS = frozenset(("clip_id", "id", "file_name", "path", "video", "video_path", "text", "caption", "prompt"))
"""Names that say which clip a row is; no score may take one."""


class TableFormat(DatasetFormat):
    """A table with one row for each clip; subclasses say how it is recognised and what its columns are called.

    Attributes:
        path_columns: columns that may name the video file; the first one with a value is used.
        caption_columns: the same for the caption; a row without any has no caption.
        suffixes: kinds of table this format uses.
        required: columns that a table must have to be of this format; empty for any one of path_columns.
        writes_paths: whether the table of a selection names files by their new paths; otherwise the cell stays.
        writes_ids: whether it gets a column ``clip_id``, since its new paths would be other ids.
    """

    path_columns: tuple[str, ...]
    caption_columns: tuple[str, ...]
    suffixes: tuple[str, ...]
    required: tuple[str, ...] = ()
    keeps_values = True
    writes_paths: bool = True
    writes_ids: bool = False

    def candidates(self, folder: Path) -> list[Path]:
        """Files of a folder that may be its table, in the order of preference."""
        names = [name for name in METADATA_NAMES if Path(name).suffix in self.suffixes]
        return [folder / name for name in names if (folder / name).is_file()]

    def owns(self, file: Path) -> bool:
        """Whether a table has this format's columns.

        Raises:
            DatasetError: it cannot be read.
        """
        columns = set(column_names(file))
        return columns.issuperset(self.required) if self.required else self.names_a_file(columns)

    def takes(self, file: Path) -> bool:
        """Whether a file that the user gave may be this format's table, by its name.

        A ``.jsonl`` file of another name is left to the jsonl format, which takes any of these columns.
        """
        suffix = file.suffix.lower()
        return suffix in self.suffixes and (suffix != ".jsonl" or file.name in METADATA_NAMES)

    def detect(self, path: Path, named: bool) -> Detection | None:
        if path.is_file():
            return Detection(path, path) if named or (self.takes(path) and self.owns(path)) else None
        found = [file for file in self.candidates(path) if self.owns(file)]
        unread = []
        for other in found[1:]:
            if not same_rows(found[0], other):
                raise DatasetError(
                    f"{path} holds several tables of clips: {' and '.join(file.name for file in found)}; give the path "
                    f"of one ({found[0]}), or pass --dataset-format folder to read the videos without a table"
                )
            unread.append(Unread(other.name, f"it holds the same rows as {found[0].name}"))
        if not found and named:
            raise DatasetError(
                f"{path} holds no table with a column {' or '.join(self.path_columns)} for format {self.name}; give the "
                "path of the table"
            )
        return Detection(path, found[0], tuple(unread)) if found else None

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread]:
        source = found.source or found.path
        count, has_path = 0, False
        for row in read_rows(source):
            count += 1
            has_path = has_path or self.names_a_file(row.values)
            yield self.row_of(row, source.name)
        if not count:
            raise DatasetError(f"{source} has no rows; check the file")
        if not has_path:
            raise DatasetError(
                f"{source} has no column {' or '.join(self.path_columns)}, which format {self.name} needs: its columns "
                f"are {', '.join(column_names(source)) or 'none'}; rename one or choose another --dataset-format"
            )

    def row_of(self, row: TableRow, table: str) -> Row:
        """The entry that a row of a table is; ``table`` is its file name, for messages."""
        values = row.values
        column = self._path_column(values)
        written = values[column] if column is not None else ""
        own_id = own_id_of(values)
        problem = row.problem
        if problem is None and column is None:
            problem = ("bad_row", f"the row has no {' or '.join(self.path_columns)}")
        if not isinstance(written, str):
            problem, written = problem or ("bad_row", f"{column} is {type(written).__name__}, not text"), ""
        try:
            caption = caption_of(values, self.caption_columns)
        except ClipError as error:
            problem, caption = problem or (error.reason, error.detail), None
        return Row(
            media=self.media_path(written),
            label=(own_id or "").strip() or written.strip() or f"{table}:{row.number}",
            caption=caption,
            columns={sys.intern(name): cell_text(value) for name, value in values.items()},
            clip_id=own_id,
            problem=problem,
            values=values,
        )

    def id_of_row(self, values: Mapping[str, Any], guard: PathGuard) -> str | None:
        """The id of a row without a problem, from its id or path alone; None where it has neither, or one that is refused.

        A subclass whose row_of gives other ids gives them here too.
        """
        own_id = own_id_of(values)
        column = None if own_id is not None else self._path_column(values)
        if column is None:
            return own_id
        written = values[column]
        try:
            return guard.relative(self.media_path(written)) if isinstance(written, str) else None
        except ClipError:
            return None

    def names_a_file(self, columns: Iterable[str]) -> bool:
        """Whether a table has a column that may name the video file."""
        return not set(columns).isdisjoint(self.path_columns)

    def _path_column(self, values: Mapping[str, Any]) -> str | None:
        """The column that names the file."""
        for name in self.path_columns:
            if not is_missing(values.get(name)):
                return name
        return None

    def media_path(self, written: str) -> str:
        """The path of a video, relative to the table's folder, that a cell stands for."""
        return written

    def table_path(self, file: str) -> str:
        """The cell that stands for a video at this path relative to the table's folder."""
        return file

    def table_of_subset(self, source: Path) -> str:
        """Name of the table in a selection with its videos."""
        return subset_table(source)

    def write(self, subset: Subset, out: Path) -> None:
        """Write the subset's rows to a table of the input's own kind and name.

        Kept cells are exactly as they were read, so captions that a trainer reads do not change; a CSV is
        therefore as safe to open in a spreadsheet as the CSV it was selected from. A table that is called
        ``metadata.csv`` also gets ``file_name``, ``clip_id`` and ``caption``, if it lacks them: it is both this
        format's table and the HF VideoFolder one. ``metadata.*`` of another kind gets another name, since the hub's
        loader refuses a folder with two kinds of ``metadata.*``.
        """
        source = subset.dataset.source
        if source is None:
            raise DatasetError(f"the dataset names no table for format {self.name}; read it again")
        target = out / self.table_of_subset(source)
        located = self._locate(subset, source)

        def update(at: int) -> dict[str, Any]:
            row, file = subset.rows[at], subset.files[at]
            cells: dict[str, Any] = {located[at][1]: self.table_path(file)} if self.writes_paths else {}
            if self.writes_ids:
                cells["clip_id"] = row.clip.clip_id
            if target.name == SUBSET_CSV:
                known = row.clip.columns
                added = {"file_name": file, "clip_id": row.clip.clip_id, "caption": row.clip.caption}
                cells.update({k: v for k, v in added.items() if k == "file_name" or k not in known})
            return {**cells, **row.scores}

        copy_rows(source, target, [number for number, _ in located], Mapped(range(len(located)), update))

    def write_scores(self, subset: Subset, out: Path) -> None:
        """The subset's rows of the table as they are, with the scores as further columns."""
        source = subset.dataset.source
        if source is None:
            raise DatasetError(f"the dataset names no table for format {self.name}; read it again")
        target = out / subset_table(source, videos=False)
        numbers = [number for number, _ in self._locate(subset, source)]
        copy_rows(source, target, numbers, Mapped(subset.rows, lambda row: dict(row.scores)))

    def _locate(self, subset: Subset, source: Path) -> list[tuple[int, str]]:
        """Row number of each selected clip in the table, and the column that names its file."""
        guard = PathGuard.of(subset.dataset.root, subset.dataset.options)
        found: dict[str, tuple[int, str] | None] = dict.fromkeys(subset.ids)
        for row in read_rows(source, check=False):
            clip_id = self.id_of_row(row.values, guard)
            if clip_id is None or found.get(clip_id, ()) is not None:  # not selected, or an earlier row has the id
                continue
            column = self._path_column(row.values)
            if column is not None and self.row_of(checked(row), source.name).problem is None:
                found[clip_id] = (row.number, column)
        places = [place for place in found.values() if place is not None]
        if len(places) < len(found):
            lost = next(clip_id for clip_id, place in found.items() if place is None)
            raise DatasetError(
                f"{source} no longer holds every selected clip: {lost!r} is missing ({len(found) - len(places)} in all); "
                "restore the table that was read"
            )
        return places


def subset_table(source: Path, videos: bool = True) -> str:
    """Name of the table in a selection.

    ``metadata.*`` gets another one where it would lie beside the selection's ``metadata.csv``, and must not be called as
    the selection's record.

    Args:
        source: the table that was read.
        videos: the selection has its videos, so that a ``metadata.csv`` of the dataset is the selection's own.
    """
    if source.name not in METADATA_NAMES or (videos and source.name == SUBSET_CSV):
        return source.name
    return "clips.json" if source.suffix == ".json" else f"selection{source.suffix}"


def tables_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Tables directly in a folder, by name; none where there are more than a dataset has, as one for each video."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.lower().endswith(tuple(suffixes)) and entry.is_file()]
    names = sorted(name for name in names if not name.startswith("."))
    return [folder / name for name in names] if len(names) <= _MOST_TABLES else []


def own_id_of(values: Mapping[str, Any]) -> str | None:
    """The dataset's own id of a row; None where the table has no column of ids."""
    for name in ID_COLUMNS:
        if name in values:
            return cell_text(values[name])
    return None


def caption_of(values: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    """The caption in the first of these columns that has text; blank where they hold no more than empty text.

    Raises:
        ClipError: it is a list, an object, or bytes that are not text.
    """
    given = [values[name] for name in columns if not is_missing(values.get(name))]
    value = next((value for value in given if value not in ("", b"")), given[0] if given else None)
    if isinstance(value, (bytes, bytearray)):
        try:
            value = bytes(value).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ClipError("bad_text", f"the caption is not UTF-8: {error.reason}") from error
        if not is_clean(value):
            raise ClipError("bad_text", "the caption holds a NUL byte")
    if isinstance(value, (list, dict)) or (isinstance(value, float) and not math.isfinite(value)):
        raise ClipError("bad_row", f"the caption is {type(value).__name__}, not text")
    return None if value is None else cell_text(value)
