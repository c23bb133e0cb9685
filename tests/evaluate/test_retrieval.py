"""Retrieval against brute force, its chance level against simulation, its interval against itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motive.evaluate.retrieval import NO_LABEL, bootstrap_interval, chance_level, retrieval_by_label


def in_batches(scores: np.ndarray, step: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.arange(start, min(start + step, len(scores))), scores[start : start + step])
            for start in range(0, len(scores), step)]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 25), st.integers(1, 5), st.integers(1, 30), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_precisions_equal_brute_force(clips: int, queries: int, top: int, step: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-2, 3, (clips, queries)).astype(np.float32)  # integers: many ties
    clip_labels = rng.integers(NO_LABEL, 3, clips)
    query_labels = rng.integers(0, 3, queries)
    found = retrieval_by_label(in_batches(scores, step), clip_labels, query_labels, top)
    for q in range(queries):
        ranked = sorted(range(clips), key=lambda n: (-scores[n, q], n))[: min(top, clips)]
        expected = sum(clip_labels[n] == query_labels[q] for n in ranked) / len(ranked)
        assert found.precisions[q] == pytest.approx(expected), f"query {q} of {queries}, {clips} clips, top {top}"


def test_chance_is_what_random_rankings_reach() -> None:
    rng = np.random.default_rng(5)
    clip_labels = np.array([0] * 3 + [1] * 7 + [NO_LABEL] * 4)
    query_labels = np.array([0, 1])
    draws = [
        retrieval_by_label([(np.arange(14), rng.random((14, 2)))], clip_labels, query_labels, 4).precisions
        for _ in range(4000)
    ]
    chance = chance_level(clip_labels, query_labels)
    np.testing.assert_allclose(chance, [3 / 14, 7 / 14])
    np.testing.assert_allclose(np.mean(draws, axis=0), chance, atol=0.012)  # about 4 standard errors


def test_a_perfect_ranking_reaches_all_and_its_reverse_none() -> None:
    clip_labels = np.repeat([0, 1], 10)
    scores = np.where(clip_labels == 0, 1.0, -1.0)[:, None].astype(np.float32)
    batch = [(np.arange(20), scores)]
    reverse = [(np.arange(20), -scores)]
    assert retrieval_by_label(batch, clip_labels, np.array([0])).precisions[0] == 1.0
    assert retrieval_by_label(reverse, clip_labels, np.array([0])).precisions[0] == 0.0


def test_scores_that_are_not_finite_leave_places_empty() -> None:
    scores = np.array([[0.5], [np.nan], [np.nan]], np.float32)
    found = retrieval_by_label([(np.arange(3), scores)], np.zeros(3, np.int64), np.array([0]), 2)
    assert found.precisions[0] == 0.5, "an empty place counts as a miss: a method must not gain by scoring little"


def test_the_interval_is_repeatable_and_holds_the_mean() -> None:
    values = np.random.default_rng(0).random(30)
    first = bootstrap_interval(values, seed=3)
    assert first == bootstrap_interval(values, seed=3)
    assert first != bootstrap_interval(values, seed=4)
    low, high = first
    assert low < values.mean() < high
    # 30 values of standard deviation 0.29: a 95 % interval is about 4 standard errors wide.
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(30), rel=0.1)


def test_the_interval_does_not_depend_on_how_resamples_are_grouped() -> None:
    # 8,000 values take several groups of resamples, 80 take one; the same generator runs through both.
    assert bootstrap_interval(np.full(8000, 0.25), resamples=1500) == (0.25, 0.25)


def test_equal_values_have_an_interval_without_width() -> None:
    assert bootstrap_interval(np.array([0.5]), resamples=200) == (0.5, 0.5)
