"""Definition of topk_dot in plain PyTorch: every score, then a stable sort."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from motive_kernels.ops.dot_scores.reference import all_scores


def topk_dot(
    queries: Tensor, store: Tensor, top: int, scales: Tensor | None, keep: Tensor | None, largest: bool
) -> tuple[Tensor, Tensor]:
    """The ``top`` best scores of each query and their rows; of equal scores the lower row first.

    Rows that are not kept come last, with a score of -inf (+inf if the smallest are wanted) and row -1.
    """
    scores = all_scores(queries, store, scales, "topk_dot")
    signed = scores if largest else -scores
    if keep is not None:
        signed = torch.where(keep[None], signed, -math.inf)
    order = signed.sort(dim=1, descending=True, stable=True).indices[:, :top]
    best = signed.gather(1, order)
    return (best if largest else -best) + 0.0, torch.where(best == -math.inf, -1, order)
