"""Scoring by bytes: votes, means and lists from passes over the mapped cache, with no table of all scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from motive.errors import StoreError
from motive.extras import require
from motive.scoring.config import ScoreConfig
from motive.scoring.full import TOP, WHERE, Run
from motive.scoring.int8.cache import Int8Store
from motive.scoring.int8.rescore import Record
from motive.scoring.int8.topk import ByteScores, Top, rescored_top
from motive.scoring.summary import QuerySummary
from motive.scoring.view import View
from motive_kernels.search.base import Queries, Wanted
from motive_kernels.search.bracket import all_parts
from motive_kernels.search.elect import Election, elect

_WEIGHT_LEVELS = 1 << 16


class ByteRun(Run):
    """Votes, means and maxima of byte scores; each query's best clips with their float32 scores.

    Args:
        clips: those that are ranked.
        record: the checkpoints.
        stored: their bytes.
        query_ids: in order.
        config: options.
    """

    def __init__(
        self, clips: View, record: Record, stored: Int8Store, query_ids: list[str], config: ScoreConfig
    ) -> None:
        super().__init__(clips, query_ids, config)
        self._record, self._stored = record, stored
        self._directions = record.exact.directions
        self._chosen = clips.chosen
        self._bytes = ByteScores.of(record.exact, stored, self._chosen, config.devices)
        self.zero = np.flatnonzero(self._here(stored.norms) == 0)
        self._top: Top | None = None

    def score_clips(self) -> None:
        """Everything: a pass for each group's votes, one for each mean, one for the lists."""
        try:
            elections = self._vote()
        except ValueError as error:
            raise StoreError(f"{WHERE}: scores must fit float32, got {error}; use cosine") from error
        self.mean[:] = self._means(np.arange(len(self.query_ids)))
        for group in self.groups.values():
            group.mean[:] = self._means(np.array(group.queries))
        rows = np.arange(self.clips) if self._chosen is None else self._chosen
        place = np.full(len(self._bytes.parts[0]) + 1, -1, np.int64)
        place[rows] = np.arange(self.clips)

        fetch = self._record.fetch(self._stored)
        top = rescored_top(self._record.exact, self._bytes, fetch, self.config.listed, self.clips)
        self._top = Top(top.scores, place[top.rows], top.rescored)
        for query, clip_id in enumerate(self.query_ids):
            self.summaries.append(self._summary(query, clip_id, *elections[query]))

    def _vote(self) -> dict[int, tuple[Election, int]]:
        """Let the queries vote, group by group. Returns query -> (its group's election, its place there)."""
        largest = float(self.weights.max())
        levels = torch.from_numpy(np.rint(self.weights / largest * _WEIGHT_LEVELS).astype(np.int32))
        self.max.fill(-np.inf)
        found: dict[int, tuple[Election, int]] = {}
        for name in [None, *self.groups]:
            mine = [q for q, query in enumerate(self.query_ids) if self.config.groups.get(query) == name]
            if not mine:
                continue
            chosen = torch.tensor(mine)
            weights = levels[chosen] if self.config.weights else None
            queries = self._bytes.queries.pick(chosen)
            done = elect(self._bytes.run, queries, self._bytes.parts, self.vote_count, weights=weights, spread=True)
            votes = self._here(done.votes.numpy())
            if self.config.weights:
                votes = votes * (largest / _WEIGHT_LEVELS)
            self.votes += votes
            if name is not None:
                self.groups[name].votes += votes
            assert done.found.best is not None
            np.maximum(self.max, self._here(done.found.best.numpy()), out=self.max)
            found.update({query: (done, place) for place, query in enumerate(mine)})
        return found

    def _means(self, queries: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean scores are the scores of the mean query."""
        weights = self.weights[queries]
        direction = (weights[:, None] * self._directions[queries]).sum(axis=0) / weights.sum()
        part = self._bytes.parts[0]
        bound = torch.tensor([math.inf])
        query = Queries.of(torch.from_numpy(direction)[None], part.values)
        found = all_parts(self._bytes.run, query, [part], Wanted(-bound, bound, self.clips), WHERE)
        means = np.empty(len(part), np.float32)
        means[found.rows[0].numpy()] = found.scores[0].numpy()
        return self._here(means)

    def _summary(self, query: int, clip_id: str, done: Election, place: int) -> QuerySummary:
        assert self._top is not None
        assert done.found.lowest is not None
        assert done.found.total is not None
        return QuerySummary(
            clip_id,
            self.config.groups.get(clip_id),
            float(done.thresholds[place]),
            int(done.voted[place]),
            int(done.tied[place]),
            float(done.found.lowest[place]),
            float(done.found.total[place]) / self.clips,
            float(self._top.scores[query, 0]),
            tuple(self.view.ids[int(row)] for row in self._top.rows[query, :TOP]),
        )

    def query_columns(self, start: int, stop: int) -> list[Any]:
        """The listed clips' scores; null for the others."""
        assert self._top is not None
        pa = require("pyarrow", WHERE, extra="tables")
        columns = []
        for scores, rows in zip(self._top.scores, self._top.rows, strict=True):
            here = (rows >= start) & (rows < stop)
            values, missing = np.zeros(stop - start, np.float32), np.ones(stop - start, np.bool_)
            values[rows[here] - start], missing[rows[here] - start] = scores[here], False
            columns.append(pa.array(values, mask=missing))
        return columns

    def _here(self, values: NDArray) -> NDArray:
        return values if self._chosen is None else values[self._chosen]
