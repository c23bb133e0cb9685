"""Vectors as int8 with one scale each: a quarter of the memory, and dot products that are exact integers."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from motive_kernels.ops.quantize_rows import cpp, reference
from motive_kernels.runtime.checks import check_tensor, describe, fail
from motive_kernels.runtime.dispatch import ONE_PASS, Op, on_first_use

OP = Op(
    "quantize_rows",
    {
        "cpp": cpp.quantize_rows,
        "triton": on_first_use("motive_kernels.ops.quantize_rows.triton", "quantize_rows"),
        "torch": reference.quantize_rows,
    },
    absent={"cuda": ONE_PASS},
)


def quantize_rows(z: Tensor, *, unit: bool = True, impl: str | None = None) -> tuple[Tensor, Tensor]:
    """Quantize each row to int8; every implementation gives the same bits.

    values[n] = z[n] * 127 / max |z[n]|, to nearest, ties to even. A zero row has values and a scale of 0.

    Args:
        z: [n, k] float32, bfloat16 or float16 (float64: torch only), finite.
        unit: scales make rows of norm 1, so that scores are cosines; else rows of the size of z.
        impl: cpp, triton, torch or None.

    Returns:
        (values, scales): int8 [n, k] and float32 [n]; scales[n] * values[n] stands for the row.

    Raises:
        ValueError: a row holds NaN or infinity; the message names it.
        RuntimeError: the named implementation cannot run here.
    """
    check_tensor("quantize_rows", "z", z, 2, "[n, k]")
    if z.shape[1] < 1:
        raise fail("quantize_rows", "z", "[n, k] with k >= 1", describe(z), "pass vectors")
    return _quantize_rows(z.detach(), unit, impl)


@torch.library.custom_op("motive::quantize_rows", mutates_args=())
def _quantize_rows(z: Tensor, unit: bool, impl: Optional[str]) -> tuple[Tensor, Tensor]:  # noqa: UP045
    values, scales, broken = OP.choose(impl, z.device.type, z.dtype)(z, unit)
    if broken < len(z):
        raise fail("quantize_rows", "z", "finite", f"NaN or infinity in row {broken}", "leave that row out")
    return values, scales


@_quantize_rows.register_fake
def _(z: Tensor, unit: bool, impl: Optional[str]) -> tuple[Tensor, Tensor]:  # noqa: UP045
    return z.new_empty(z.shape, dtype=torch.int8), z.new_empty(z.shape[:1], dtype=torch.float32)
