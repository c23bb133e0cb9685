"""The best rows of a column do not depend on batches or on how ties fall."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motive.scores.ranking import top_rows
from motive.scores.top import TopRows, spearman

# Few distinct values, so that ties cross every boundary; NaN and infinities must never rank.
_VALUES = st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, float("nan"), float("inf")]), max_size=40)


def slow_best(values: list[float], size: int) -> list[int]:
    finite = [place for place, value in enumerate(values) if np.isfinite(value)]
    return sorted(finite, key=lambda place: (-values[place], place))[:size]


@settings(max_examples=200, deadline=None)
@given(_VALUES, st.integers(0, 12))
def test_best_is_a_stable_sort_cut_short(values: list[float], size: int) -> None:
    assert top_rows(np.array(values, np.float32), size).tolist() == slow_best(values, size)


@settings(max_examples=200, deadline=None)
@given(_VALUES, st.integers(1, 7), st.integers(0, 9), st.booleans())
def test_batches_do_not_change_the_top_rows(values: list[float], step: int, size: int, largest: bool) -> None:
    column = np.array(values, np.float32)
    scores = np.stack([column, -column], axis=1)
    kept = TopRows(2, size, largest)
    for start in range(0, len(values), step):
        part = scores[start : start + step]
        kept.update(np.arange(start, start + len(part)), part)
    sign = 1.0 if largest else -1.0
    for q in range(2):
        expected = slow_best([float(v) for v in sign * scores[:, q]], size)
        assert kept.rows(q).tolist() == expected
        np.testing.assert_array_equal(kept.values(q), scores[expected, q])


def test_spearman_shares_the_rank_of_equal_values() -> None:
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: worked out by hand.
    found = spearman(np.array([1.0, 2.0, 2.0, 9.0]), np.array([0.0, 1.0, 5.0, 7.0]))
    assert found == pytest.approx(4.5 / np.sqrt(4.5 * 5.0))


def test_spearman_sees_order_only() -> None:
    x = np.array([3.0, -1.0, 8.0, 2.5])
    assert spearman(x, np.exp(x)) == pytest.approx(1.0)
    assert spearman(x, -(x**3)) == pytest.approx(-1.0)
    assert np.isnan(spearman(x, np.ones(4)))
    assert np.isnan(spearman(x[:1], x[:1]))
