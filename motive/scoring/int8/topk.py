"""Each query's best clips: a list by bytes, proven complete by a bound on their error, scored from the float32 record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from motive.scoring.exact import Floats
from motive.scoring.int8.cache import Int8Store
from motive.scoring.joint import Exact
from motive_kernels.search import passes
from motive_kernels.search.base import Pass, Queries, Rows
from motive_kernels.search.best import search
from motive_kernels.search.stream import streamed

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
class ByteScores:
    """What scans a store's bytes for some queries.

    Attributes:
        run: the pass.
        queries: in the form that meets bytes.
        parts: the bytes, with the factor of each clip.
        missed, sizes: [q] lengths of what the queries lost when they were rounded, and of what is left.
        lengths: [n] what scores of each clip are multiplied with; None is 1.
        errors: [n] lengths of what the clips lost when they became bytes, before that.
    """

    run: Pass
    queries: Queries
    parts: list[Rows]
    missed: Floats
    sizes: Floats
    lengths: NDArray[np.float32] | None
    errors: NDArray[np.float32]

    @classmethod
    def of(
        cls, exact: Exact, stored: Int8Store, keep: NDArray[np.int64] | None, devices: tuple[str, ...] = ()
    ) -> ByteScores:
        """For the queries of ``exact``; keep are the rows that take part, None all."""
        values = torch.from_numpy(stored.values)
        scales = stored.scales * stored.norms if exact.keep_length else stored.scales
        mask = None
        if keep is not None:
            mask = torch.zeros(len(values), dtype=torch.bool)
            mask[torch.from_numpy(keep)] = True
        directions = torch.from_numpy(exact.directions)
        queries = Queries.of(directions, values)
        stand_ins = queries.values.double() * queries.scales.double()[:, None]
        missed, sizes = (directions - stand_ins).norm(dim=1).numpy(), stand_ins.norm(dim=1).numpy()
        run = passes.cpp if not devices else streamed(passes.triton, [torch.device(name) for name in devices])
        parts = [Rows(values, torch.from_numpy(scales), mask)]
        lengths = stored.norms if exact.keep_length else None
        return cls(run, queries, parts, missed + _ROUNDING * sizes, sizes, lengths, stored.errors)

    def pick(self, chosen: NDArray[np.int64]) -> ByteScores:
        """Of some of the queries."""
        queries = self.queries.pick(torch.from_numpy(chosen))
        return replace(self, queries=queries, missed=self.missed[chosen], sizes=self.sizes[chosen])

    def bounds(self) -> Floats:
        """[q], no clip's score by bytes is further from its exact score."""
        largest = 1.0 if self.lengths is None else float(self.lengths.max())
        errors = self.errors if self.lengths is None else self.errors * self.lengths.astype(np.float64)
        return self.missed * largest + self.sizes * float(errors.max())

    def bounds_of(self, query: int, rows: NDArray[np.int64]) -> Floats:
        """The same of some clips for one query."""
        found = self.missed[query] + self.sizes[query] * self.errors[rows].astype(np.float64)
        return found if self.lengths is None else found * self.lengths[rows]

    def top(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and rows [q, count] by bytes alone."""
        scores, rows = search(self.run, self.queries, self.parts, count)
        return scores.numpy(), rows.numpy()


def rescored_top(exact: Exact, byte_scores: ByteScores, fetch: Fetch, top: int, clips: int) -> Top:
    """Each query's ``top`` best clips by exact scores, as if all had been made.

    The list by bytes is longer than asked for. A clip beyond its end scores at most the last of the list plus the
    bound; unless the top-th exact score is larger, the list is extended and the query looked at again.

    Args:
        exact: exact scores.
        byte_scores: of the same queries.
        fetch: the record.
        top: how many.
        clips: how many take part.
    """
    top = min(top, clips)
    count = len(byte_scores.queries)
    scores, rows = np.empty((count, top), np.float32), np.empty((count, top), np.int64)
    waiting, length, rescored, bounds = np.arange(count), LONGER * top, 0, byte_scores.bounds()
    while waiting.size:
        length = min(length, clips)
        part = byte_scores.pick(waiting)
        by_bytes, listed = part.top(length)
        beyond = by_bytes[:, -1] + bounds[waiting] if length < clips else np.full(waiting.size, -np.inf)

        done = np.zeros(waiting.size, np.bool_)
        for place, query in enumerate(waiting.tolist()):
            best = _Best(exact, query, fetch, listed[place])
            at_most = by_bytes[place] + part.bounds_of(place, listed[place])
            done[place] = best.rescore(at_most, beyond[place], top)
            rescored += best.rows.size
            if done[place]:
                scores[query], rows[query] = best.scores[:top], best.rows[:top]
        waiting = waiting[~done]
        length *= LONGER
    return Top(scores, rows, rescored)


class _Best:
    """The listed clips of one query, scored exactly as far as it takes."""

    def __init__(self, exact: Exact, query: int, fetch: Fetch, listed: NDArray[np.int64]) -> None:
        self._exact, self._query, self._fetch, self._listed = exact, query, fetch, listed
        self.scores = np.empty(0, np.float32)
        self.rows = np.empty(0, np.int64)

    def rescore(self, at_most: Floats, beyond: float, top: int) -> bool:
        """Whether the first ``top`` are proven to be the best of all.

        Args:
            at_most: what no listed clip's score is above.
            beyond: what that of no other clip is above.
            top: how many.
        """
        self._score(np.arange(top))
        least = float(self.scores.min())  # no less than this is the top-th score of all
        self._score(top + np.flatnonzero(at_most[top:] >= least - _slack(least)))
        order = np.lexsort((self.rows, -self.scores))
        self.scores, self.rows = self.scores[order], self.rows[order]
        last = float(self.scores[top - 1])
        return beyond < last - _slack(last)

    def _score(self, places: NDArray[np.int64]) -> None:
        """Exact scores of some of the list."""
        rows = self._listed[places]
        if rows.size:
            scores = self._exact.scores(self._fetch(rows), self._query)
            self.scores, self.rows = np.concatenate([self.scores, scores]), np.concatenate([self.rows, rows])


def _slack(score: float) -> float:
    """What a score may have lost when it became float32."""
    return 1e-7 * abs(score)
