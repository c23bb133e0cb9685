"""Tiled Fastfood transform: Hadamard transforms, signs and Gaussian factors in one pass over the gradient."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from motive_kernels.ops.fastfood import compiled, reference
from motive_kernels.runtime.checks import check_tensor, check_vectors, describe, fail
from motive_kernels.runtime.dispatch import ONE_GPU_FORM, Op

OP = Op(
    "fastfood_into",
    {
        "cpp": compiled.fastfood_into,
        "cuda": compiled.fastfood_into,
        "torch": reference.fastfood_into,
    },
    absent={"triton": ONE_GPU_FORM},
    refuses={"cuda": compiled.too_large_for_gpu},
)


def fastfood_into(
    z: Tensor,
    grad: Tensor,
    labels: Tensor,
    key: tuple[int, int],
    *,
    scale: float = 1.0,
    impl: str | None = None,
) -> None:
    """Add the Fastfood transform of each sample's gradient to z in place.

    Args:
        z: [n, k] float32, contiguous (float64 with the torch implementation only); k a power of two.
        grad: [n, d] float32, bfloat16 or float16 (float64: torch only); any strides.
        labels: int32 [tile], contiguous, values in 0 .. k - 1: the bucket of each position of a tile; tile is a power
            of two of at least k. The CUDA kernel keeps a tile in shared memory: on a GPU that gives a block too little,
            impl="cuda" is refused and None runs the reference.
        key: the two words of the Philox key.
        scale: factor on the transform; 1 / sqrt(k * tile) keeps inner products.
        impl: cpp, cuda, torch or None.

    Raises:
        ValueError, RuntimeError: an argument does not fit; the message names it.
    """
    where = "fastfood_into"
    n, _ = check_tensor(where, "grad", grad, 2, "[n, d]").shape
    k = check_vectors(where, z, n, grad)
    if k & (k - 1):
        raise fail(where, "z", "[n, a power of two]", describe(z), "choose such a dim")
    tile = len(labels)
    fits = labels.ndim == 1 and labels.dtype == torch.int32 and labels.device == grad.device and labels.is_contiguous()
    if not fits or tile < k or tile & (tile - 1):
        raise fail(where, "labels", f"int32 [a power of two >= {k}] on {grad.device}", describe(labels), "see Fastfood")
    _fastfood_into(z, grad, labels, *key, scale, impl)


@torch.library.custom_op("motive::fastfood_into", mutates_args={"z"})
def _fastfood_into(
    z: Tensor,
    grad: Tensor,
    labels: Tensor,
    key0: int,
    key1: int,
    scale: float,
    impl: Optional[str],  # noqa: UP045
) -> None:
    if grad.numel():
        arguments = (z, grad, labels, key0, key1, scale)
        OP.choose(impl, grad.device.type, grad.dtype, arguments)(*arguments)


@_fastfood_into.register_fake
def _(
    z: Tensor,
    grad: Tensor,
    labels: Tensor,
    key0: int,
    key1: int,
    scale: float,
    impl: Optional[str],  # noqa: UP045
) -> None:
    return None
