"""The C++ implementation of kronecker_into and kronecker_outer_into: csrc/cpu/kronecker.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.runtime import native


def kronecker_into(z: Tensor, grad: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    """As reference.kronecker_into, for float32, bfloat16 and float16 on the CPU; summed in float32."""
    grad = native.rows_adjacent(grad)
    left, right = left.float().contiguous(), right.float().contiguous()
    native.call(
        "kronecker_into",
        "Kronecker",
        z,
        z=z,
        grad=grad,
        dtype=grad.dtype,
        samples=grad.shape[0],
        rows=grad.shape[1],
        columns=grad.shape[2],
        sample_stride=grad.stride(0),
        row_stride=grad.stride(1),
        factors_left=left,
        factors_right=right,
        factors_left_rows=left.shape[0],
        factors_right_rows=right.shape[0],
        scale=scale,
    )


def kronecker_outer_into(
    z: Tensor, x: Tensor, dy: Tensor, left: Tensor, right: Tensor, lengths: Tensor | None, scale: float
) -> None:
    """As reference.kronecker_outer_into, for float32, bfloat16 and float16 on the CPU; summed in float32."""
    x, dy = native.rows_adjacent(x), native.rows_adjacent(dy)
    left, right = left.float().contiguous(), right.float().contiguous()
    if lengths is not None:
        lengths = lengths.to(torch.int64).contiguous()
    native.call(
        "kronecker_outer_into",
        "KroneckerOuter",
        z,
        z=z,
        x=x,
        dy=dy,
        dtype=x.dtype,
        samples=x.shape[0],
        tokens=x.shape[1],
        rows=dy.shape[2],
        columns=x.shape[2],
        x_sample_stride=x.stride(0),
        x_token_stride=x.stride(1),
        dy_sample_stride=dy.stride(0),
        dy_token_stride=dy.stride(1),
        factors_left=left,
        factors_right=right,
        factors_left_rows=left.shape[0],
        factors_right_rows=right.shape[0],
        lengths=lengths,
        scale=scale,
    )
