"""Scores of clips of several buckets on one level: each bucket's mean score for a query is removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motive.scoring.blocks import read_blocks
from motive.scoring.config import BLOCK_ROWS
from motive.scoring.joint import mean_scores
from motive.scoring.similarity import Kernel
from motive.scoring.view import View

PRIOR_CLIPS = 10.0
"""A bucket's mean counts as that of its clips and of this many clips that score like all clips."""


@dataclass(frozen=True)
class Levels:
    """What is taken from the scores of each bucket.

    Attributes:
        buckets: in order of name.
        clips: of each.
        codes: [n] place in ``buckets`` of each clip of the view.
        shifts: [buckets, q] float64: (n_b (m_bq - m_q)) / (n_b + PRIOR_CLIPS), of the mean scores m_bq of the n_b clips
            of a bucket and m_q of all clips.
    """

    buckets: tuple[str, ...]
    clips: tuple[int, ...]
    codes: NDArray[np.int64]
    shifts: NDArray[np.float64]

    def apply(self, scores: NDArray[np.float32], start: int, first: int) -> NDArray[np.float32]:
        """Levelled scores.

        Args:
            scores: [m, t] of the view's clips from ``start`` on against the queries from ``first`` on.
            start, first: as above.
        """
        codes = self.codes[start : start + len(scores)]
        return (scores - self.shifts[codes, first : first + scores.shape[1]]).astype(np.float32)

    def restricted(self, chosen: NDArray[np.int64] | None) -> Levels:
        """The same shifts for some rows of the view; None for all."""
        codes = self.codes if chosen is None else self.codes[chosen]
        return Levels(self.buckets, self.clips, codes, self.shifts)


def bucket_codes(view: View) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The buckets of a view's clips in order of name, and the place of each clip's; none where there is at most one."""
    names = view.buckets()
    if names is None:
        return (), np.empty(0, np.int64)
    buckets, codes = np.unique(names, return_inverse=True)
    return (tuple(map(str, buckets)), codes.astype(np.int64)) if len(buckets) > 1 else ((), np.empty(0, np.int64))


def levels_of(sides: Sequence[tuple[View, Kernel]], queries: int, where: str) -> Levels | None:
    """The levels of all clips of some checkpoints, filters aside; None unless they have two buckets or more.

    Takes a pass over the vectors. Sums run over the clips in the order of their ids, one by one, so that they do not
    depend on how the clips are read.

    Args:
        sides: clips and scoring function of each checkpoint; they hold the same clips.
        queries: how many.
        where: the operation, for messages.
    """
    buckets, codes = bucket_codes(sides[0][0])
    if not buckets:
        return None
    return levels_of_scores(buckets, codes, queries, _mean_blocks(sides, queries, where))


def _mean_blocks(
    sides: Sequence[tuple[View, Kernel]], queries: int, where: str
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    for parts in zip(*(read_blocks(view, BLOCK_ROWS, where) for view, _ in sides), strict=True):
        made = [kernel.score(kernel.prepare(v), 0, queries) for (_, kernel), (_, v) in zip(sides, parts, strict=True)]
        yield parts[0][0], 0, mean_scores(made)


def levels_of_scores(
    buckets: tuple[str, ...],
    codes: NDArray[np.int64],
    queries: int,
    blocks: Iterable[tuple[int, int, NDArray[np.float32]]],
) -> Levels:
    """The levels of scores that are given block by block.

    Args:
        buckets: in order of name.
        codes: [n] place of each clip's.
        queries: how many.
        blocks: (first clip, first query, scores [clips, queries]); of a query, in the order of the clips.
    """
    sums = np.zeros((len(buckets), queries))
    for start, first, scores in blocks:
        np.add.at(sums[:, first : first + scores.shape[1]], codes[start : start + len(scores)], scores)
    clips = np.bincount(codes)
    whole = sums.sum(0) / clips.sum()
    shifts = (sums - clips[:, None] * whole) / (clips[:, None] + PRIOR_CLIPS)
    return Levels(buckets, tuple(map(int, clips)), codes, shifts)
