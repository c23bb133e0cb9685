"""The CUDA implementation of sjlt_into: csrc/cuda/sjlt.cu."""

from __future__ import annotations

from torch import Tensor

from motive_kernels.runtime import native
from motive_kernels.runtime.cuda_call import extension, run


def sjlt_into(z: Tensor, grad: Tensor, nonzeros: int, key0: int, key1: int, scale: float) -> None:
    """As reference.sjlt_into, for float32, bfloat16 and float16 on a CUDA device; summed in float32."""
    grad = native.rows_adjacent(grad)
    args = extension().SparseTransform(
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
        nonzeros=nonzeros,
    )
    run("sjlt_into", args, z)
