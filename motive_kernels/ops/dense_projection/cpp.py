"""The C++ implementation of dense_projection_into: csrc/cpu/dense_projection.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.runtime import native


def dense_projection_into(
    z: Tensor, grad: Tensor, distribution: str, key0: int, key1: int, role: int, scale: float
) -> None:
    """As reference.dense_projection_into, for float32, bfloat16 and float16 on the CPU; summed in float32."""
    grad = native.rows_adjacent(grad)
    native.extension("cpu").dense_projection_into(
        z=z.data_ptr(),
        grad=grad.data_ptr(),
        dtype=native.DTYPE_CODES[grad.dtype],
        distribution=distribution,
        samples=grad.shape[0],
        columns=grad.shape[1],
        dim=z.shape[1],
        sample_stride=grad.stride(0),
        key0=key0,
        key1=key1,
        role=role,
        scale=scale,
        threads=torch.get_num_threads(),
    )
