"""Inputs of fastfood_into for the checks of every op."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from motive_kernels.ops.cases import KEY, Case, Draw


def small(draw: Draw) -> Iterator[Case]:
    for n, d, k, tile in ((2, 67, 64, 256), (1, 3, 1, 1), (2, 700, 16, 64), (1, 9000, 64, 4096)):
        yield Case("fastfood_into", (draw.vectors(n, k), draw.normal(n, d), labels(draw, k, tile), *KEY, 0.5))


def large(draw: Draw) -> Iterator[Case]:
    columns = draw.length(8960) * draw.length(1536)
    arguments = (draw.vectors(1, 512), draw.normal(1, columns), labels(draw, 512, 8192), *KEY, 1.0)
    yield Case("fastfood_into", arguments)


def labels(draw: Draw, k: int, tile: int) -> Tensor:
    """Every bucket equally often, in an order of no pattern."""
    order = torch.randperm(tile, generator=torch.Generator().manual_seed(1))
    return (order % k).to(device=draw.device, dtype=torch.int32)
