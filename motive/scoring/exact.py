"""Dot products whose bits depend on the two vectors alone.

A float sum depends on its order, and the order on block size, thread count and BLAS. Here unit vectors are
rounded to integers (26 bits and sign) first. By Cauchy and Schwarz every partial sum of a product of two such
vectors stays below 2^53, so a float64 matrix product adds integers without rounding, in whatever order. What is
lost by rounding to 26 bits, about 1e-8, is less than half of a float32's last digit at one.

These are the functions that fused kernels take the place of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BITS = 26
"""Two vectors of norm 2^26 have a product of at most 2^52."""

GRAM_BITS = 20
GRAM_ROWS = 4096
"""4096 rows of norm 2^20 add up to at most 2^52, and 256 of norm 2^22."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """Vectors as rows of integers that point the same way.

    Attributes:
        rows: [m, k] float64 integers, of norms close to 2^bits; a zero vector stays zero.
        sizes: [m] norms of the integer rows, the root of an exact sum; 1 for a zero row, so that it can be divided by.
        norms: [m] norms of the vectors.
    """

    rows: Floats
    sizes: Floats
    norms: Floats


def unit_rows(vectors: NDArray[np.floating], bits: int = BITS) -> Units:
    """Scale vectors [m, k] to norm 2^bits and round them to integers."""
    wide = np.ascontiguousarray(vectors, np.float64)
    norms = np.sqrt(np.add.reduce(wide * wide, axis=1))
    rows = wide * (2.0**bits / np.where(norms > 0, norms, 1.0))[:, None]
    np.rint(rows, out=rows)
    squares = np.einsum("mk,mk->m", rows, rows)
    return Units(rows, np.sqrt(np.where(squares > 0, squares, 1.0)), norms)


def cosines(a: Units, b: Floats, b_sizes: Floats) -> Floats:
    """Cosines [m, q] of units with the columns of b [k, q], which are rows of other units."""
    return (a.rows @ b) / a.sizes[:, None] / b_sizes


@dataclass(frozen=True)
class FixedMatrix:
    """A matrix in the form that can be applied to units exactly.

    Attributes:
        integers: [k, k] float64 integers.
        exponent: the matrix is integers * 2^(exponent - BITS).
    """

    integers: Floats
    exponent: int

    @classmethod
    def of(cls, matrix: Floats) -> FixedMatrix:
        """Round a matrix to 26 bits of its largest column norm."""
        largest = float(np.sqrt(np.add.reduce(matrix * matrix, axis=0)).max())
        exponent = int(np.frexp(largest)[1])  # largest < 2^exponent
        return cls(np.rint(np.ldexp(matrix, BITS - exponent)), exponent)

    def apply(self, units: Units) -> Floats:
        """Units times the matrix, [m, k], as if their rows had norm 1."""
        return (units.rows @ self.integers) * 2.0 ** (self.exponent - BITS) / units.sizes[:, None]


class Gram:
    """The sum of z z^T over rows, exact whatever the order and the blocks.

    Args:
        dim: k.
        bits: rows have norms of at most 2^bits (up to rounding).
        high, low: [k, k] a sum to continue; None starts from zero.

    Attributes:
        high, low: the sum so far, high * 2^32 + low.
    """

    def __init__(
        self,
        dim: int,
        bits: int = GRAM_BITS,
        high: NDArray[np.int64] | None = None,
        low: NDArray[np.int64] | None = None,
    ) -> None:
        self.bits, self._rows = bits, GRAM_ROWS >> 2 * (bits - GRAM_BITS)
        self.high = np.zeros((dim, dim), np.int64) if high is None else high
        self.low = np.zeros((dim, dim), np.int64) if low is None else low

    def add(self, units: Floats) -> None:
        """Add rows [m, k] of integers."""
        for start in range(0, len(units), self._rows):
            block = units[start : start + self._rows]
            product = (block.T @ block).astype(np.int64)
            self.high += product >> 32
            self.low += product & 0xFFFFFFFF

    def total(self) -> Floats:
        """The sum so far, in units where a row of norm 2^bits has norm 1; rounded once."""
        high, low = self.high + (self.low >> 32), self.low & 0xFFFFFFFF
        return np.ldexp(np.ldexp(high.astype(np.float64), 32) + low, -2 * self.bits)
