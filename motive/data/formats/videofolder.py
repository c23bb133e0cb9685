"""HF VideoFolder: ``metadata.csv|tsv|jsonl|parquet`` with a ``file_name`` column beside the videos."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from motive.data.base import Dataset, Unread
from motive.data.formats.class_folders import split_of
from motive.data.formats.copying import copy_rows
from motive.data.formats.folder import is_video, video_names
from motive.data.formats.metadata import TableFormat, subset_table
from motive.data.formats.reader import Detection, Row, Subset, id_of
from motive.data.formats.selected import CLIPS_CSV
from motive.data.formats.tables import checked, is_missing, read_rows
from motive.data.paths import PathGuard, printable
from motive.errors import ClipError, DatasetError

_READ_BY_THE_HUB = ("metadata.jsonl", "metadata.parquet")
"""Tables that load_dataset reads, with the types of their cells."""
_FILE, _VIDEO_FILE = "file_name", "video_file_name"


class VideoFolder(TableFormat):
    """The layout of ``datasets.load_dataset("videofolder", data_dir=...)``, and the same in a ``.tsv``.

    A table of another name is read when its path is given. Without a table in the folder itself those of its direct
    subfolders are one dataset (``train/metadata.csv``, ``test/metadata.csv``): paths start from the table's folder, own ids
    too get its name, and the column ``split`` says which split ``datasets`` takes it for.
    """

    name = "videofolder"
    priority = 30
    path_columns = ("file_name",)
    caption_columns = ("text", "caption", "prompt")
    suffixes = (".csv", ".tsv", ".jsonl", ".parquet")

    def table_of_subset(self, source: Path) -> str:
        """One that load_dataset reads keeps its name, so that it reads the selection with every caption and type."""
        return source.name if source.name in _READ_BY_THE_HUB else super().table_of_subset(source)

    def beside_table(self, dataset: Dataset) -> str:
        """Not ``metadata.csv`` where the hub's loader would find two kinds of metadata."""
        own = dataset.source is None or dataset.source.name in _READ_BY_THE_HUB
        return CLIPS_CSV if own else self.beside

    def names_a_file(self, columns: Iterable[str]) -> bool:
        return any(name == _FILE or name.endswith(f"_{_FILE}") for name in columns)

    def _path_column(self, values: Mapping[str, Any]) -> str | None:
        """``file_name``, ``video_file_name``, or the ``*_file_name`` that names a video, if there are several."""
        if _FILE in values or _VIDEO_FILE in values:
            return next((name for name in (_FILE, _VIDEO_FILE) if not is_missing(values.get(name))), None)
        found = [name for name in values if name.endswith(f"_{_FILE}") and not is_missing(values[name])]
        return next((name for name in found if is_video(str(values[name]))), found[0] if found else None)

    def detect(self, path: Path, named: bool) -> Detection | None:
        if path.is_file() or any(self.owns(file) for file in self.candidates(path)):
            return super().detect(path, named)
        below = [found for child in _folders(path) if (found := super(VideoFolder, self).detect(child, False))]
        if not below or any(is_video(child.name) for child in path.iterdir()):
            return super().detect(path, named)  # videos above the tables: which of them count is in doubt
        tables = tuple(found.source for found in below if found.source is not None)
        unread = [
            replace(item, name=f"{table.parent.name}/{item.name}")
            for found, table in zip(below, tables, strict=True)
            for item in found.unread
        ]
        others = [child.name for child in _folders(path) if child not in {table.parent for table in tables}]
        bare = [name for name in others if next(video_names(path / name, False), None) is not None]
        unread += [
            Unread(f"videos in {printable(name)}/", "it has no table, as the other folders have") for name in bare
        ]
        return Detection(path, unread=tuple(unread), base=path, known=tables)

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread]:
        if found.source is not None or found.path.is_file():
            yield from super().rows(found, guard)
            return
        for table in found.known:
            inner = Detection(table, table)
            for row in super().rows(inner, guard):
                yield _below(row, table.parent.name) if isinstance(row, Row) else row

    def write(self, subset: Subset, out: Path) -> None:
        """Write the subset's rows to a table of the input's own kind and name, or to one in each of its folders."""
        if subset.dataset.source is None:
            self._write_below(subset, out, videos=True)
        else:
            super().write(subset, out)

    def write_scores(self, subset: Subset, out: Path) -> None:
        if subset.dataset.source is None:
            self._write_below(subset, out, videos=False)
        else:
            super().write_scores(subset, out)

    def _write_below(self, subset: Subset, out: Path, videos: bool) -> None:
        guard = PathGuard.of(subset.dataset.root, subset.dataset.options)
        left = {clip_id: at for at, clip_id in enumerate(subset.ids)}
        found = self.detect(Path(subset.dataset.location), named=True)
        for table in () if found is None else found.known:
            places: list[tuple[int, int, str]] = []
            for raw in read_rows(table, check=False):
                row, column = (
                    _below(self.row_of(checked(raw), table.name), table.parent.name),
                    self._path_column(raw.values),
                )
                try:
                    at = None if row.problem or column is None else left.pop(id_of(row, guard), None)
                except ClipError:
                    continue
                if at is not None and column is not None:
                    places.append((at, raw.number, column))
            updates = [
                {
                    **({column: os.path.relpath(subset.files[at], table.parent.name)} if videos else {}),
                    **subset.rows[at].scores,
                }
                for at, _, column in sorted(places)
            ]
            if places:
                target = out / table.parent.name / (table.name if videos else subset_table(table, videos=False))
                target.parent.mkdir(parents=True, exist_ok=True)
                copy_rows(table, target, [number for _, number, _ in sorted(places)], updates)
        if left:
            raise DatasetError(
                f"{subset.dataset.location} no longer holds every selected clip: {next(iter(left))!r} is missing "
                f"({len(left)} in all); restore the tables that were read"
            )


def _folders(path: Path) -> list[Path]:
    """Subfolders that may hold a table; one that is a link may not."""
    with os.scandir(path) as entries:
        names = [
            entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
        ]
    return [path / name for name in sorted(names)]


def _below(row: Row, folder: str) -> Row:
    """A row of the table in a subfolder as one of the whole dataset."""
    split = split_of(folder)
    media = row.media
    if isinstance(media, str) and media.strip() and not os.path.isabs(media):
        media = f"{folder}/{media}"
    return replace(
        row,
        media=media,
        label=f"{folder}/{row.label}",
        columns={**({"split": split} if split else {}), **row.columns},
        clip_id=row.clip_id if row.clip_id is None else f"{folder}/{row.clip_id}",
    )
