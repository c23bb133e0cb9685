"""Definition of dot_scores in plain PyTorch: the score that topk_dot and vote select by."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from motive_kernels.search.base import Queries, refuse_broken


def all_scores(queries: Tensor, store: Tensor, scales: Tensor | None, where: str) -> Tensor:
    """Scores [q, n]. With an int8 store the products are exact integers, which float64 holds.

    Raises:
        ValueError: a score is not finite; names the row.
    """
    asked = Queries.of(queries, store)
    if store.dtype == torch.int8:
        products = (asked.values.double() @ store.double().T).float()
    else:
        products = asked.values @ store.to(asked.values.dtype).T
    if scales is not None:
        products = products * scales[None]
    scores = products * asked.scales[:, None]
    finite = scores.isfinite().all(dim=0)
    if not bool(finite.all()):
        refuse_broken(where, int(finite.int().argmin()))
    return scores


def dot_scores(queries: Tensor, store: Tensor, scales: Tensor | None, keep: Tensor | None) -> Tensor:
    """Every score, -inf for rows that are not kept."""
    scores = all_scores(queries, store, scales, "dot_scores")
    return scores if keep is None else torch.where(keep[None], scores, -math.inf)
