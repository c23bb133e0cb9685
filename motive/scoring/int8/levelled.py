"""Int8 scores with the buckets on one level: votes and top-k from passes that make every score and keep few of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray

import motive_kernels as mk
from motive.scores.ranking import share_count
from motive.scoring.exact import Floats
from motive.scoring.int8.topk import QuantizedScores
from motive.scoring.levels import Levels, levels_of_scores

_BLOCK_SCORES = 1 << 23
_TILE_QUERIES = 64
_HALF = 1 << 16
_SUBTRACTION = 2.0**-23
"""More than what rounding to float32 loses in two differences, as a share of what is subtracted."""


@dataclass(frozen=True)
class LevelledScores(QuantizedScores):
    """Scores by int8 vectors less the level of each clip's bucket, rounded to float32.

    Attributes:
        codes: [n] place of each clip's bucket in ``shifts``.
        shifts: [buckets, q] float64, what is subtracted.
    """

    codes: NDArray[np.int64]
    shifts: Floats

    @classmethod
    def over(cls, scores: QuantizedScores, levels: Levels) -> LevelledScores:
        """The same scores on one level."""
        held = {field.name: getattr(scores, field.name) for field in fields(scores)}
        return cls(**held, codes=levels.codes, shifts=levels.shifts)

    def pick(self, chosen: NDArray[np.int64]) -> LevelledScores:
        """Of some of the queries."""
        return replace(super().pick(chosen), shifts=self.shifts[:, chosen])  # type: ignore[return-value]

    def bounds(self) -> Floats:
        """[q], upper bound on the error of any clip's levelled score."""
        return super().bounds() + _SUBTRACTION * np.abs(self.shifts).max(axis=0)

    def bounds_of(self, query: int, rows: NDArray[np.int64]) -> Floats:
        """The same of some clips for one query."""
        return super().bounds_of(query, rows) + _SUBTRACTION * np.abs(self.shifts[self.codes[rows], query])

    def levelled(self, scores: NDArray[np.float32], query: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of some clips for one query on the level that this has."""
        return (scores - self.shifts[self.codes[rows], query]).astype(np.float32)

    def mean_of(self, queries: NDArray[np.int64], weights: Floats) -> NDArray[np.float32]:
        """[n] the mean query's scores, less the mean of what is subtracted from the queries'."""
        whole = super().mean_of(queries, weights)
        shift = (self.shifts[:, queries] * weights).sum(axis=1) / weights.sum()
        return (whole - shift[self.codes]).astype(np.float32)

    def top(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and rows [q, count]: best first, of equal scores the lower row."""
        queries = len(self.directions)
        best = [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in range(queries)]
        for first, rows, scores in self._blocks():
            for place, row in enumerate(scores, first):
                best[place] = _merged_best(*best[place], row, rows, count)
        return np.stack([scores for scores, _ in best]), np.stack([rows for _, rows in best])

    def vote(self, share: float, weights: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, mk.VoteStatistics]:
        """As QuantizedScores.vote; the threshold is found by its upper and then its lower 16 bits, so in two passes."""
        n, queries = len(self.values), len(self.directions)
        kept = n if self.keep is None else int(self.keep.sum())
        thresholds = self._kth_largest(share_count(share, kept))
        counts = np.ones(queries, np.int32) if weights is None else weights.numpy()
        votes, best = np.zeros(n, np.int32), np.full(n, -np.inf, np.float32)
        voted, tied = np.zeros(queries, np.int64), np.zeros(queries, np.int64)
        low, high = np.full(queries, np.inf, np.float32), np.full(queries, -np.inf, np.float32)
        total = np.zeros(queries)
        for first, rows, scores in self._blocks():
            here = slice(first, first + len(scores))
            reached = scores >= thresholds[here, None]
            votes[rows] += counts[here] @ reached
            best[rows] = np.maximum(best[rows], scores.max(axis=0))
            voted[here] += reached.sum(axis=1)
            tied[here] += (scores == thresholds[here, None]).sum(axis=1)
            low[here], high[here] = (
                np.minimum(low[here], scores.min(axis=1)),
                np.maximum(high[here], scores.max(axis=1)),
            )
            total[here] += scores.sum(axis=1, dtype=np.float64)
        seen = mk.VoteStatistics(*map(torch.from_numpy, (voted, tied, low, high, total, best)))
        return torch.from_numpy(votes), torch.from_numpy(thresholds), seen

    def _kth_largest(self, count: int) -> NDArray[np.float32]:
        """[q] the count-th largest score of each query."""
        queries = len(self.directions)
        upper, left = np.zeros(queries, np.uint32), np.full(queries, count)
        for part in range(2):
            tallies = np.zeros((queries, _HALF), np.int64)
            for first, _, scores in self._blocks():
                for place, keys in enumerate(_ordered(scores), first):
                    digits = keys >> 16 if part == 0 else keys[keys >> 16 == upper[place]] & (_HALF - 1)
                    tallies[place] += np.bincount(digits, minlength=_HALF)
            from_top = tallies[:, ::-1].cumsum(axis=1)
            at = (from_top < left[:, None]).sum(axis=1)
            above = np.where(at > 0, from_top[np.arange(queries), np.maximum(at, 1) - 1], 0)
            digit, left = (_HALF - 1 - at).astype(np.uint32), left - above
            upper = digit if part == 0 else upper << np.uint32(16) | digit
        return _unordered(upper)

    def _blocks(self) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]:
        """Yield (first query, rows, levelled scores [queries, rows]) of clips that take part, for queries and rows in order."""
        for first, start, scores in score_blocks(self):
            rows = np.arange(start, start + scores.shape[1])
            if self.keep is not None:
                kept = self.keep[start : start + scores.shape[1]].numpy()
                rows, scores = rows[kept], scores[:, kept]
            if rows.size:
                shifts = self.shifts[self.codes[rows], first : first + len(scores)]
                yield first, rows, (scores.T - shifts).astype(np.float32).T


