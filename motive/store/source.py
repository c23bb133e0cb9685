"""A store's record of its dataset, so that a selection can be written in the dataset's own form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motive.addresses import scheme_of
from motive.data import Clip, Dataset, ReadOptions, dataset_format
from motive.errors import OptionError, StoreError

INDEX_COLUMNS = ("clip_id", "path", "caption", "columns")
"""Index columns that a clip is made from."""


@dataclass(frozen=True)
class Source:
    """The dataset that a store's clips come from.

    Attributes:
        root: folder that relative paths start from.
        format: name of the reader.
        location: what was read; empty if the store does not say.
        table: metadata file, or None.
        roots: folders that files lie in, where they were given.
        path_map: (old, new) for paths of another machine, where they were given.
    """

    root: str
    format: str
    location: str = ""
    table: str | None = None
    roots: tuple[str, ...] = ()
    path_map: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        for pair in self.path_map:
            if len(pair) != 2:
                raise OptionError(f"source: path_map must hold pairs of old and new, got {list(pair)}; correct it")

    @property
    def place(self) -> str:
        """What was read, for people."""
        return self.location or self.root

    @classmethod
    def of(cls, dataset: Dataset) -> Source:
        """What motive index records of a dataset."""
        options = dataset.options
        return cls(
            root=str(dataset.root),
            format=dataset.format,
            location=str(dataset.location),
            table=None if dataset.source is None else str(dataset.source),
            roots=tuple(map(str, options.roots)),
            path_map=tuple(map(tuple, options.path_map)),
        )

    def holds_clips_of(self, other: Source) -> bool:
        """Whether equal clip ids of the two stand for equal clips."""
        names = (*dataset_format(other.format).source_keys, "roots", "path_map")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def dataset(self, clips: Sequence[Clip]) -> Dataset:
        """The dataset with some of its clips."""
        return Dataset(
            location=self.place if scheme_of(self.place) else Path(self.place),
            root=Path(self.root),
            format=self.format,
            clips=tuple(clips),
            source=None if self.table is None else Path(self.table),
            options=ReadOptions(tuple(map(Path, self.roots)), tuple((old, new) for old, new in self.path_map)),
        )


def clips_of(table: Any, where: str) -> list[Clip]:
    """Clips from index rows: a pyarrow Table with INDEX_COLUMNS.

    Raises:
        StoreError: a row does not describe a clip.
    """
    return [_clip(row, where) for row in table.select(INDEX_COLUMNS).to_pylist()]


def _clip(row: Mapping[str, Any], where: str) -> Clip:
    try:
        columns = json.loads(row["columns"] or "{}")
    except (ValueError, RecursionError):
        columns = None
    if not row["path"] or not isinstance(columns, dict) or not all(isinstance(text, str) for text in columns.values()):
        raise StoreError(
            f"{where}: the store's index must hold path and columns of clip {row['clip_id']!r}, got "
            f"{row['path']!r} and {row['columns']!r}; make the store with motive index"
        )
    return Clip(row["clip_id"], Path(row["path"]), row["caption"] or "", columns)
