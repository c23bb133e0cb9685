"""Clip ids of a whole store as two arrays, so that millions of them need no Python objects."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.errors import OptionError
from motive.extras import require

SEGMENT = "#"
"""Between a clip's id and the name of a segment, which has none: clip.mp4#t0."""

_WORD = 8
_TAKE_ROWS = 1 << 16


class ClipIds:
    """An immutable list of ids in UTF-8.

    Args:
        data: [b] uint8, the ids' bytes one after another.
        offsets: [n + 1] int64, where each id starts, and the end of the last.
    """

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self.data = data
        self.offsets = offsets

    @classmethod
    def encode(cls, ids: Sequence[str], where: str) -> ClipIds:
        """From text.

        Raises:
            OptionError: an id is not text, is empty, or cannot be written as UTF-8.
        """
        encoded = [encode_id(clip_id, where) for clip_id in ids]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @classmethod
    def concatenate(cls, parts: Sequence[ClipIds]) -> ClipIds:
        """All ids of the parts, in order."""
        if len(parts) == 1:
            return parts[0]
        counts = [0, *(part.data.size for part in parts)]
        starts = np.cumsum(counts, dtype=np.int64)
        offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts[:-1], strict=True)]
        data = np.concatenate([part.data for part in parts]) if parts else np.empty(0, np.uint8)
        return cls(data, np.concatenate([*offsets, starts[-1:]]))

    def __len__(self) -> int:
        return self.offsets.size - 1

    def __getitem__(self, row: int) -> str:
        return self.bytes_at(row).decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    def bytes_at(self, row: int) -> bytes:
        """One id's UTF-8."""
        if not 0 <= row < len(self):
            raise IndexError(f"ClipIds: row must be 0 to {len(self) - 1}, got {row}; count from the start")
        return self.data[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def slice(self, start: int, stop: int) -> ClipIds:
        """Ids of rows start to stop - 1."""
        offsets = self.offsets[start : stop + 1]
        return ClipIds(self.data[offsets[0] : offsets[-1]], offsets - offsets[0])

    def take(self, rows: NDArray[np.int64]) -> ClipIds:
        """Ids of the given rows, in that order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.zeros(rows.size + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        data = np.empty(offsets[-1], np.uint8)
        for start in range(0, rows.size, _TAKE_ROWS):  # bounds the index array, eight times the text
            stop = min(start + _TAKE_ROWS, rows.size)
            shift = self.offsets[rows[start:stop]] - offsets[start:stop]
            source = np.arange(offsets[start], offsets[stop]) + np.repeat(shift, lengths[start:stop])
            data[offsets[start] : offsets[stop]] = self.data[source]
        return ClipIds(data, offsets)

    def tolist(self) -> list[str]:
        """The ids as Python text."""
        data, offsets = self.data.tobytes(), self.offsets.tolist()
        return [data[a:b].decode("utf-8") for a, b in pairwise(offsets)]

    def to_arrow(self) -> Any:
        """The ids as a pyarrow LargeStringArray that shares their memory."""
        arrow = require("pyarrow", "motive/store", extra="tables")
        offsets, data = np.ascontiguousarray(self.offsets), np.ascontiguousarray(self.data)
        return arrow.LargeStringArray.from_buffers(len(self), arrow.py_buffer(offsets), arrow.py_buffer(data))

    def find(self, clip_id: str) -> int:
        """Row of an id in ids that are sorted; -1 if it is not there."""
        target = clip_id.encode("utf-8", "surrogatepass")
        row = bisect.bisect_left(range(len(self)), target, key=self.bytes_at)
        return row if row < len(self) and self.bytes_at(row) == target else -1

    def holds_segment(self, clip_id: str) -> bool:
        """Whether one of the ids, which are sorted, is that of a segment of the clip (a clip's id may hold ``#``)."""
        mark = SEGMENT.encode()
        target = clip_id.encode("utf-8", "surrogatepass") + mark
        row = bisect.bisect_left(range(len(self)), target, key=self.bytes_at)
        while row < len(self) and self.bytes_at(row).startswith(target):
            if mark not in self.bytes_at(row)[len(target) :]:
                return True
            row += 1
        return False

    def fault(self) -> str | None:
        """Why this is not a list of non-empty UTF-8 ids; None if it is."""
        offsets = self.offsets
        if offsets.size == 0 or offsets[0] != 0 or offsets[-1] != self.data.size or (np.diff(offsets) <= 0).any():
            return "id offsets must rise from 0 to the number of id bytes"
        try:
            self.data.tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            return f"ids must be UTF-8, got {error.reason} at byte {error.start}"
        if ((self.data[offsets[:-1]] & 0xC0) == 0x80).any():
            return "ids must start at a character"
        return None


def segment_id(clip_id: str, segment: str) -> str:
    """Id of the row of a clip's segment."""
    return f"{clip_id}{SEGMENT}{segment}"


def clip_of(row_id: str) -> str:
    """The clip that the row of a segment belongs to."""
    return row_id.rpartition(SEGMENT)[0]


def encode_id(clip_id: str, where: str) -> bytes:
    """UTF-8 of one id.

    Raises:
        OptionError: it is not text, is empty, or cannot be written as UTF-8.
    """
    if not isinstance(clip_id, str) or not clip_id:
        raise OptionError(f"{where}: clip_id must be text and not empty, got {clip_id!r}; name the clip")
    try:
        return clip_id.encode("utf-8")
    except UnicodeEncodeError as error:
        raise OptionError(f"{where}: clip_id must be UTF-8, got {clip_id!r}; rename the file") from error


def sort_ids(ids: ClipIds) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Order of ids by their UTF-8 bytes (which is the order of Python's str).

    Compares eight bytes of all ids at a time, and continues only where ids are still equal.

    Returns:
        order: [n] rows in sorted order; rows with equal ids keep their order.
        repeated: [n] True where a sorted id equals the one before it.
    """
    lengths = np.diff(ids.offsets)
    order = np.arange(len(ids), dtype=np.int64)
    repeated = np.zeros(len(ids), np.bool_)
    if _rising(ids):  # the shards of a compacted store, or of one writer
        return order, repeated
    active, group, depth = np.arange(len(ids)), np.zeros(len(ids), np.int64), 0
    while active.size:
        members = order[active]
        left = np.clip(lengths[members] - depth, 0, _WORD)
        word = _words(ids, members, depth, left)
        inner = np.lexsort((left, word, group))
        members, left, word, group = members[inner], left[inner], word[inner], group[inner]
        order[active] = members
        same = np.zeros(active.size, np.bool_)
        same[1:] = (word[1:] == word[:-1]) & (left[1:] == left[:-1]) & (group[1:] == group[:-1])
        ended = left < _WORD
        repeated[active[same & ended]] = True
        tied = same.copy()
        tied[:-1] |= same[1:]
        tied &= ~ended
        group = np.cumsum(~same)[tied]
        active, depth = active[tied], depth + _WORD
    return order, repeated


def _words(ids: ClipIds, rows: NDArray[np.int64], depth: int, left: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The next up to eight bytes of each id as a big-endian number, zeros where the id has ended."""
    padded = np.concatenate([ids.data, np.zeros(_WORD, np.uint8)])
    every = np.ndarray((padded.size - _WORD + 1,), ">u8", padded, strides=(1,))  # a word at each byte
    word = every[np.minimum(ids.offsets[rows] + depth, padded.size - _WORD)].astype(np.uint64)
    unused = (8 * (_WORD - left)).astype(np.uint64)
    return np.where(left > 0, (word >> (unused & np.uint64(63))) << (unused & np.uint64(63)), np.uint64(0))


def _rising(ids: ClipIds) -> bool:
    """Whether each id comes after the one before it."""
    lengths = np.diff(ids.offsets)
    if len(ids) and int(lengths.min()) == int(lengths.max()) == ids.data.size // len(ids):
        table = np.ascontiguousarray(ids.data).view(f"S{lengths[0]}")  # of one length, so NUL needs no care
        return bool((table[1:] > table[:-1]).all())
    rows, depth = np.arange(1, len(ids)), 0  # ids that still equal the one before them
    while rows.size:
        left = [np.clip(lengths[rows - back] - depth, 0, _WORD) for back in (1, 0)]
        word = [_words(ids, rows - back, depth, one) for back, one in zip((1, 0), left, strict=True)]
        same = word[0] == word[1]
        if (word[0] > word[1]).any() or (left[0][same] > left[1][same]).any():
            return False
        ended = same & (left[0] < _WORD)
        if (ended & (left[0] == left[1])).any():
            return False  # an id twice
        rows, depth = rows[same & ~ended], depth + _WORD
    return True
