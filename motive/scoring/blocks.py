"""Vectors of a store, a block at a time, each checked to be finite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from motive.errors import StoreError
from motive.store import Store

_READ_ROWS = 1 << 14


def read_blocks(store: Store, rows: int, where: str) -> Iterator[tuple[int, NDArray[np.float32]]]:
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


def refuse_clip(store: Store, row: int, where: str, reason: str, remedy: str) -> NoReturn:
    """Say what is wrong with one clip of a store."""
    raise StoreError(f"{where}: {reason} for clip {store.ids[row]!r} of {store.path}; {remedy}")
