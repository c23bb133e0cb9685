"""The compiled implementations of dense_projection_into: csrc/cpu/dense_projection.cpp and csrc/cuda/dense_projection.cu."""

from __future__ import annotations

from torch import Tensor

from motive_kernels.runtime import native

DISTRIBUTIONS = {"rademacher": 0, "gaussian": 1}
"""motive::Distribution of csrc/include/motive/dense_projection.h."""


def dense_projection_into(
    z: Tensor, grad: Tensor, distribution: str, key0: int, key1: int, role: int, scale: float
) -> None:
    """As reference.dense_projection_into, for float32, bfloat16 and float16 on a CPU or a CUDA device; summed in float32."""
    grad = native.rows_adjacent(grad)
    native.call(
        "dense_projection_into",
        "DenseProjection",
        z,
        z=z,
        grad=grad,
        dtype=grad.dtype,
        samples=grad.shape[0],
        columns=grad.shape[1],
        dim=z.shape[1],
        sample_stride=grad.stride(0),
        distribution=DISTRIBUTIONS[distribution],
        role=role,
        key0=key0,
        key1=key1,
        scale=scale,
    )
