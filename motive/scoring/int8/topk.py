"""Each query's best clips: a list by int8 scores, proven complete by a bound on their error, rescored in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import motive_kernels as mk
from motive.scores.ranking import rank_rows
from motive.scoring.exact import Floats
from motive.scoring.int8.cache import Int8Store
from motive.scoring.joint import Exact

Fetch = Callable[[NDArray[np.int64]], Sequence[NDArray[np.float32]]]
"""Vectors of some rows, from the float32 record of each checkpoint."""

LONGER = 4
_ROUNDING = 2e-6
"""More than what float32 loses in a score, as a share of the sizes of its vectors."""


@dataclass(frozen=True)
class Top:
    """Each query's best clips.

    Attributes:
        scores, rows: [q, top], best first, of equal scores the lower row; rows beyond those there are hold -1.
        rescored: how many scores were made from the record.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    rescored: int


@dataclass(frozen=True)
class QuantizedScores:
    """Scores by a store's int8 vectors for some queries, and bounds on their error.

    Attributes:
        directions: [q, k] float64, the queries; a clip's score is their product with its unit vector, times its length
            if ``lengths`` are given.
        values: [n, k] int8.
        scales: [n] float32, factors on the clips' products.
        keep: [n] bool, the clips that take part; None is all.
        devices: GPUs that scan; empty scans on the CPU.
        missed, sizes: [q] norms of what the queries lose when they are rounded, and of their roundings.
        lengths: [n] factors on the clips' scores; None is 1.
        errors: [n] norms of what the clips' unit vectors lose as int8.
    """

    directions: torch.Tensor
    values: torch.Tensor
    scales: torch.Tensor
    keep: torch.Tensor | None
    devices: tuple[str, ...]
    missed: Floats
    sizes: Floats
    lengths: NDArray[np.float32] | None
    errors: NDArray[np.float32]

    @classmethod
    def of(
        cls, exact: Exact, stored: Int8Store, keep: NDArray[np.int64] | None, devices: tuple[str, ...] = ()
    ) -> QuantizedScores:
        """For the queries of ``exact``; keep are the rows that take part, None all."""
        values = torch.from_numpy(stored.values)
        scales = stored.scales * stored.norms if exact.keep_length else stored.scales
        mask = None
        if keep is not None:
            mask = torch.zeros(len(values), dtype=torch.bool)
            mask[torch.from_numpy(keep)] = True
        directions = torch.from_numpy(exact.directions)
        rounded, factors = mk.quantize_queries(directions)
        stand_ins = rounded.double() * factors.double()[:, None]
        missed, sizes = (directions - stand_ins).norm(dim=1).numpy(), stand_ins.norm(dim=1).numpy()
        lengths = stored.norms if exact.keep_length else None
        found = missed + _ROUNDING * sizes, sizes
        return cls(directions, values, torch.from_numpy(scales), mask, devices, *found, lengths, stored.errors)

    def pick(self, chosen: NDArray[np.int64]) -> QuantizedScores:
        """Of some of the queries."""
        directions = self.directions[torch.from_numpy(chosen)]
        return replace(self, directions=directions, missed=self.missed[chosen], sizes=self.sizes[chosen])

    def bounds(self) -> Floats:
        """[q], upper bound on the error of any clip's int8 score."""
        largest = 1.0 if self.lengths is None else float(self.lengths.max())
        errors = self.errors if self.lengths is None else self.errors * self.lengths.astype(np.float64)
        return self.missed * largest + self.sizes * float(errors.max())

    def bounds_of(self, query: int, rows: NDArray[np.int64]) -> Floats:
        """The same of some clips for one query."""
        found = self.missed[query] + self.sizes[query] * self.errors[rows].astype(np.float64)
        return found if self.lengths is None else found * self.lengths[rows]

    def top(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and rows [q, count] by int8 alone.

        Raises:
            mk.NotFiniteError: a score does not fit float32; names the row.
        """
        scores, rows = mk.topk_dot(self.directions, self.values, count, **self._store())
        return scores.numpy(), rows.numpy()

    def vote(self, share: float, weights: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, mk.VoteStatistics]:
        """Votes [n], thresholds [q] and the statistics of the pass.

        Args:
            share: of the clips that take part.
            weights: [q] int32, what a query's vote counts; None is 1.

        Raises:
            As top.
        """
        given = self._store()
        return mk.vote(self.directions, self.values, share, weights=weights, statistics=True, **given)

    def levelled(self, scores: NDArray[np.float32], query: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of some clips for one query on the level that this has: as they are."""
        return scores

    def mean_of(self, queries: NDArray[np.int64], weights: Floats) -> NDArray[np.float32]:
        """[n] every clip's mean score, which is its score for the mean query; -inf for clips that take no part.

        Args:
            queries: over which.
            weights: of these.

        Raises:
            As top.
        """
        direction = (weights[:, None] * self.directions.numpy()[queries]).sum(axis=0) / weights.sum()
        return mk.dot_scores(torch.from_numpy(direction)[None], self.values, **self._store())[0].numpy()

    def _store(self) -> dict[str, Any]:
        """How the public ops scan the clips."""
        return {"scales": self.scales, "keep": self.keep, "devices": self.devices}


def rescored_top(exact: Exact, quantized: QuantizedScores, fetch: Fetch, top: int, clips: int) -> Top:
    """Each query's ``top`` best clips by exact scores, as if all had been made.

    The list by int8 scores is longer than ``top``. A clip beyond its end scores at most the last of the list plus the
    error bound; unless the top-th exact score is larger, a longer list is made for that query.

    Args:
        exact: exact scores.
        quantized: of the same queries.
        fetch: reads float32 vectors.
        top: length of the result.
        clips: clips that take part.
    """
    top = min(top, clips)
    count = len(quantized.directions)
    scores, rows = np.empty((count, top), np.float32), np.empty((count, top), np.int64)
    waiting, length, rescored, bounds = np.arange(count), LONGER * top, 0, quantized.bounds()
    while waiting.size:
        length = min(length, clips)
        part = quantized.pick(waiting)
        by_int8, listed = part.top(length)
        beyond = by_int8[:, -1] + bounds[waiting] if length < clips else np.full(waiting.size, -np.inf)

        done = np.zeros(waiting.size, np.bool_)
        for place, query in enumerate(waiting.tolist()):
            best = _Best(exact, query, quantized, fetch, listed[place])
            at_most = by_int8[place] + part.bounds_of(place, listed[place])
            done[place] = best.rescore(at_most, beyond[place], top)
            rescored += best.rows.size
            if done[place]:
                scores[query], rows[query] = best.scores[:top], best.rows[:top]
        waiting = waiting[~done]
        length *= LONGER
    return Top(scores, rows, rescored)


class _Best:
    """The listed clips of one query, rescored in float32 as far as the proof needs."""

    def __init__(
        self, exact: Exact, query: int, quantized: QuantizedScores, fetch: Fetch, listed: NDArray[np.int64]
    ) -> None:
        self._exact, self._query, self._quantized, self._fetch, self._listed = exact, query, quantized, fetch, listed
        self.scores = np.empty(0, np.float32)
        self.rows = np.empty(0, np.int64)

    def rescore(self, at_most: Floats, beyond: float, top: int) -> bool:
        """Rescore; return whether the first ``top`` are proven to be the best of all.

        Args:
            at_most: upper bound on each listed clip's score.
            beyond: upper bound on every unlisted clip's score.
            top: length of the result.
        """
        self._score(np.arange(top))
        least = float(self.scores.min())  # no less than this is the top-th score of all
        self._score(top + np.flatnonzero(at_most[top:] >= least - _slack(least)))
        by_row = np.argsort(self.rows)
        order = by_row[rank_rows([self.scores[by_row]])]
        self.scores, self.rows = self.scores[order], self.rows[order]
        last = float(self.scores[top - 1])
        return beyond < last - _slack(last)

    def _score(self, places: NDArray[np.int64]) -> None:
        """Exact scores of some of the list."""
        rows = self._listed[places]
        if rows.size:
            scores = self._quantized.levelled(self._exact.scores(self._fetch(rows), self._query), self._query, rows)
            self.scores, self.rows = np.concatenate([self.scores, scores]), np.concatenate([self.rows, rows])


def _slack(score: float) -> float:
    """What a score may have lost when it became float32."""
    return 1e-7 * abs(score)
