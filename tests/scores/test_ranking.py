"""Thresholds, ranks and ties against a full sort."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motive.scores.ranking import rank_rows, share_count, ties_at_cut, top_rows, vote_threshold
from motive_kernels.ops.vote import reference as vote_reference

# Few values, so that ties are the rule; both zeros, which are equal.
SCORES = st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=30)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.29, 1 / 3, 0.5, 0.7, 1.0])
def test_share_counts_are_floors_of_the_decimal(share: float) -> None:
    for total in range(1, 301):
        expected = max(1, int(Fraction(repr(share)) * total))
        assert share_count(share, total) == expected
        assert 1 <= share_count(share, total) <= total
    assert share_count(0.29, 100) == 29, "0.29 * 100 is 28.999... in floating point"
    assert share_count(0.1, 30) == 3


def test_a_vote_counts_shares_alike() -> None:
    """motive_kernels stands alone and motive.scores needs no torch, so each has the rule."""
    for share in (0.001, 0.07, 0.1, 0.29, 1 / 3, 1.0):
        for total in (1, 3, 100, 999, 10**7):
            assert vote_reference.share_count(share, total) == share_count(share, total)


@settings(max_examples=100, deadline=None)
@given(SCORES, st.data())
def test_thresholds_are_those_of_a_full_sort(values: list[float], data) -> None:
    scores = np.array(values, np.float32)
    count = data.draw(st.integers(1, len(values)))
    threshold = vote_threshold(scores, count)
    assert threshold == sorted(values, reverse=True)[count - 1]
    assert (scores >= threshold).sum() >= count
    assert (scores > threshold).sum() < count


@settings(max_examples=100, deadline=None)
@given(SCORES, st.integers(0, 35))
def test_the_top_is_the_head_of_a_stable_sort(values: list[float], top: int) -> None:
    expected = sorted(range(len(values)), key=lambda row: -values[row])[:top]
    assert top_rows(np.array(values, np.float32), top).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(SCORES, st.data())
def test_ranks_and_ties_are_those_of_a_full_sort(means: list[float], data) -> None:
    votes = data.draw(st.lists(st.integers(0, 2), min_size=len(means), max_size=len(means)))
    count = data.draw(st.integers(1, len(means)))
    keys = [np.array(votes, np.int32), np.array(means, np.float32)]
    order = rank_rows(keys)
    expected = sorted(range(len(means)), key=lambda row: (-votes[row], -means[row]))
    assert order.tolist() == expected
    ties = ties_at_cut(keys, order, count)
    above, below = expected[:count], expected[count:]
    last = above[-1]
    split = any(votes[row] == votes[last] for row in below)
    assert ties.tied == (votes.count(votes[last]) if split else 0)
    assert ties.tied_above == (sum(votes[row] == votes[last] for row in above) if split else 0)
    same = [row for row in expected if (votes[row], means[row]) == (votes[last], means[last])]
    assert ties.undecided == (len(same) if any(row in below for row in same) else 0)


def test_whole_numbers_rank_by_their_value_at_the_edge_of_their_type() -> None:
    votes = np.array([0, np.iinfo(np.int32).max, np.iinfo(np.int32).min, 5], np.int32)
    assert rank_rows([votes]).tolist() == [1, 3, 0, 2]
