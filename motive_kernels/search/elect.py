"""Votes by one pass: a sample brackets each query's threshold, the pass counts what is beyond and lists what is between.

A threshold is the count-th largest score. With A rows above the upper bound, R rows that reach it and L rows between
the bounds, it is the upper bound itself if A < count <= R, and among the listed if R < count <= R + L. Otherwise the
bracket has failed and is widened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from motive_kernels.search.base import Found, Pass, Queries, Rows, Wanted
from motive_kernels.search.bracket import MOST_SAMPLED, Sample, all_parts, kept_rows, roomy, take_sample

SIGMAS = 5.0
SAMPLE_FACTOR = 3.0
"""A sample of this times the store to the power of 2/3 costs about as much as the list between its bounds."""


@dataclass(frozen=True)
class Election:
    """Votes, and what the pass saw on its way.

    Attributes:
        votes: [n] int32.
        thresholds: [q] float32.
        voted, tied: [q] int64, rows that reach the threshold, and rows that equal it.
        found: the pass.
        passes: how many it took; one unless a bracket failed.
    """

    votes: Tensor
    thresholds: Tensor
    voted: Tensor
    tied: Tensor
    found: Found
    passes: int


def elect(
    run: Pass,
    queries: Queries,
    parts: Sequence[Rows],
    count: int,
    *,
    weights: Tensor | None = None,
    spread: bool = False,
) -> Election:
    """Let each query vote for its ``count`` best rows, 1 <= count <= rows that take part, and for what ties with them.

    With ``spread`` the pass also gives each row's best score, and the lowest, highest and total score of each query.
    """
    total = kept_rows(parts)
    sample = take_sample(run, queries, parts, "vote", min(MOST_SAMPLED, int(SAMPLE_FACTOR * total ** (2 / 3)) + 1))
    sigmas = torch.full((len(queries),), SIGMAS)
    low, high = bracket(sample, count, sigmas)
    capacity, passes = _capacity(sample, count, parts), 0
    while True:
        found = all_parts(run, queries, parts, Wanted(low, high, capacity, True, weights, spread, spread), "vote")
        passes += 1
        fits = (found.above < count) & (count <= found.reached + found.listed)
        crowded = fits & (found.reached < count) & (found.listed > capacity)
        if bool(fits.all()) and not bool(crowded.any()):
            break
        capacity = max(capacity, int(found.listed[fits].max()) if bool(crowded.any()) else 0)
        sigmas = torch.where(fits, sigmas, 4 * sigmas)
        wider = bracket(sample, count, sigmas)
        # A crowd of rows that equal the lower bound makes it the upper bound of the next pass.
        at_low = ~fits & (found.reached + found.listed < count) & low.isfinite()
        low, high = torch.where(fits, low, wider[0]), torch.where(fits, high, torch.where(at_low, low, wider[1]))
        if bool((~low.isfinite() & ~fits).any()):
            capacity = total
    return _resolve(found, count, high, weights, passes)


def bracket(sample: Sample, count: int, sigmas: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds [q] around the count-th largest score, a number of standard deviations of its rank in the sample apart."""
    m = sample.scores.shape[1]
    place = count * m / sample.rows
    deviation = math.sqrt(max(place * (1 - count / sample.rows), 0.0)) + 1.0
    if m == sample.rows:  # the sample is the store
        exact = torch.full((len(sigmas),), count - 1)
        return sample.at(exact + 1), sample.at(exact)
    return (
        sample.at((place + sigmas.double() * deviation).ceil().long()),
        sample.at((place - sigmas.double() * deviation).floor().long() - 1),
    )


def _capacity(sample: Sample, count: int, parts: Sequence[Rows]) -> int:
    m = sample.scores.shape[1]
    place = count * m / sample.rows
    deviation = math.sqrt(place * max(0.0, 1 - count / sample.rows)) + 1.0
    return roomy((2 * SIGMAS * deviation + 2) * sample.rows / m, sum(len(part) for part in parts))


def _resolve(found: Found, count: int, high: Tensor, weights: Tensor | None, passes: int) -> Election:
    """Add the votes of the listed rows that reach the thresholds."""
    assert found.votes is not None
    votes, thresholds, voted, tied = found.votes, high.clone(), found.reached.clone(), found.reached - found.above
    counted, length = votes.numpy(), int(found.listed.max())
    scores, rows = found.scores[:, :length].numpy(), found.rows[:, :length].numpy()
    for query in (found.reached < count).nonzero()[:, 0].tolist():
        listed, left = int(found.listed[query]), count - int(found.reached[query])
        here = scores[query, :listed]
        threshold = np.partition(here, listed - left)[listed - left]
        chosen = rows[query, :listed][here >= threshold]
        counted[chosen] += 1 if weights is None else int(weights[query])  # a row is listed once
        thresholds[query] = float(threshold)
        voted[query] += len(chosen)
        tied[query] = int(np.count_nonzero(here == threshold))
    return Election(votes, thresholds + 0.0, voted, tied, found, passes)
