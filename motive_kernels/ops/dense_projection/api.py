"""Dense random projection whose matrix is generated where it is used and never stored."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from motive_kernels.ops.dense_projection import compiled, reference
from motive_kernels.rng.entries import COLUMNS_PER_BLOCK, DISTRIBUTIONS, MAX_ROWS
from motive_kernels.runtime.checks import check_tensor, check_vectors, fail
from motive_kernels.runtime.dispatch import ONE_GPU_FORM, Op

OP = Op(
    "dense_projection_into",
    {
        "cpp": compiled.dense_projection_into,
        "cuda": compiled.dense_projection_into,
        "torch": reference.dense_projection_into,
    },
    absent={"triton": ONE_GPU_FORM},
)


def dense_projection_into(
    z: Tensor,
    grad: Tensor,
    distribution: str,
    key: tuple[int, int],
    *,
    role: int = 0,
    scale: float = 1.0,
    impl: str | None = None,
) -> None:
    """Add scale * E grad of each sample to z in place, E [k, d] given by (distribution, key, role).

    Args:
        z: [n, k] float32, contiguous (float64 with the torch implementation only).
        grad: [n, d] float32, bfloat16 or float16 (float64: torch only); any strides.
        distribution: ``rademacher`` (+1 or -1) or ``gaussian`` (standard normal).
        key: the two words of the Philox key.
        role: third counter word.
        scale: factor on the projection; 1 / sqrt(k) keeps inner products.
        impl: cpp, cuda, triton, torch or None.

    Raises:
        ValueError, RuntimeError: an argument does not fit; the message names it.
    """
    where = "dense_projection_into"
    n, d = check_tensor(where, "grad", grad, 2, "[n, d]").shape
    k = check_vectors(where, z, n, grad)
    if distribution not in DISTRIBUTIONS:
        raise fail(where, "distribution", f"one of {', '.join(DISTRIBUTIONS)}", repr(distribution), "choose one")
    limit = COLUMNS_PER_BLOCK[distribution] * 2**32
    if d > limit or k > MAX_ROWS:
        raise fail(where, "grad", f"[n, at most {limit}] for k of at most {MAX_ROWS}", f"[{n}, {d}], k {k}", "split it")
    _dense_projection_into(z, grad, distribution, *key, role, scale, impl)


@torch.library.custom_op("motive::dense_projection_into", mutates_args={"z"})
def _dense_projection_into(
    z: Tensor,
    grad: Tensor,
    distribution: str,
    key0: int,
    key1: int,
    role: int,
    scale: float,
    impl: Optional[str],  # noqa: UP045
) -> None:
    if grad.numel():
        OP.choose(impl, grad.device.type, grad.dtype)(z, grad, distribution, key0, key1, role, scale)


@_dense_projection_into.register_fake
def _(
    z: Tensor,
    grad: Tensor,
    distribution: str,
    key0: int,
    key1: int,
    role: int,
    scale: float,
    impl: Optional[str],  # noqa: UP045
) -> None:
    return None
