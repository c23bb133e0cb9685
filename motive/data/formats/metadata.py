"""Datasets that keep one table of clips beside the video files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from motive.data.base import Clip, Dataset, Failure
from motive.data.formats.reader import DatasetFormat, ReadOptions, Subset
from motive.data.formats.tables import TableRow, cell_text, column_names, copy_rows, read_rows
from motive.data.paths import PathGuard, check_id, printable
from motive.errors import ClipError, DatasetError

ID_COLUMNS = ("clip_id", "id")
METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "metadata.json")
SUBSET_CSV = "metadata.csv"
CLIP_COLUMNS = frozenset(("clip_id", "id", "file_name", "path", "video", "video_path", "text", "caption", "prompt"))
"""Names that say which clip a row is; no score may take one."""


class TableFormat(DatasetFormat):
    """A table with one row for each clip; subclasses say how it is recognised and what its columns are called.

    Attributes:
        path_columns: columns that may name the video file; the first one with a value is used.
        caption_columns: the same for the caption; a row without any has an empty caption.
        suffixes: kinds of table this format uses.
    """

    path_columns: tuple[str, ...]
    caption_columns: tuple[str, ...]
    suffixes: tuple[str, ...]

    def find(self, path: Path) -> Path | None:
        """The table that a path stands for: itself, or ``metadata.*`` of this format in a folder.

        A ``.jsonl`` file of another name is left to the jsonl format, which takes any of these columns.

        Raises:
            DatasetError: the folder holds two such tables, or one that cannot be read.
        """
        if path.is_file():
            suffix = path.suffix.lower()
            taken = suffix in self.suffixes and (suffix != ".jsonl" or path.name in METADATA_NAMES)
            return path if taken and self.owns(path) else None
        names = (path / name for name in METADATA_NAMES)
        found = [file for file in names if file.suffix in self.suffixes and file.is_file() and self.owns(file)]
        if len(found) > 1:
            raise DatasetError(
                f"read_dataset: {path} must hold one table of clips, got {' and '.join(f.name for f in found)}; "
                "give the path of the one to read"
            )
        return found[0] if found else None

    def owns(self, file: Path) -> bool:
        """Whether a table has this format's columns."""
        return any(name in self.path_columns for name in column_names(file))

    def detect(self, path: Path) -> bool:
        return self.find(path) is not None

    def read(self, path: Path, options: ReadOptions) -> Dataset:
        source = self.find(path) or (path if path.is_file() else None)
        if source is None:
            raise DatasetError(
                f"read_dataset: {path} must hold a table with a column {' or '.join(self.path_columns)} "
                f"for format {self.name}, got none; give the path of the table"
            )
        guard = PathGuard(options.root or source.parent, options.follow_links)
        clips: list[Clip] = []
        failures: list[Failure] = []
        seen: set[str] = set()
        rows, named = 0, False
        for row in read_rows(source):
            rows += 1
            named = named or any(name in row.values for name in self.path_columns)
            try:
                clips.append(self._clip(row, guard, seen))
            except ClipError as error:
                name, path_text = self._names(row, source.name)
                failures.append(Failure(name, path_text, "read", error.reason, error.detail))
        if not rows:
            raise DatasetError(f"read_dataset: {source} must name at least one clip, got no rows; check the file")
        if not named:
            raise DatasetError(
                f"read_dataset: {source} must have a column {' or '.join(self.path_columns)} for format {self.name}, "
                f"got {', '.join(column_names(source)) or 'none'}; rename the column or choose another format"
            )
        clips.sort(key=lambda clip: clip.clip_id)
        return Dataset(
            location=Path(os.path.abspath(path)),
            root=guard.root,
            format=self.name,
            clips=tuple(clips),
            failures=tuple(failures),
            source=Path(os.path.abspath(source)),
        )

    def _clip(self, row: TableRow, guard: PathGuard, seen: set[str]) -> Clip:
        """The clip that a row names; ``seen`` collects the ids."""
        if row.problem:
            raise ClipError(*row.problem)
        _, written = self._path(row.values)
        relative = guard.relative(written)
        clip_id = self._clip_id(row.values, relative)
        if clip_id in seen:
            raise ClipError("duplicate_id", f"row {row.number} repeats the id {clip_id!r}")
        seen.add(clip_id)
        caption = self._caption(row.values)
        columns = {name: cell_text(value) for name, value in row.values.items()}
        return Clip(clip_id, guard.file(relative), caption, columns)

    def _path(self, values: Mapping[str, Any]) -> tuple[str, str]:
        """Column that names the file, and its text."""
        for name in self.path_columns:
            if values.get(name) is not None:
                if not isinstance(values[name], str):
                    raise ClipError("bad_row", f"{name} is {type(values[name]).__name__}, not text")
                return name, values[name]
        raise ClipError("bad_row", f"the row has no {' or '.join(self.path_columns)}")

    def _names(self, row: TableRow, table: str) -> tuple[str, str]:
        """Best id and path there are for a row that cannot be used."""
        written = next((row.values[name] for name in self.path_columns if isinstance(row.values.get(name), str)), "")
        own_id = next((cell_text(row.values[name]) for name in ID_COLUMNS if name in row.values), "")
        return printable(own_id.strip() or written.strip() or f"{table}:{row.number}"), printable(written)

    def _clip_id(self, values: Mapping[str, Any], relative: str) -> str:
        for name in ID_COLUMNS:
            if name in values:
                return check_id(cell_text(values[name]))
        return check_id(relative)

    def _caption(self, values: Mapping[str, Any]) -> str:
        value = next((values[name] for name in self.caption_columns if values.get(name) is not None), None)
        if isinstance(value, (list, dict)):
            raise ClipError("bad_row", f"the caption is {type(value).__name__}, not text")
        return cell_text(value)

    def write(self, subset: Subset, out: Path) -> None:
        """Write the subset's rows to a table of the input's own kind and name.

        Kept cells are exactly as they were read, so captions that a trainer reads do not change; a CSV is
        therefore as safe to open in a spreadsheet as the CSV it was selected from. A table that is called
        ``metadata.csv`` also gets ``file_name``, ``clip_id`` and ``caption``, if it lacks them: it is both this
        format's table and the HF VideoFolder one. ``metadata.json``, ``.jsonl`` and ``.parquet`` become
        ``selection.*``, since the hub's loader refuses a folder with two kinds of ``metadata.*``.
        """
        source = subset.dataset.source
        if source is None:
            raise DatasetError(
                f"write_subset: dataset must have a table for format {self.name}, got none; read it again"
            )
        target = out / (f"selection{source.suffix}" if source.name in METADATA_NAMES[1:] else source.name)
        updates: list[dict[str, Any]] = []
        located = self._locate(subset, source)
        for row, file, (_, path_column) in zip(subset.rows, subset.files, located, strict=True):
            update: dict[str, Any] = {path_column: file}
            if target.name == SUBSET_CSV:
                known = row.clip.columns
                added = {"file_name": file, "clip_id": row.clip.clip_id, "caption": row.clip.caption}
                update.update({k: v for k, v in added.items() if k == "file_name" or k not in known})
            updates.append({**update, **row.scores})
        copy_rows(source, target, [number for number, _ in located], updates)

    def _locate(self, subset: Subset, source: Path) -> list[tuple[int, str]]:
        """Row number of each selected clip in the table, and the column that names its file."""
        guard = PathGuard(subset.dataset.root)
        found: dict[str, tuple[int, str]] = {}
        for row in read_rows(source):
            if row.problem:
                continue
            try:
                column, written = self._path(row.values)
                found.setdefault(self._clip_id(row.values, guard.relative(written)), (row.number, column))
            except ClipError:
                continue
        lost = [row.clip.clip_id for row in subset.rows if row.clip.clip_id not in found]
        if lost:
            raise DatasetError(
                f"write_subset: {source} must still hold every selected clip, got no row for {lost[0]!r} "
                f"({len(lost)} in all); restore the table that was read"
            )
        return [found[row.clip.clip_id] for row in subset.rows]
