"""Inputs of kronecker_into and kronecker_outer_into for the checks of every op."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from motive_kernels.ops.cases import Case, Draw


def small(draw: Draw) -> Iterator[Case]:
    for n, t, o, i, ko, ki in ((2, 19, 41, 67, 5, 7), (1, 3, 9, 5, 1, 8), (3, 65, 130, 40, 16, 4)):
        left, right = draw.vectors(ko, o), draw.vectors(ki, i)
        yield Case("kronecker_into", (draw.vectors(n, ko * ki), draw.normal(n, o, i), left, right, 0.5))
        lengths = torch.tensor([t, 3, 1][:n], device=draw.device)
        sides = (draw.normal(n, t, i), draw.normal(n, t, o))
        yield Case("kronecker_outer_into", (draw.vectors(n, ko * ki), *sides, left, right, lengths, 0.5))


def large(draw: Draw) -> Iterator[Case]:
    t, o, i = draw.length(1950), draw.length(8960), draw.length(1536)
    left, right = draw.vectors(32, o), draw.vectors(16, i)
    yield Case("kronecker_into", (draw.vectors(1, 512), draw.normal(1, o, i), left, right, 1.0))
    sides = (draw.normal(1, t, i), draw.normal(1, t, o))
    yield Case("kronecker_outer_into", (draw.vectors(1, 512), *sides, left, right, None, 1.0))
