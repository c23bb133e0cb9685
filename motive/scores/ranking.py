"""The order of scored clips, with its tie rule; thresholds and ties at a cut. Everything that ranks uses this file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
RankBy = Literal["votes", "mean", "max"]
"""Columns of a scores file that a ranking may start with."""


def share_count(share: float | Fraction, total: int) -> int:
    """floor(share * total), at least 1, with the share taken as the decimal it is written as.

    >>> share_count(0.29, 100)  # 0.29 * 100 is 28.999... in floating point
    29
    """
    exact = share if isinstance(share, Fraction) else Fraction(repr(float(share)))
    return max(1, int(exact * total))


def vote_threshold(scores: NDArray[np.float32], count: int) -> np.float32:
    """The count-th largest of the scores, 1 <= count <= n: a query votes for clips that reach it."""
    place = scores.size - count
    return np.partition(scores, place)[place]


def rank_rows(keys: Sequence[NDArray]) -> Rows:
    """Rows in order of rank: larger keys first, the first key counting most; ties as tie_break says."""
    lowest_first = [-key if key.dtype.kind == "f" else -key.astype(np.int64) for key in reversed(keys)]
    return np.lexsort([tie_break(np.arange(keys[0].size)), *lowest_first])


def tie_break(rows: Rows) -> Rows:
    """The tie rule, and its one home: of clips equal in every key the one with the smaller value here comes first.

    It is the row itself. Rows of a scores file are in order of clip id, so the lower id wins.
    """
    return rows


def top_rows(scores: NDArray[np.floating], top: int) -> Rows:
    """The first ``top`` rows of rank_rows([scores]) among scores that are finite; fewer if fewer are.

    Args:
        scores: [n].
        top: how many.
    """
    finite = np.flatnonzero(np.isfinite(scores))
    count = min(top, finite.size)
    if count <= 0:
        return np.empty(0, np.int64)
    candidates = finite
    if count < finite.size:  # all that tie with the last one stay, so that the tie rule decides among them
        candidates = finite[scores[finite] >= np.partition(scores[finite], finite.size - count)[finite.size - count]]
    return candidates[rank_rows([scores[candidates]])[:count]].astype(np.int64)


@dataclass(frozen=True)
class CutTies:
    """What ties mean for a cut after the first ``count`` ranks.

    Attributes:
        count: clips above the cut.
        tied: clips whose first key equals that of the last clip above the cut; 0 if the cut does not split them.
        tied_above: how many of those are above the cut.
        undecided: clips equal to that clip in every key, on both sides of the cut, which only their ids decide.
    """

    count: int
    tied: int
    tied_above: int
    undecided: int


def ties_at_cut(keys: Sequence[NDArray], order: Rows, count: int) -> CutTies:
    """Count the clips that a cut separates although their keys are equal.

    Args:
        keys: the keys that rank_rows ranked by.
        order: what it gave.
        count: clips above the cut, 1 <= count <= n.
    """
    if count == order.size:
        return CutTies(count, 0, 0, 0)
    last, following = order[count - 1], order[count]
    same = np.ones(order.size, np.bool_)
    split: list[NDArray[np.bool_]] = []
    for key in keys:
        same = same & (key == key[last])
        split.append(same)
    first, every = split[0], split[-1]
    tied = int(first.sum()) if first[following] else 0
    return CutTies(
        count,
        tied,
        int(first[order[:count]].sum()) if tied else 0,
        int(every.sum()) if every[following] else 0,
    )
