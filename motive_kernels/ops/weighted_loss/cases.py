"""Inputs of weighted_loss for the checks of every op."""

from __future__ import annotations

from collections.abc import Iterator

from motive_kernels.ops.cases import Case, Draw


def small(draw: Draw) -> Iterator[Case]:
    for shape in ((2, 4, 3, 8, 16), (2, 4, 3, 5, 7), (3, 1, 1, 1, 1)):
        for weights in (draw.uniform(shape[0], *shape[2:]), None):
            yield Case("weighted_loss", (draw.normal(*shape), draw.normal(*shape), weights, 64.0))


def large(draw: Draw) -> Iterator[Case]:
    shape = (32, 16, 5, draw.length(60), draw.length(104))
    weights = draw.uniform(32, *shape[2:])
    yield Case("weighted_loss", (draw.normal(*shape), draw.normal(*shape), weights, 1.0))
