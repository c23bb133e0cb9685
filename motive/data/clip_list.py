"""The clips of a dataset as a sequence that holds a few bytes of memory for each: clips are made when they are read."""

from __future__ import annotations

import marshal
import os
import tempfile
import weakref
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from motive.data.base import Clip
from motive.errors import DatasetError

IN_MEMORY = 4 << 20
"""Bytes of records that stay in memory; those of larger datasets lie in a temporary file."""
_WRITTEN = 1 << 20
"""Bytes that are written to that file at once."""
_MOST_SHAPES = 1024
"""Sets of column names that are kept once; a dataset with more has the further ones in each record."""


class ClipRecords:
    """Clips by number, in the order in which they were added.

    A record is marshalled text; up to IN_MEMORY bytes of them are held, and beyond that they lie in a nameless temporary
    file (TMPDIR says where), which this process alone can open. Memory holds where each record starts, and its length.
    """

    def __init__(self) -> None:
        self._starts, self._lengths = array("q"), array("I")
        self._held, self._on_disk = bytearray(), 0
        self._file: int | None = None
        self._shapes: dict[tuple[str, ...], int] = {}
        self._names: list[tuple[str, ...]] = []

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, clip: Clip) -> int:
        """The number of a new clip.

        Raises:
            DatasetError: the temporary file cannot be written.
        """
        self._starts.append(0)
        self._lengths.append(0)
        self.replace(len(self._starts) - 1, clip)
        return len(self._starts) - 1

    def replace(self, number: int, clip: Clip) -> None:
        """Put another clip in the place of one."""
        names = tuple(clip.columns)
        shape = self._shapes.get(names)
        if shape is None and len(self._names) < _MOST_SHAPES:
            shape = self._shapes[names] = len(self._names)
            self._names.append(names)
        # marshal writes a text once however often it occurs: most captions and ids are cells of the row too.
        record = marshal.dumps(
            (
                str(clip.clip_id),
                str(clip.path),
                str(clip.caption),
                clip.parts,
                clip.blank_caption,
                names if shape is None else shape,
                tuple(map(str, clip.columns.values())),
            )
        )
        self._starts[number], self._lengths[number] = self._on_disk + len(self._held), len(record)
        self._held += record
        if len(self._held) >= (IN_MEMORY if self._file is None else _WRITTEN):
            self._flush()

    def clip(self, number: int) -> Clip:
        """The clip of that number."""
        clip_id, path, caption, parts, blank, shape, cells = self._record(number)
        names = self._names[shape] if isinstance(shape, int) else shape
        return Clip(clip_id, Path(path), caption, dict(zip(names, cells, strict=True)), parts, blank)

    def _record(self, number: int) -> tuple[Any, ...]:
        start, length = self._starts[number], self._lengths[number]
        if start >= self._on_disk:
            at = start - self._on_disk
            return marshal.loads(memoryview(self._held)[at : at + length])
        assert self._file is not None
        return marshal.loads(os.pread(self._file, length, start))

    def _flush(self) -> None:
        try:
            if self._file is None:
                self._file, name = tempfile.mkstemp(prefix="motive-clips-")
                os.unlink(name)
                weakref.finalize(self, os.close, self._file)
            rest = memoryview(self._held)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            raise DatasetError(
                f"the records of {len(self):,} clips cannot be written to {tempfile.gettempdir()}: {error.strerror}; free "
                "space there, or set TMPDIR to another folder"
            ) from error
        self._on_disk += len(self._held)
        self._held = bytearray()


class ClipList(Sequence[Clip]):
    """Clips of a dataset in ascending order of their ids. Equal to every sequence of equal clips.

    Args:
        records: clips by number.
        order: their numbers, by ascending id.
    """

    def __init__(self, records: ClipRecords, order: Sequence[int]) -> None:
        self._records, self._order = records, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return tuple(map(self._records.clip, self._order[at]))
        return self._records.clip(self._order[at])

    def __iter__(self) -> Iterator[Clip]:
        return map(self._records.clip, self._order)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (ClipList, tuple)):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied as a tuple of clips: another process has no such file."""
        return tuple, (tuple(self),)

    def __repr__(self) -> str:
        return f"ClipList({len(self)} clips)"


class ClipsById(Mapping[str, Clip]):
    """Clips by their ids, found by bisection.

    Args:
        clips: by ascending id.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips

    def __len__(self) -> int:
        return len(self._clips)

    def __iter__(self) -> Iterator[str]:
        return (clip.clip_id for clip in self._clips)

    def __getitem__(self, clip_id: str) -> Clip:
        at = bisect_left(self._clips, clip_id, key=lambda clip: clip.clip_id)
        if at == len(self._clips) or self._clips[at].clip_id != clip_id:
            raise KeyError(clip_id)
        return self._clips[at]
