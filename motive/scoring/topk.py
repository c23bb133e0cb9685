"""Each query's best clips: a list by bytes, proven complete by a bound on their error, scored from the float32 record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from motive.scoring.exact import Floats
from motive.scoring.int8 import Int8Store
from motive.scoring.joint import Exact
from motive_kernels.scan import passes
from motive_kernels.scan.base import Pass, Queries, Rows
from motive_kernels.scan.stream import streamed
from motive_kernels.topk_dot.search import search

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
        bounds: [q], no clip's score by bytes is further from its exact score.
    """

    run: Pass
    queries: Queries
    parts: list[Rows]
    bounds: Floats

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
        missed, sizes = (directions - stand_ins).norm(dim=1), stand_ins.norm(dim=1)
        factors = stored.norms.astype(np.float64) if exact.keep_length else np.ones(len(values))
        largest, error = float(factors.max()), float((factors * stored.errors).max())
        bounds = (missed + _ROUNDING * sizes) * largest + sizes * error
        run = passes.cpp if not devices else streamed(passes.triton, [torch.device(name) for name in devices])
        return cls(run, queries, [Rows(values, torch.from_numpy(scales), mask)], bounds.numpy())

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
    waiting, length, rescored = np.arange(count), LONGER * top, 0
    while waiting.size:
        length = min(length, clips)
        chosen = torch.from_numpy(waiting)
        part = ByteScores(
            byte_scores.run, byte_scores.queries.pick(chosen), byte_scores.parts, byte_scores.bounds[waiting]
        )
        by_bytes, listed = part.top(length)
        complete = length == clips

        def one(place: int) -> tuple[bool, int]:
            query = int(waiting[place])  # noqa: B023 -- done before the loop goes on
            best = _Best(exact, query, fetch, listed[place])  # noqa: B023
            done = best.rescore(by_bytes[place].astype(np.float64), part.bounds[place], top, complete)  # noqa: B023
            if done:
                scores[query], rows[query] = best.scores[:top], best.rows[:top]
            return done, best.rescored

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            results = list(pool.map(one, range(waiting.size)))
        rescored += sum(number for _, number in results)
        waiting = waiting[~np.array([done for done, _ in results])]
        length *= LONGER
    return Top(scores, rows, rescored)


class _Best:
    """The listed clips of one query, scored exactly as far as it takes."""

    def __init__(self, exact: Exact, query: int, fetch: Fetch, listed: NDArray[np.int64]) -> None:
        self._exact, self._query, self._fetch, self._listed = exact, query, fetch, listed
        self._pieces: list[Sequence[NDArray[np.float32]]] = []  # vectors, piece by piece of the list
        self._rough, self._error = np.empty(0), np.empty(0)
        self.scores = np.empty(0, np.float32)
        self.rows = np.empty(0, np.int64)
        self.rescored = 0

    def rescore(self, by_bytes: Floats, bound: float, top: int, complete: bool) -> bool:
        """Whether the first ``top`` are proven to be the best of all; ``complete``: the list holds every clip."""
        self._look_at(top)
        self._look_at(int(np.searchsorted(-by_bytes, -(self._least(top) - bound), side="right")))
        places = np.flatnonzero(self._rough + self._error >= self._least(top))
        scores = self._exact.scores(self._vectors(places), self._query)
        rows = self._listed[places]
        order = np.lexsort((rows, -scores))
        self.scores, self.rows, self.rescored = scores[order], rows[order], places.size
        last = float(self.scores[top - 1])
        return complete or by_bytes[-1] + bound < last - 1e-7 * abs(last)

    def _vectors(self, places: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Vectors of each checkpoint at rising places of the list."""
        found, first = [], 0
        for piece in self._pieces:
            here = places[(places >= first) & (places < first + len(piece[0]))] - first
            found.append([part[here] for part in piece])
            first += len(piece[0])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    def _least(self, top: int) -> float:
        """No less than this is the top-th score of those looked at."""
        sure = self._rough - self._error
        return float(np.partition(sure, sure.size - top)[sure.size - top])

    def _look_at(self, last: int) -> None:
        """Rough scores of the first ``last`` of the list."""
        rows = self._listed[self._rough.size : last]
        if rows.size == 0:
            return
        parts = self._fetch(rows)
        found = self._exact.rough(parts, self._query)
        self._rough, self._error = (
            np.concatenate(both) for both in zip((self._rough, self._error), found, strict=True)
        )
        self._pieces.append(parts)
