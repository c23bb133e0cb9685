"""Sparse Johnson-Lindenstrauss transform: a few signed buckets for each coordinate, generated where they are used."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from motive_kernels.ops.sjlt import compiled, reference
from motive_kernels.runtime.checks import check_tensor, check_vectors, fail
from motive_kernels.runtime.dispatch import ONE_GPU_FORM, Op

OP = Op(
    "sjlt_into",
    {
        "cpp": compiled.sjlt_into,
        "cuda": compiled.sjlt_into,
        "torch": reference.sjlt_into,
    },
    absent={"triton": ONE_GPU_FORM},
)


def sjlt_into(
    z: Tensor,
    grad: Tensor,
    nonzeros: int,
    key: tuple[int, int],
    *,
    scale: float = 1.0,
    impl: str | None = None,
) -> None:
    """Add the sparse transform of each sample's gradient to z in place.

    Args:
        z: [n, k] float32, contiguous (float64 with the torch implementation only).
        grad: [n, d] float32, bfloat16 or float16 (float64: torch only); any strides.
        nonzeros: s, buckets that each coordinate is added to; 1 .. k.
        key: the two words of the Philox key.
        scale: factor on the transform; 1 / sqrt(s) keeps inner products.
        impl: cpp, cuda, triton, torch or None.

    Raises:
        ValueError, RuntimeError: an argument does not fit; the message names it.
    """
    n, _ = check_tensor("sjlt_into", "grad", grad, 2, "[n, d]").shape
    k = check_vectors("sjlt_into", z, n, grad)
    if not 1 <= nonzeros <= k or k >= 2**31:
        raise fail("sjlt_into", "nonzeros", f"in 1 .. k = {k} < 2^31", nonzeros, "1 is usual")
    _sjlt_into(z, grad, nonzeros, *key, scale, impl)


@torch.library.custom_op("motive::sjlt_into", mutates_args={"z"})
def _sjlt_into(
    z: Tensor,
    grad: Tensor,
    nonzeros: int,
    key0: int,
    key1: int,
    scale: float,
    impl: Optional[str],  # noqa: UP045
) -> None:
    if grad.numel():
        OP.choose(impl, grad.device.type, grad.dtype)(z, grad, nonzeros, key0, key1, scale)


@_sjlt_into.register_fake
def _(
    z: Tensor,
    grad: Tensor,
    nonzeros: int,
    key0: int,
    key1: int,
    scale: float,
    impl: Optional[str],  # noqa: UP045
) -> None:
    return None
