"""The numbers of one scoring run: a few for each clip, and how they become a ranking and a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.config import to_json
from motive.errors import OptionError
from motive.scores.format import columns_of, row_groups, scores_writer, summary_path, write_summary
from motive.scores.ranking import CutTies, rank_rows, share_count, ties_at_cut, top_rows, vote_threshold
from motive.scoring.blocks import prefetched, read_blocks, refuse_clip
from motive.scoring.config import BLOCK_ROWS, ScoreConfig
from motive.scoring.joint import mean_scores
from motive.scoring.levels import Levels
from motive.scoring.scratch import Scratch
from motive.scoring.similarity import Kernel
from motive.scoring.summary import QuerySummary, ScoreSummary
from motive.scoring.view import View
from motive.store.segments import count_clips

WHERE = "score"
_QUERY_TILE = 512
TOP = 10
_EXAMPLES = 20
_CUTS = (0.01, 0.05, 0.1, 0.2, 0.5)

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""


@dataclass(frozen=True)
class Side:
    """One checkpoint: its clips, and the scoring function of its queries."""

    clips: View
    kernel: Kernel


@dataclass
class _Groups:
    """Votes and means of one group of queries."""

    queries: list[int]
    votes: NDArray
    mean: NDArray[np.float32]


class Run:
    """What every way of scoring fills in, and what is made of it.

    Args:
        clips: those that are ranked.
        query_ids: in order.
        config: options.
    """

    def __init__(self, clips: View, query_ids: list[str], config: ScoreConfig) -> None:
        self.view, self.query_ids, self.config = clips, query_ids, config
        self.clips = len(clips)
        self.vote_count = share_count(config.vote_share, self.clips)
        self.weights = np.array([config.weights.get(query, 1.0) for query in query_ids])
        kind = np.float64 if config.weights else np.int32
        self.votes = np.zeros(self.clips, kind)
        self.mean = np.empty(self.clips, np.float32)
        self.max = np.empty(self.clips, np.float32)
        self.zero: NDArray[np.int64] = np.empty(0, np.int64)
        self.groups = {
            name: _Groups(
                [q for q, query in enumerate(query_ids) if config.groups.get(query) == name],
                np.zeros(self.clips, kind),
                np.empty(self.clips, np.float32),
            )
            for name in sorted(set(config.groups.values()))
        }
        for name, chosen in {"": list(range(len(query_ids))), **{n: g.queries for n, g in self.groups.items()}}.items():
            if not self.weights[chosen].sum() > 0:
                raise OptionError(
                    f"{WHERE}: weights must leave a query, got 0 for all{name and f' of group {name}'}; raise one"
                )
        self.summaries: list[QuerySummary] = []
        self.order = np.empty(0, np.int64)

    def query_columns(self, start: int, stop: int) -> list[Any]:
        """Each query's scores of some rows, as columns of the file."""
        raise NotImplementedError

    def keys(self) -> list[NDArray]:
        """What clips are ranked by, the first counting most."""
        if self.config.rank_by == "mean":
            return [self.mean]
        return [self.votes if self.config.rank_by == "votes" else self.max, self.mean]

    def rank(self) -> None:
        """Order the clips; equal ones by clip id, which is the order of rows."""
        self.order = rank_rows(self.keys())

    def ties(self) -> dict[str, CutTies]:
        """Ties at the usual cuts of the ranking, and at the share that queries vote for."""
        shares = sorted({*_CUTS, float(self.config.vote_share)})
        return {f"{s:g}": ties_at_cut(self.keys(), self.order, share_count(s, self.clips)) for s in shares}

    def write(self, out: Path, provenance: dict[str, Any]) -> ScoreSummary:
        """Write the table and its summary."""
        rank = np.empty(self.clips, np.int64)
        rank[self.order] = np.arange(1, self.clips + 1)
        ties = self.ties()
        metadata = {
            **provenance,
            "clips": self.clips,
            "vote_count": self.vote_count,
            "thresholds": {query.clip_id: query.threshold for query in self.summaries},
            "ties": to_json(ties),
        }
        columns = columns_of(self.query_ids, list(self.groups), weighted=bool(self.config.weights))
        with scores_writer(out, columns, metadata) as write:
            for start, stop in row_groups(self.clips, len(columns)):
                write(self._rows(start, stop, rank))
        voted = int(np.count_nonzero(self.votes))
        summary = ScoreSummary(
            path=out,
            summary_path=summary_path(out),
            clips=self.clips,
            queries=tuple(self.summaries),
            vote_count=self.vote_count,
            ties=ties,
            voted_clips=voted,
            voteless_clips=self.clips - voted,
            zero_clips=len(self.zero),
            zero_examples=tuple(self.view.ids[int(row)] for row in self.zero[:_EXAMPLES]),
            metadata=metadata,
            segmented=count_clips(self.view.ids.to_arrow()) if self.view.stores[0].segments else None,
        )
        write_summary(out, summary.to_json())
        return summary

    def _rows(self, start: int, stop: int, rank: NDArray[np.int64]) -> list[Any]:
        """Columns of rows start to stop - 1, in the order of the file."""
        here = slice(start, stop)
        percentile = (self.clips + 1 - rank[here]) * (100.0 / self.clips)
        rows = [self.view.ids.slice(start, stop).to_arrow(), self.votes[here], self.mean[here], self.max[here]]
        rows += [rank[here], percentile.astype(np.float32)]
        for group in self.groups.values():
            rows += [group.votes[here], group.mean[here]]
        return rows + self.query_columns(start, stop)


