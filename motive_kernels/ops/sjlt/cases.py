"""Inputs of sjlt_into for the checks of every op."""

from __future__ import annotations

from collections.abc import Iterator

from motive_kernels.ops.cases import KEY, Case, Draw


def small(draw: Draw) -> Iterator[Case]:
    for n, d, k, nonzeros in ((2, 67, 70, 3), (2, 67, 13000, 1), (1, 9000, 70, 3), (1, 5, 3, 1)):
        yield Case("sjlt_into", (draw.vectors(n, k), draw.normal(n, d), nonzeros, *KEY, 0.5))


def large(draw: Draw) -> Iterator[Case]:
    columns = draw.length(8960) * draw.length(1536)
    yield Case("sjlt_into", (draw.vectors(1, 512), draw.normal(1, columns), 1, *KEY, 1.0))
