"""Entries of random matrices, each a function of (key, role, row, column) alone (docs/projection.md).

A matrix is never stored: whoever needs the entry of a row and a column computes it from one Philox block, so any
order, split or device gives the same matrix.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from motive_kernels.rng.philox import philox4x32

Key = tuple[int, int]

DISTRIBUTIONS = ("rademacher", "gaussian")

COLUMNS_PER_BLOCK = {"rademacher": 128, "gaussian": 4}
"""Consecutive columns of one row that share a Philox block."""

MAX_ROWS = 2**32
"""Rows are the counter's second word; columns over COLUMNS_PER_BLOCK are its first."""


def entries(
    distribution: str, key: Key, role: int, row: int, rows: int, column: int, columns: int
) -> NDArray[np.float64]:
    """Entries of the rows row .. row + rows - 1 and the columns column .. column + columns - 1.

    Args:
        distribution: ``rademacher`` (+1 or -1) or ``gaussian`` (standard normal).
        key: from philox.parameter_key.
        role: third counter word; matrices of different roles are independent.
        row, rows, column, columns: the part wanted.

    Returns:
        float64 [rows, columns].
    """
    per_block = COLUMNS_PER_BLOCK[distribution]
    first, last = column // per_block, -(-(column + columns) // per_block)
    counter = np.zeros((rows, last - first, 4), dtype=np.uint32)
    counter[..., 0] = np.arange(first, last, dtype=np.uint64)[None, :]
    counter[..., 1] = np.arange(row, row + rows, dtype=np.uint64)[:, None]
    counter[..., 2] = role
    words = philox4x32(counter, key)
    values = bit_signs(words) if distribution == "rademacher" else box_muller(words)
    start = column - first * per_block
    return values.reshape(rows, -1)[:, start : start + columns]


def bit_signs(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    """+1 for a set bit, -1 for a clear one, words in order, lowest bit first: [..., w] -> [..., w, 32]."""
    bits = (words[..., None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
    return 2.0 * bits.astype(np.float64) - 1.0


def box_muller(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Two normal numbers from each pair of words: uint32 [..., 4] -> float64 [..., 4].

    A pair (a, b) gives sqrt(-2 ln u) cos(v) and sqrt(-2 ln u) sin(v) with u = (a + 1/2) / 2^32, v = 2 pi b / 2^32.
    """
    radius = np.sqrt(-2.0 * np.log((words[..., 0::2] + 0.5) * 2.0**-32))
    angle = words[..., 1::2] * (2.0 * np.pi * 2.0**-32)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(words.shape)
