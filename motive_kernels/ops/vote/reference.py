"""Definition of vote in plain PyTorch: every score, then a full sort."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from motive_kernels.ops.topk_dot.reference import all_scores


def share_count(share: float, total: int) -> int:
    """floor(share * total), at least 1, with the share taken as the decimal that it is written as."""
    return max(1, int(Fraction(repr(float(share))) * total))


def vote(
    queries: Tensor, store: Tensor, share: float, scales: Tensor | None, keep: Tensor | None, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """votes [n] int32 and thresholds [q]: a query votes for rows that reach its count-th largest score."""
    scores = all_scores(queries, store, scales, "vote")
    kept = scores if keep is None else scores[:, keep]
    count = share_count(share, kept.shape[1])
    thresholds = kept.sort(dim=1, descending=True).values[:, count - 1] + 0.0
    voted = (scores >= thresholds[:, None]).int()
    votes = (voted if weights is None else voted * weights.to(voted.device)[:, None]).sum(dim=0).int()
    return votes if keep is None else torch.where(keep, votes, 0), thresholds
