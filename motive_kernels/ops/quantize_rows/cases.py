"""Inputs of quantize_rows for the checks of every op."""

from __future__ import annotations

from collections.abc import Iterator

from motive_kernels.ops.cases import Case, Draw


def small(draw: Draw) -> Iterator[Case]:
    for n, k in ((9, 40), (1, 1), (5, 16), (3, 1500)):
        for unit in (True, False):
            yield Case("quantize_rows", (draw.normal(n, k), unit), 0.0)


def large(draw: Draw) -> Iterator[Case]:
    yield Case("quantize_rows", (draw.normal(draw.length(2**20), 512), True), 0.0)
