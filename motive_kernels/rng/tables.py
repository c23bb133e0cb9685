"""Balanced hash tables: which bucket, and with which sign, each index of one axis goes to.

Inside every run of k consecutive indices the buckets are a random permutation of 0 .. k - 1 (the first
indices of one for a shorter last run), so each bucket receives at most one index of a run: applying the
table is a gather with signs, free of collisions and atomics, in a fixed order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from motive_kernels.rng.philox import counter_blocks, philox4x32

ROLE_ROWS, ROLE_COLUMNS, ROLE_VECTOR = 0, 1, 2
"""Third counter word. Rows and columns never share a stream: else G and its transpose would look alike."""

EMPTY = -1


def balanced_buckets(
    key: tuple[int, int], role: int, length: int, dim: int, term: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Bucket and sign of each index of an axis.

    Args:
        key: from philox.parameter_key.
        role: ROLE_ROWS, ROLE_COLUMNS or ROLE_VECTOR.
        length: of the axis.
        dim: k, the number of buckets.
        term: which independent sketch of the same parameter.

    Returns:
        bucket int32 [length] in 0 .. dim - 1, sign int8 [length], +1 or -1.
    """
    runs = -(-length // dim)
    words = philox4x32(counter_blocks(0, runs * dim, role, term), key)
    sort_key = words[:, 0].astype(np.uint64) | (words[:, 1].astype(np.uint64) << np.uint64(32))
    order = np.argsort(sort_key.reshape(runs, dim), axis=1, kind="stable")
    rank = np.empty((runs, dim), dtype=np.int32)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(dim, dtype=np.int32), (runs, dim)), axis=1)
    sign = np.where(words[:, 2] & 1, 1, -1).astype(np.int8)
    return rank.reshape(-1)[:length], sign[:length]


def gather_table(bucket: NDArray[np.int32], sign: NDArray[np.int8], dim: int) -> NDArray[np.int32]:
    """The same map seen from the buckets, the form that kernels read.

    Returns:
        int32 [runs, dim]: entry [r, b] is 2 * index + (1 if its sign is negative) for the one index of run r that goes
        to bucket b, or EMPTY.

    Raises:
        ValueError: the axis is longer than 2^30, which 32-bit entries cannot hold.
    """
    length = len(bucket)
    if length > 2**30:
        raise ValueError(f"gather_table: an axis must be at most 2^30 long, got {length}; split the parameter")
    table = np.full((-(-length // dim), dim), EMPTY, dtype=np.int32)
    index = np.arange(length, dtype=np.int32)
    table[index // dim, bucket] = 2 * index + (sign < 0)
    return table
