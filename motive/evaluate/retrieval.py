"""Retrieval by label: of the clips that a query ranks highest, how many show the query's own motion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motive.scores.top import TopRows

NO_LABEL = -1
"""Code of a clip without a label: it takes part in the ranking and matches no query."""


@dataclass(frozen=True)
class Retrieval:
    """Shares by query.

    Attributes:
        precisions: [q] float64, precision@k: the fraction of same-label clips among the query's top k.
        chance: [q] float64, its expectation for a random ranking.
        ranked: [q] int64, how many of the clips counted had a score.
    """

    precisions: NDArray[np.float64]
    chance: NDArray[np.float64]
    ranked: NDArray[np.int64]


def chance_level(clip_labels: NDArray[np.int64], query_labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Expected fraction of same-label clips among the first m of a random order, for each query.

    Exact and the same for every m: each place is equally likely to hold any clip, so the expectation is
    the label's frequency.

    Args:
        clip_labels: [n] label codes.
        query_labels: [q] label codes.
    """
    if clip_labels.size == 0:
        return np.zeros(query_labels.size)
    return np.array([np.count_nonzero(clip_labels == label) / clip_labels.size for label in query_labels])


def retrieval_by_label(
    batches: Iterable[tuple[NDArray[np.int64], NDArray[np.floating]]],
    clip_labels: NDArray[np.int64],
    query_labels: NDArray[np.int64],
    top: int = 10,
) -> Retrieval:
    """Precision@k of clips with the query's label, from scores that are read a batch at a time.

    Args:
        batches: (rows [b] ascending, scores [b, q]); rows index clip_labels. Rows that no batch brings are
            left out of the ranking, but should then have no place in clip_labels either: chance counts all.
            Of equal scores the earlier row ranks first; a score that is not finite never ranks.
        clip_labels: [n] label codes, NO_LABEL for none.
        query_labels: [q] label codes.
        top: clips counted for each query; all clips if there are fewer.
    """
    ranked = TopRows(query_labels.size, top)
    for rows, scores in batches:
        ranked.update(rows, scores)
    counted = max(1, min(top, clip_labels.size))
    precisions = np.empty(query_labels.size)
    for column, label in enumerate(query_labels):
        precisions[column] = np.count_nonzero(clip_labels[ranked.rows(column)] == label) / counted
    ranks = np.array([ranked.rows(column).size for column in range(query_labels.size)], np.int64)
    return Retrieval(precisions, chance_level(clip_labels, query_labels), ranks)


def bootstrap_interval(
    values: NDArray[np.float64], *, resamples: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean, by drawing its items (queries) with replacement.

    The same seed draws the same items for any two arrays of one length, which is what makes the interval
    of a difference a paired one.

    Args:
        values: [q], at least one.
        resamples: sets drawn.
        seed: of the generator (Philox).
        confidence: share of the resampled means inside, in (0, 1).
    """
    generator = np.random.Generator(np.random.Philox(seed))
    means = np.empty(resamples)
    step = max(1, 4_000_000 // values.size)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        means[start : start + size] = values[generator.integers(0, values.size, (size, values.size))].mean(axis=1)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(means, [tail, 100.0 - tail])
    return float(low), float(high)
