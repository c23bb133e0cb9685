"""The compiled implementations of fastfood_into: csrc/cpu/fastfood.cpp and csrc/cuda/fastfood.cu."""

from __future__ import annotations

from torch import Tensor

from motive_kernels.runtime import native


def fastfood_into(z: Tensor, grad: Tensor, labels: Tensor, key0: int, key1: int, scale: float) -> None:
    """As reference.fastfood_into, for float32, bfloat16 and float16 on a CPU or a CUDA device; summed in float32."""
    grad = native.rows_adjacent(grad)
    native.call(
        "fastfood_into",
        "Fastfood",
        z,
        z=z,
        grad=grad,
        dtype=grad.dtype,
        samples=grad.shape[0],
        columns=grad.shape[1],
        dim=z.shape[1],
        sample_stride=grad.stride(0),
        tile=len(labels),
        labels=labels,
        key0=key0,
        key1=key1,
        scale=scale,
    )


def too_large_for_gpu(z: Tensor, grad: Tensor, labels: Tensor, key0: int, key1: int, scale: float) -> str | None:
    """Why the CUDA kernel cannot take these arguments of fastfood_into on their GPU, or None.

    A block keeps one tile in shared memory.
    """
    module, tile = native.extension("cuda"), len(labels)
    needed, limit = module.fastfood_shared_bytes(tile), module.shared_limit(z.device.index or 0)
    if needed <= limit:
        return None
    return f"a tile of {tile} needs {needed} bytes of shared memory, and this GPU gives a block {limit}"
