"""The compiled implementations of sjlt_into: csrc/cpu/sjlt.cpp and csrc/cuda/sjlt.cu."""

from __future__ import annotations

from torch import Tensor

from motive_kernels.runtime import native


def sjlt_into(z: Tensor, grad: Tensor, nonzeros: int, key0: int, key1: int, scale: float) -> None:
    """As reference.sjlt_into, for float32, bfloat16 and float16 on a CPU or a CUDA device; summed in float32."""
    grad = native.rows_adjacent(grad)
    native.call(
        "sjlt_into",
        "SparseTransform",
        z,
        z=z,
        grad=grad,
        dtype=grad.dtype,
        samples=grad.shape[0],
        columns=grad.shape[1],
        dim=z.shape[1],
        sample_stride=grad.stride(0),
        nonzeros=nonzeros,
        key0=key0,
        key1=key1,
        scale=scale,
    )
