"""Inputs of tensor_sketch_into for the checks of every op."""

from __future__ import annotations

from collections.abc import Iterator

from motive_kernels.ops.cases import Case, Draw

SIZES = (
    (2, 41, 67, 37),
    (2, 70, 2600, 512),
    (2, 1100, 40, 512),
    (2, 9, 1200, 1000),
    (2, 9, 2400, 2048),
    (1, 5, 4200, 4096),
    (1, 5, 64, 5000),
)
"""(n, o, i, k): one for each number of bucket positions a thread, and one above the widest table in registers."""


def small(draw: Draw) -> Iterator[Case]:
    for n, o, i, k in SIZES:
        yield Case("tensor_sketch_into", (draw.vectors(n, k), draw.normal(n, o, i), *draw.tables(o, i, k), 0.5))
    grad = draw.normal(2, 67, 41).transpose(1, 2)[:, 1:, 3:]
    yield Case("tensor_sketch_into", (draw.vectors(2, 37), grad, *draw.tables(40, 64, 37), 1.0))


def large(draw: Draw) -> Iterator[Case]:
    o, i = draw.length(8960), draw.length(1536)
    yield Case("tensor_sketch_into", (draw.vectors(1, 512), draw.normal(1, o, i), *draw.tables(o, i, 512), 1.0))
