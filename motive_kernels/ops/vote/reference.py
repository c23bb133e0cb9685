"""Definition of vote in plain PyTorch: every score, then a full sort."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from motive_kernels.ops.dot_scores.reference import all_scores


class VoteStatistics(NamedTuple):
    """What the pass of a vote sees beside the votes.

    Attributes:
        voted: [q] int64, rows that reach the query's threshold.
        tied: [q] int64, rows whose score is the threshold.
        lowest, highest: [q] extremes of the query's scores over the rows that take part.
        total: [q] float64, the sum of those scores; partial sums of a pass are float32.
        best: [n] largest score of each row over the queries; -inf for rows that take no part.
    """

    voted: Tensor
    tied: Tensor
    lowest: Tensor
    highest: Tensor
    total: Tensor
    best: Tensor

    @classmethod
    def empty(cls, like: Tensor) -> VoteStatistics:
        """Fields without elements: statistics that were not asked for."""
        types = (torch.int64, torch.int64, like.dtype, like.dtype, torch.float64, like.dtype)
        return cls(*(like.new_empty(0, dtype=dtype) for dtype in types))


def share_count(share: float, total: int) -> int:
    """floor(share * total), at least 1, with the share taken as the decimal that it is written as."""
    return max(1, int(Fraction(repr(float(share))) * total))


def vote(
    queries: Tensor,
    store: Tensor,
    share: float,
    scales: Tensor | None,
    keep: Tensor | None,
    weights: Tensor | None,
    statistics: bool,
) -> list[Tensor]:
    """votes [n] int32 and thresholds [q]: a query votes for rows that reach its count-th largest score.

    With ``statistics`` also the fields of VoteStatistics, else empty tensors.
    """
    scores = all_scores(queries, store, scales, "vote")
    kept = scores if keep is None else scores[:, keep]
    count = share_count(share, kept.shape[1])
    thresholds = kept.sort(dim=1, descending=True).values[:, count - 1] + 0.0
    voted = (scores >= thresholds[:, None]).int()
    votes = (voted if weights is None else voted * weights.to(voted.device)[:, None]).sum(dim=0).int()
    votes = votes if keep is None else torch.where(keep, votes, 0)
    if not statistics:
        return [votes, thresholds, *VoteStatistics.empty(scores)]
    best = scores.amax(dim=0)
    return [
        votes,
        thresholds,
        (kept >= thresholds[:, None]).sum(dim=1),
        (kept == thresholds[:, None]).sum(dim=1),
        kept.amin(dim=1),
        kept.amax(dim=1),
        kept.double().sum(dim=1),
        best if keep is None else torch.where(keep, best, -math.inf),
    ]
