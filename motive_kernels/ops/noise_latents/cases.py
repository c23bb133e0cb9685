"""Inputs of noise_latents for the checks of every op."""

from __future__ import annotations

from collections.abc import Iterator

from motive_kernels.ops.cases import Case, Draw


def small(draw: Draw) -> Iterator[Case]:
    for shape in ((2, 4, 3, 8, 16), (2, 4, 3, 5, 7), (1, 1)):
        for draws in {1, shape[0]}:
            noise = draw.normal(draws, *shape[1:])
            yield Case("noise_latents", (draw.normal(*shape), noise, draw.uniform(shape[0])))


def large(draw: Draw) -> Iterator[Case]:
    shape = (32, 16, 5, draw.length(60), draw.length(104))
    yield Case("noise_latents", (draw.normal(*shape), draw.normal(1, *shape[1:]), draw.uniform(32)))
