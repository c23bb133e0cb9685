"""Inputs of dot_scores for the checks of every op."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from motive_kernels.ops.cases import Case, Draw


def small(draw: Draw) -> Iterator[Case]:
    for n, k, q in ((70, 37, 18), (9, 5, 1)):
        kept = torch.arange(n, device=draw.device) % 3 != 0
        for keep in (None, kept):
            yield Case("dot_scores", (draw.vectors(q, k), store(draw, n, k), draw.uniform(n), keep), 0.0)


def large(draw: Draw) -> Iterator[Case]:
    rows = draw.length(2**20)
    yield Case("dot_scores", (draw.vectors(4, 512), store(draw, rows, 512), draw.uniform(rows), None), 0.0)


def store(draw: Draw, n: int, k: int) -> Tensor:
    """int8 rows, with which every implementation gives the same bits."""
    return (40 * draw.vectors(n, k)).clamp(-127, 127).to(torch.int8)
