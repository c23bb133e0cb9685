"""Scoring by int8 vectors: votes, means and top-k from passes over the mapped cache, with no table of all scores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import motive_kernels as mk
from motive.errors import MotiveError, OptionError, StoreError
from motive.extras import require
from motive.scoring.config import ScoreConfig
from motive.scoring.full import TOP, WHERE, Run
from motive.scoring.int8.cache import Int8Store
from motive.scoring.int8.levelled import LevelledScores
from motive.scoring.int8.rescore import Record
from motive.scoring.int8.topk import QuantizedScores, Top, rescored_top
from motive.scoring.levels import Levels
from motive.scoring.summary import QuerySummary
from motive.scoring.view import View

_WEIGHT_LEVELS = 1 << 16
_DEVICE = re.compile(r"cuda(?::(0|[1-9][0-9]*))?")


@dataclass(frozen=True)
class _Ballot:
    """What a vote tells of one query.

    Attributes:
        threshold, voted, tied: score that a clip must reach, clips that reach it, and clips that equal it.
        low, total: smallest score, and the sum of all.
    """

    threshold: float
    voted: int
    tied: int
    low: float
    total: float


@contextmanager
def search_errors() -> Iterator[None]:
    """Report what a search of int8 vectors refuses as an error of the store."""
    try:
        yield
    except mk.NotFiniteError as error:
        raise StoreError(f"{WHERE}: scores must fit float32, got {error}; use cosine") from error
    except MotiveError:
        raise
    except ValueError as error:
        raise StoreError(f"{WHERE}: the int8 vectors cannot be searched: {error}") from error


class Int8Run(Run):
    """Votes, means and maxima of int8 scores; each query's top-k clips with their float32 scores.

    Args:
        clips: those that are ranked.
        record: the checkpoints.
        stored: their int8 vectors.
        query_ids: in order.
        config: options.
        levels: of the buckets of all clips, by int8 scores; None leaves the scores.
    """

    def __init__(
        self,
        clips: View,
        record: Record,
        stored: Int8Store,
        query_ids: list[str],
        config: ScoreConfig,
        levels: Levels | None = None,
    ) -> None:
        super().__init__(clips, query_ids, config)
        self._record, self._stored = record, stored
        self._chosen = clips.chosen
        self._quantized = quantized_scores(record, stored, self._chosen, config.devices, levels)
        self.zero = np.flatnonzero(self._here(stored.norms) == 0)
        self._top: Top | None = None

    @search_errors()
    def score_clips(self) -> None:
        """Everything: a pass for each group's votes, one for each mean, one for the top-k."""
        ballots = self._vote()
        self.mean[:] = self._means(np.arange(len(self.query_ids)))
        for group in self.groups.values():
            group.mean[:] = self._means(np.array(group.queries))
        rows = np.arange(self.clips) if self._chosen is None else self._chosen
        place = np.full(len(self._quantized.values) + 1, -1, np.int64)
        place[rows] = np.arange(self.clips)

        fetch = self._record.fetch(self._stored)
        top_k = self.config.applied_top_k
        assert top_k is not None
        top = rescored_top(self._record.exact, self._quantized, fetch, top_k, self.clips)
        self._top = Top(top.scores, place[top.rows], top.rescored)
        for query, clip_id in enumerate(self.query_ids):
            self.summaries.append(self._summary(query, clip_id, ballots[query]))

    def _vote(self) -> dict[int, _Ballot]:
        """Let the queries vote, group by group. Returns query -> what its vote tells of it."""
        largest = float(self.weights.max())
        levels = torch.from_numpy(np.rint(self.weights / largest * _WEIGHT_LEVELS).astype(np.int32))
        self.max.fill(-np.inf)
        ballots: dict[int, _Ballot] = {}
        for name in [None, *self.groups]:
            mine = [q for q, query in enumerate(self.query_ids) if self.config.groups.get(query) == name]
            if not mine:
                continue
            weights = levels[torch.tensor(mine)] if self.config.weights else None
            counted, thresholds, seen = self._quantized.pick(np.array(mine)).vote(self.config.vote_share, weights)
            votes = self._here(counted.numpy())
            if self.config.weights:
                votes = votes * (largest / _WEIGHT_LEVELS)
            self.votes += votes
            if name is not None:
                self.groups[name].votes += votes
            np.maximum(self.max, self._here(seen.best.numpy()), out=self.max)
            columns = (thresholds, seen.voted, seen.tied, seen.lowest, seen.total)
            rows = zip(*(column.tolist() for column in columns), strict=True)
            ballots.update({query: _Ballot(*row) for query, row in zip(mine, rows, strict=True)})
        return ballots

    def _means(self, queries: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean scores are the scores of the mean query."""
        return self._here(self._quantized.mean_of(queries, self.weights[queries]))

    def _summary(self, query: int, clip_id: str, ballot: _Ballot) -> QuerySummary:
        assert self._top is not None
        return QuerySummary(
            clip_id,
            self.config.groups.get(clip_id),
            ballot.threshold,
            ballot.voted,
            ballot.tied,
            ballot.low,
            ballot.total / self.clips,
            float(self._top.scores[query, 0]),
            tuple(self.view.ids[int(row)] for row in self._top.rows[query, :TOP]),
        )

    def query_columns(self, start: int, stop: int) -> list[Any]:
        """Scores of each query's top-k clips; null for the others."""
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


def quantized_scores(
    record: Record,
    stored: Int8Store,
    chosen: NDArray[np.int64] | None,
    devices: tuple[str, ...],
    levels: Levels | None,
) -> QuantizedScores:
    """Scores by int8 vectors of the rows that are chosen, on one level if levels are given."""
    scores = QuantizedScores.of(record.exact, stored, chosen, devices)
    return scores if levels is None else LevelledScores.over(scores, levels)


def require_devices(names: Sequence[str]) -> None:
    """Refuse devices that are not GPUs of this machine.

    Raises:
        OptionError: names the first that is not.
    """
    count = torch.cuda.device_count() if names and torch.cuda.is_available() else 0
    for name in names:
        found = _DEVICE.fullmatch(name)
        if found is None or int(found[1] or 0) >= count:
            there = ", ".join(f"cuda:{number}" for number in range(count)) or "none"
            raise OptionError(
                f"score: devices must be GPUs of this machine ({there}), got {name}; "
                "leave devices out to scan on the CPU"
            )
