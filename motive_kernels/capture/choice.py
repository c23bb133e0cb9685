"""The cheaper form of a matrix parameter's gradient: factorized or materialized.

Both take the inputs x [t, i] and output gradients dy [t, o] of a sample's t tokens. The materialized form multiplies
them into the gradient [o, i] and projects that; the factorized form sketches every token's two rows to k numbers and
multiplies the sketches, by transforms of length k unless a side is so short that the product itself is cheaper.

The choice is a function of shapes, dtype and type of device. It rests on counts and data sheets, not on measured
speeds, so that every machine of a kind makes it alike (docs/decisions/0030-choice-of-form.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Costs:
    """Time per unit of work, in any one unit; only ratios matter.

    Attributes:
        matmul: a multiply-add of a matrix product.
        product: a multiply-add inside the factorized form.
        sketch: a number of x or dy, sketched.
        gradient: a number of the gradient, from the product to its projection.
    """

    matmul: float
    product: float
    sketch: float
    gradient: float

    def factorized(self, t: int, o: int, i: int, k: int) -> float:
        """Time of the factorized form for one sample."""
        direct = min(o, k) * min(i, k)
        transforms = 10 * k * math.log2(k) if k >= 8 else direct
        return t * ((o + i) * self.sketch + min(direct, transforms) * self.product)

    def materialized(self, t: int, o: int, i: int) -> float:
        """Time of the materialized form for one sample."""
        return t * o * i * self.matmul + o * i * self.gradient


CPU = Costs(matmul=1 / 16, product=1 / 14.4, sketch=2.1, gradient=0.64)
"""Cycles of an AVX2 core: two fused multiply-adds of eight float32 a cycle, one in ten cycles lost to loads inside the
factorized form; a sketched number is a load, a table load, a sign and an addition to memory that waits for the last
one; a number of the gradient is written by the product and added once by vectors. 16-bit operands are widened first, so
they cost the same. Cores with AVX-512 do all four about twice as fast."""

_ISSUE = 4 * 132 * 1.755  # warp instructions a nanosecond of an H100 SXM: four schedulers an SM
_MEMORY = 3350.0  # bytes a nanosecond
_TENSOR = 0.7 * 989e3 / 2  # multiply-adds a nanosecond, bfloat16 and float16, at 0.7 of the data sheet
_FLOAT32 = 0.7 * 67e3 / 2  # the same of float32 without tensor cores

_FACTORIZED = {"product": 1 / 32 / _ISSUE, "sketch": 0.2 / _ISSUE}
"""Nanoseconds: a lane does one multiply-add, a warp 32; 0.2 warp instructions load, sign and add one number."""

GPU_16 = Costs(matmul=1 / _TENSOR, gradient=8 / _MEMORY, **_FACTORIZED)
GPU_32 = Costs(matmul=1 / _FLOAT32, gradient=8 / _MEMORY, **_FACTORIZED)
"""Nanoseconds of an H100 SXM. A number of the gradient is written and read as float32. Newer and older cards differ in
size more than in these ratios."""


def costs_of(dtype: torch.dtype, device_type: str) -> Costs:
    """The costs for operands of a dtype on a type of device, ``cpu`` or ``cuda``; other devices count as GPUs."""
    if device_type == "cpu":
        return CPU
    return GPU_16 if dtype in (torch.bfloat16, torch.float16) else GPU_32


def factorized_is_cheaper(t: int, o: int, i: int, k: int, dtype: torch.dtype, device_type: str) -> bool:
    """Whether t tokens of a parameter [o, i] take less time factorized than materialized, projected to k numbers."""
    costs = costs_of(dtype, device_type)
    return costs.factorized(t, o, i, k) <= costs.materialized(t, o, i)
