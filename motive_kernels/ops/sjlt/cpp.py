"""The C++ implementation of sjlt_into: csrc/cpu/sjlt.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.runtime import native


def sjlt_into(z: Tensor, grad: Tensor, nonzeros: int, key0: int, key1: int, scale: float) -> None:
    """As reference.sjlt_into, for float32, bfloat16 and float16 on the CPU; summed in float32."""
    grad = native.rows_adjacent(grad)
    native.extension("cpu").sjlt_into(
        z=z.data_ptr(),
        grad=grad.data_ptr(),
        dtype=native.DTYPE_CODES[grad.dtype],
        samples=grad.shape[0],
        columns=grad.shape[1],
        dim=z.shape[1],
        nonzeros=nonzeros,
        sample_stride=grad.stride(0),
        key0=key0,
        key1=key1,
        scale=scale,
        threads=torch.get_num_threads(),
    )