class FullRun(Run):
    """Every score of every clip, exactly, on disk between the passes.

    Args:
        sides: the checkpoints, whose scores are averaged; they hold the same clips.
        query_ids: in order.
        config: options.
        scratch: where the scores are kept.
        levels: of the buckets of the clips; None leaves the scores.
    """

    def __init__(
        self,
        sides: list[Side],
        query_ids: list[str],
        config: ScoreConfig,
        scratch: Scratch,
        levels: Levels | None = None,
    ) -> None:
        super().__init__(sides[0].clips, query_ids, config)
        self.sides, self.scratch, self.levels = sides, scratch, levels

    def score_clips(self, progress: Progress | None) -> None:
        """Fill scratch, mean, max and the groups' means, a block of clips at a time."""
        blocks = [
            prefetched(read_blocks(side.clips, self.config.block_rows or BLOCK_ROWS, WHERE)) for side in self.sides
        ]
        zero: list[NDArray[np.int64]] = []
        for parts in zip(*blocks, strict=True):
            start, size = parts[0][0], len(parts[0][1])
            clips = [side.kernel.prepare(vectors) for side, (_, vectors) in zip(self.sides, parts, strict=True)]
            zero.append(start + np.flatnonzero(np.all([one.norms == 0 for one in clips], axis=0)))
            stop = start + size
            total = np.zeros(size)
            high = np.full(size, -np.inf, np.float32)
            partial = {name: np.zeros(size) for name in self.groups}
            for first in range(0, len(self.query_ids), _QUERY_TILE):
                last = min(first + _QUERY_TILE, len(self.query_ids))
                made = [side.kernel.score(one, first, last) for side, one in zip(self.sides, clips, strict=True)]
                whole = mean_scores(made)
                whole = whole if self.levels is None else self.levels.apply(whole, start, first)
                scores = np.ascontiguousarray(whole.T)
                self._require_finite(scores, start)
                self.scratch.write(first, start, scores)
                for query, row in enumerate(scores, first):  # one by one: the order of a sum is part of its bits
                    weighted = row * self.weights[query]
                    total += weighted
                    np.maximum(high, row, out=high)
                    group = self.config.groups.get(self.query_ids[query])
                    if group is not None:
                        partial[group] += weighted
            self.mean[start:stop] = total / self.weights.sum()
            self.max[start:stop] = high
            for name, group in self.groups.items():
                group.mean[start:stop] = partial[name] / self.weights[group.queries].sum()
            if progress is not None:
                progress(stop, self.clips)
        self.zero = np.concatenate(zero)

    def _require_finite(self, scores: NDArray[np.float32], start: int) -> None:
        beyond = np.flatnonzero(~np.isfinite(scores).all(axis=0))
        if beyond.size:
            row = start + int(beyond[0])
            refuse_clip(self.view, row, WHERE, "scores must fit float32, got overflow", "use cosine")

    def count_votes(self) -> None:
        """Each query votes for the clips that reach its threshold."""
        for query, clip_id in enumerate(self.query_ids):
            scores = self.scratch.read(query)
            threshold = vote_threshold(scores, self.vote_count)
            voted = scores >= threshold
            counted = voted * self.weights[query] if self.config.weights else voted
            self.votes += counted
            name = self.config.groups.get(clip_id)
            if name is not None:
                self.groups[name].votes += counted
            top = [self.view.ids[int(row)] for row in top_rows(scores, TOP)]
            self.summaries.append(
                QuerySummary(
                    clip_id,
                    name,
                    float(threshold),
                    int(voted.sum()),
                    int((scores == threshold).sum()),
                    float(scores.min()),
                    float(scores.mean(dtype=np.float64)),
                    float(scores.max()),
                    tuple(top),
                )
            )

    def query_columns(self, start: int, stop: int) -> list[Any]:
        """Every score."""
        return [self.scratch.read(query, start, stop) for query in range(len(self.query_ids))]
