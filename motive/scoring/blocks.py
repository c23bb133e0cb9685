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
        require_finite(store, np.arange(start, start + len(vectors)), vectors, where)
        for offset in range(0, len(vectors), rows):
            yield start + offset, vectors[offset : offset + rows]


def require_finite(store: Vectors, rows: NDArray[np.int64], vectors: NDArray[np.float32], where: str) -> None:
    """Refuse the vectors of some rows if one holds NaN or infinity; names the clip."""
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        reason = "vectors must be finite, got NaN or infinity"
        refuse_clip(store, int(rows[bad[0]]), where, reason, "run motive verify")


class Growing(Vectors, Protocol):
    """A view whose caches can grow with it."""

    @property
    def dim(self) -> int: ...

    def __len__(self) -> int: ...

    def vectors_at(self, rows: NDArray[np.int64]) -> NDArray[np.float32]: ...


def fresh_blocks(
    view: Growing, known: NDArray[np.bool_] | None, rows: int, where: str
) -> Iterator[tuple[slice, NDArray[np.bool_], NDArray[np.float32]]]:
    """Yield (rows, which of them are known, vectors of the others), in order; None: nothing is known.

    Raises:
        As read_blocks.
    """
    if known is None:
        for first, block in read_blocks(view, rows, where):
            yield slice(first, first + len(block)), np.zeros(len(block), np.bool_), block
        return
    for first in range(0, len(view), rows):
        here = known[first : first + rows]
        wanted = first + np.flatnonzero(~here)
        vectors = view.vectors_at(wanted) if wanted.size else np.empty((0, view.dim), np.float32)
        require_finite(view, wanted, vectors, where)
        yield slice(first, first + here.size), here, vectors


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