def score_blocks(scores: QuantizedScores) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield (first query, first row, int8 scores [queries, rows]) of all clips, whether they take part or not.

    Raises:
        mk.NotFiniteError: a score does not fit float32.
    """
    step = _BLOCK_SCORES // min(_TILE_QUERIES, len(scores.directions))
    for first in range(0, len(scores.directions), _TILE_QUERIES):
        directions = scores.directions[first : first + _TILE_QUERIES]
        for start in range(0, len(scores.values), step):
            here = slice(start, start + step)
            found = mk.dot_scores(directions, scores.values[here], scales=scores.scales[here], devices=scores.devices)
            yield first, start, found.numpy()


def int8_levels(scores: QuantizedScores, buckets: tuple[str, ...], codes: NDArray[np.int64]) -> Levels:
    """The levels of all clips by their int8 scores, in one pass.

    Args:
        scores: of all clips.
        buckets: in order of name, at least two.
        codes: [n] place of each clip's.

    Raises:
        mk.NotFiniteError: a score does not fit float32.
    """
    blocks = ((start, first, found.T) for first, start, found in score_blocks(scores))
    return levels_of_scores(buckets, codes, len(scores.directions), blocks)


def _merged_best(
    scores: NDArray[np.float32], rows: NDArray[np.int64], found: NDArray[np.float32], at: NDArray[np.int64], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The ``count`` best of a list and of later rows; of equal scores the lower row is better."""
    if len(scores) == count:
        better = found > scores[-1]
        found, at = found[better], at[better]
        if not at.size:
            return scores, rows
    scores, rows = np.concatenate([scores, found]), np.concatenate([rows, at])
    order = np.argsort(-scores, kind="stable")[:count]
    return scores[order], rows[order]


def _ordered(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Whole numbers in the order of the scores; both zeros are one."""
    bits = (scores + np.float32(0)).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _unordered(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The scores of such numbers."""
    return np.where(keys >> 31, keys & np.uint32((1 << 31) - 1), ~keys).astype(np.uint32).view(np.float32)
