"""Fixed-point products are exact: no order, split, thread or library can change a bit of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from motive.scoring.exact import BITS, GRAM_BITS, FixedMatrix, Floats, Gram, Units, cosines, unit_rows


def awkward(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """Rows that stress a sum: constant, one-hot, equal, opposite, tiny, huge, and random."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, dim)).astype(np.float32)
    rows[0] = 1.0
    rows[1] = 0.0
    rows[1, dim // 2] = -3.0
    rows[2] = rows[3]
    rows[4] = -rows[3]
    rows[5] *= np.float32(1e-40)
    rows[6] *= np.float32(1e37)
    return rows


def cosine_matrix(a: Units, b: Units) -> Floats:
    return cosines(a, b.rows.T, b.sizes)


@pytest.mark.parametrize("dim", [1, 3, 64, 515, 5000])
def test_products_equal_those_of_python_integers(dim: int) -> None:
    units = unit_rows(awkward(9, dim))
    integers = units.rows.astype(np.int64)
    np.testing.assert_array_equal(units.rows, integers, err_msg="units are whole numbers")
    exact = integers.astype(object) @ integers.T.astype(object)
    assert max(abs(value) for value in exact.ravel()) < 2**53
    assert [[int(value) for value in row] for row in units.rows @ units.rows.T] == exact.tolist()
    assert units.sizes.tolist() == [math.sqrt(exact[row, row]) for row in range(9)], "roots of exact sums"


@pytest.mark.parametrize("dim", [3, 515, 5000])
def test_the_cosine_is_right_to_half_a_digit_of_float32(dim: int) -> None:
    rows = awkward(200, dim)
    wide = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    units = unit_rows(rows)
    found = cosine_matrix(units, units)
    error = np.abs(found - wide @ wide.T).max()
    assert error < 6e-8, f"cosine is off by {error:.1e}"
    assert (np.diag(found).astype(np.float32) == 1).all(), "a vector's cosine with itself"
    np.testing.assert_allclose(units.norms, np.linalg.norm(rows.astype(np.float64), axis=1), rtol=1e-12)


def test_every_split_and_layout_gives_the_same_bits() -> None:
    a, b = unit_rows(awkward(101, 77, seed=1)), unit_rows(awkward(13, 77, seed=2))
    whole = cosine_matrix(a, b)
    order = np.random.default_rng(0).permutation(77)
    turned = Units(a.rows[:, order], a.sizes, a.norms)
    np.testing.assert_array_equal(cosines(turned, b.rows.T[order], b.sizes), whole, err_msg="order of the sum")
    columns = np.ascontiguousarray(b.rows.T)
    for size in (1, 2, 30, 100):
        cuts = [slice(start, start + size) for start in range(0, 101, size)]
        parts = [cosines(Units(a.rows[cut], a.sizes[cut], a.norms[cut]), columns, b.sizes) for cut in cuts]
        np.testing.assert_array_equal(np.concatenate(parts), whole, err_msg=f"blocks of {size}")
        parts = [cosines(a, columns[:, cut], b.sizes[cut]) for cut in cuts if cut.start < 13]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole, err_msg=f"{size} queries at a time")
    fortran = Units(np.asfortranarray(a.rows), a.sizes, a.norms)
    np.testing.assert_array_equal(cosines(fortran, columns, b.sizes), whole, err_msg="memory layout")


@pytest.mark.parametrize("rows", [1, 2, 63])
def test_a_row_does_not_depend_on_its_neighbours(rows: int) -> None:
    vectors = awkward(126, 515)
    whole = unit_rows(vectors)
    for start in range(0, 126, rows):
        part = unit_rows(vectors[start : start + rows])
        for name in ("rows", "sizes", "norms"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[start : start + rows])


def test_a_zero_row_stays_zero() -> None:
    units = unit_rows(np.zeros((2, 5), np.float32))
    assert not units.rows.any()
    assert not units.norms.any()
    assert (units.sizes == 1).all(), "so that dividing by them gives no NaN"
    assert not cosine_matrix(units, units).any()


def test_a_fixed_matrix_is_the_matrix_to_26_bits() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((40, 40)) * 1e5
    rows = awkward(30, 40)
    wide = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    fixed = FixedMatrix.of(matrix)
    expected = wide @ matrix
    found = fixed.apply(unit_rows(rows))
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error < 1e-7, f"relative error {error:.1e}"
    parts = [fixed.apply(unit_rows(rows[row : row + 1])) for row in range(30)]
    np.testing.assert_array_equal(np.concatenate(parts), found)
    assert float(np.sqrt((fixed.integers**2).sum(axis=0)).max()) <= 2**BITS * (1 + 1e-6), "sums stay below 2^53"


@pytest.mark.parametrize("split", [1, 7, 4096, 5000])
def test_the_second_moment_does_not_depend_on_blocks_or_order(split: int) -> None:
    rows = np.tile(awkward(1100, 6), (8, 1))[:8500]
    units = unit_rows(rows, GRAM_BITS).rows
    whole = Gram(6)
    whole.add(units)
    parts = Gram(6)
    shuffled = units[np.random.default_rng(split).permutation(len(units))][: len(units) if split > 1 else 300]
    for start in range(0, len(shuffled), split):
        parts.add(shuffled[start : start + split])
    if split > 1:
        np.testing.assert_array_equal(parts.total(), whole.total())
    integers = shuffled.astype(np.int64)
    exact = integers.T.astype(object) @ integers.astype(object)
    expected = np.array([[float(value) / 4**GRAM_BITS for value in row] for row in exact])
    np.testing.assert_array_equal(parts.total(), expected)
