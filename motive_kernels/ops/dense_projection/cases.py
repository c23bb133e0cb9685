"""Inputs of dense_projection_into for the checks of every op."""

from __future__ import annotations

from collections.abc import Iterator

from motive_kernels.ops.cases import KEY, Case, Draw


def small(draw: Draw) -> Iterator[Case]:
    for n, d, k in ((2, 67, 70), (5, 300, 7), (1, 2500, 300)):
        for distribution in ("rademacher", "gaussian"):
            arguments = (draw.vectors(n, k), draw.normal(n, d), distribution, *KEY, 7, 0.5)
            yield Case("dense_projection_into", arguments)
    grad = draw.normal(2, 70)[:, 3:]
    yield Case("dense_projection_into", (draw.vectors(2, 70), grad, "rademacher", *KEY, 0, 1.0))


def large(draw: Draw) -> Iterator[Case]:
    columns = draw.length(8960) * draw.length(1536)
    arguments = (draw.vectors(1, 512), draw.normal(1, columns), "rademacher", *KEY, 0, 1.0)
    yield Case("dense_projection_into", arguments)
