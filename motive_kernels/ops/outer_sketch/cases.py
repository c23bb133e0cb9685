"""Inputs of outer_sketch_into for the checks of every op."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from motive_kernels.ops.cases import Case, Draw

SIZES = (
    (2, 19, 41, 67, 37),
    (2, 19, 70, 2600, 512),
    (2, 70, 1100, 40, 300),
    (2, 9, 9, 1200, 1000),
    (2, 9, 9, 2400, 2048),
    (1, 5, 5, 4200, 4096),
)
"""(n, t, o, i, k): one for each length of the transform."""


def small(draw: Draw) -> Iterator[Case]:
    for n, t, o, i, k in SIZES:
        lengths = torch.tensor([t, 3][:n], device=draw.device) if o != 9 else None
        sides = (draw.normal(n, t, i), draw.normal(n, t, o))
        # Rounding is relative to the tokens' sizes, and the sketch of a few of them is smaller.
        yield Case("outer_sketch_into", (draw.vectors(n, k), *sides, *draw.tables(o, i, k), lengths, 0.5), 1e-5)
    x, dy = draw.normal(2, 20, 67)[:, 1:], draw.normal(2, 20, 41)[:, 1:]
    yield Case("outer_sketch_into", (draw.vectors(2, 37), x, dy, *draw.tables(41, 67, 37), None, 1.0), 1e-5)


def large(draw: Draw) -> Iterator[Case]:
    t, o, i = draw.length(1950), draw.length(8960), draw.length(1536)
    sides = (draw.normal(1, t, i), draw.normal(1, t, o))
    yield Case("outer_sketch_into", (draw.vectors(1, 512), *sides, *draw.tables(o, i, 512), None, 1.0), 1e-5)
