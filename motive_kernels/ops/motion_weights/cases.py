"""Inputs of motion_weights for the checks of every op."""

from __future__ import annotations

from collections.abc import Iterator

from motive_kernels.ops.cases import Case, Draw

CHOICES = (
    ("normalise_first", "causal_mean", "bilinear"),
    ("normalise_first", "causal_max", "area"),
    ("resize_first", "stride", "bilinear"),
    ("resize_first", "trilinear", "area"),
)
"""(order, pooling, spatial)."""


def small(draw: Draw) -> Iterator[Case]:
    for shape in ((2, 5, 24, 40), (2, 5, 13, 7), (1, 1, 150, 128)):
        frames = 3 if shape[1] == 5 else 1
        for choice in CHOICES:
            for confidence in (draw.uniform(*shape), None):
                # A mean of many pixels differs little from another, and normalising it afterwards magnifies rounding.
                tolerance = 1e-3 if choice[0] == "resize_first" else 1e-4
                arguments = (draw.normal(*shape, 2), confidence, frames, 6, 5, *choice)
                yield Case("motion_weights", arguments, tolerance)


def large(draw: Draw) -> Iterator[Case]:
    flow = draw.normal(8, 17, draw.length(240), draw.length(416), 2)
    grid = (5, draw.length(30), draw.length(52))
    yield Case("motion_weights", (flow, None, *grid, *CHOICES[0]), 1e-4)
