"""A clip's rank hardly depends on its bucket: less than on the seed of the noise."""

from __future__ import annotations

import pytest

from benchmarks.quality.buckets import Moved, measure

BUCKETS = ("48x48x9", "64x32x9", "48x48x5")


@pytest.fixture(scope="module")
def ways() -> dict[str, Moved]:
    """Ten clips of five motions in three buckets of the built-in model, five queries in the first."""
    return measure(2, 1, BUCKETS)


def test_a_bucket_moves_ranks_less_than_another_noise_seed(ways: dict[str, Moved]) -> None:
    """docs/buckets.md states the tolerance; benchmarks.quality.buckets measures it on more clips."""
    found = ways["field, levelled"]
    assert found.spearman > ways["seed"].spearman - 0.05, ways
    assert max(map(abs, found.shifts)) < 10, "no bucket's mean percentile moves by ten points"


def test_one_field_of_noise_is_what_makes_buckets_comparable(ways: dict[str, Moved]) -> None:
    assert ways["field, levelled"].spearman > ways["flat, levelled"].spearman
    assert ways["field, raw"].spearman > ways["flat, raw"].spearman + 0.05
    assert max(map(abs, ways["field, raw"].shifts)) < max(map(abs, ways["flat, raw"].shifts))
