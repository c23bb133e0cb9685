"""The CUDA implementation of dense_projection_into: csrc/cuda/dense_projection.cu."""

from __future__ import annotations

from torch import Tensor

from motive_kernels.runtime import native
from motive_kernels.runtime.cuda_call import extension, run


def dense_projection_into(
    z: Tensor, grad: Tensor, distribution: str, key0: int, key1: int, role: int, scale: float
) -> None:
    """As reference.dense_projection_into, for float32, bfloat16 and float16 on a CUDA device; summed in float32."""
    grad = native.rows_adjacent(grad)
    args = extension().DenseProjection(
        z=z.data_ptr(),
        grad=grad.data_ptr(),
        dtype=native.DTYPE_CODES[grad.dtype],
        samples=grad.shape[0],
        columns=grad.shape[1],
        dim=z.shape[1],
        sample_stride=grad.stride(0),
        key0=key0,
        key1=key1,
        scale=scale,
        gaussian=distribution == "gaussian",
        role=role,
    )
    run("dense_projection_into", args, z)
