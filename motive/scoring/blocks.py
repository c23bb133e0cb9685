"""Vectors of a store, a block at a time, each checked to be finite."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from motive.errors import StoreError
from motive.store import ClipIds

_READ_ROWS = 1 << 14

T = TypeVar("T")


class Vectors(Protocol):
    """What blocks are read from: a store, or a view of several."""

    @property
    def ids(self) -> ClipIds: ...

    @property
    def location(self) -> str: ...

    def blocks(self, rows: int) -> Iterator[tuple[int, NDArray[np.float32]]]: ...


def read_blocks(store: Vectors, rows: int, where: str) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (row of the first clip, vectors [m, k]), m = rows but for the last.

    Blocks are cut from longer reads, since the rows of a shard lie far apart in the order of clip ids.

    Raises:
        StoreError: a shard is damaged, or a vector is not finite; names the clip.
    """
    for start, vectors in store.blocks(max(rows, _READ_ROWS // rows * rows)):
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if bad.size:
            refuse_clip(
                store, start + int(bad[0]), where, "vectors must be finite, got NaN or infinity", "run motive verify"
            )
        for offset in range(0, len(vectors), rows):
            yield start + offset, vectors[offset : offset + rows]


def refuse_clip(store: Vectors, row: int, where: str, reason: str, remedy: str) -> NoReturn:
    """Say what is wrong with one clip of a store."""
    raise StoreError(f"{where}: {reason} for clip {store.ids[row]!r} of {store.location}; {remedy}")


def prefetched(blocks: Iterator[T]) -> Iterator[T]:
    """The same blocks, each read by a thread while the one before is at work."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = pool.submit(next, blocks, None)
            yield block
