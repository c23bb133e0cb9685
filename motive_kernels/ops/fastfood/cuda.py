"""The CUDA implementation of fastfood_into: csrc/cuda/fastfood.cu."""

from __future__ import annotations

from torch import Tensor

from motive_kernels.ops.fastfood import reference
from motive_kernels.runtime import native
from motive_kernels.runtime.cuda_call import extension, run


def fastfood_into(z: Tensor, grad: Tensor, labels: Tensor, key0: int, key1: int, scale: float) -> None:
    """As reference.fastfood_into, for float32, bfloat16 and float16 on a CUDA device; summed in float32.

    A tile above 32768 does not fit a block's shared memory and takes the reference.
    """
    if len(labels) > extension().max_fastfood_tile:
        reference.fastfood_into(z, grad, labels, key0, key1, scale)
        return
    grad = native.rows_adjacent(grad)
    args = extension().Fastfood(
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
        tile=len(labels),
        labels=labels.data_ptr(),
    )
    run("fastfood_into", args, z)
