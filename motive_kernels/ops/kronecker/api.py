"""Kronecker projection (A outer B) of a layer's gradient: two thin products, from the gradient or from tokens."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from motive_kernels.ops.kronecker import cpp, reference
from motive_kernels.runtime.checks import (
    check_gradient,
    check_lengths,
    check_tensor,
    check_tokens,
    check_vectors,
    describe,
    fail,
)
from motive_kernels.runtime.dispatch import TWO_PRODUCTS, Op

_ABSENT = {"cuda": TWO_PRODUCTS, "triton": TWO_PRODUCTS}
OP = Op("kronecker_into", {"cpp": cpp.kronecker_into, "torch": reference.kronecker_into}, absent=_ABSENT)
OUTER_OP = Op(
    "kronecker_outer_into",
    {"cpp": cpp.kronecker_outer_into, "torch": reference.kronecker_outer_into},
    absent=_ABSENT,
)


def kronecker_into(
    z: Tensor, grad: Tensor, left: Tensor, right: Tensor, *, scale: float = 1.0, impl: str | None = None
) -> None:
    """Add scale * vec(A G B^T) of each sample's gradient G to z in place.

    Args:
        z: [n, ko * ki] float32, contiguous (float64 with the torch implementation only).
        grad: [n, o, i] float32, bfloat16 or float16 (float64: torch only); any strides.
        left: A [ko, o] floating.
        right: B [ki, i] floating.
        scale: factor on the projection.
        impl: cpp, cuda, triton, torch or None.

    Raises:
        ValueError, RuntimeError: an argument does not fit; the message names it.
    """
    n, o, i = check_gradient("kronecker_into", grad)
    k = check_vectors("kronecker_into", z, n, grad)
    check_factors("kronecker_into", left, right, o, i, k, grad)
    _kronecker_into(z, grad, left, right, scale, impl)


def kronecker_outer_into(
    z: Tensor,
    x: Tensor,
    dy: Tensor,
    left: Tensor,
    right: Tensor,
    *,
    lengths: Tensor | None = None,
    scale: float = 1.0,
    impl: str | None = None,
) -> None:
    """Add scale * vec(sum_t (A dy_t) (B x_t)^T) of each sample to z in place.

    Args:
        z: [n, ko * ki] float32, contiguous (float64 with the torch implementation only).
        x: [n, t, i] float32, bfloat16 or float16 (float64: torch only); any strides.
        dy: [n, t, o], the dtype of x.
        left: A [ko, o] floating.
        right: B [ki, i] floating.
        lengths: int64 [n] in 0 .. t, or None for t everywhere; tokens past a sample's length never count,
            whatever they hold.
        scale: factor on the projection.
        impl: cpp, cuda, triton, torch or None.

    Raises:
        ValueError, RuntimeError: an argument does not fit; the message names it.
    """
    n, t, i, o = check_tokens("kronecker_outer_into", x, dy)
    k = check_vectors("kronecker_outer_into", z, n, x)
    check_factors("kronecker_outer_into", left, right, o, i, k, x)
    if lengths is not None:
        lengths = check_lengths("kronecker_outer_into", lengths, n, t, x)
    _kronecker_outer_into(z, x, dy, left, right, lengths, scale, impl)


def check_factors(where: str, left: Tensor, right: Tensor, o: int, i: int, k: int, like: Tensor) -> None:
    """left [ko, o] and right [ki, i] with ko * ki = k, on like's device."""
    ko, left_length = check_tensor(where, "left", left, 2, "[ko, o]").shape
    ki, right_length = check_tensor(where, "right", right, 2, "[ki, i]").shape
    if left_length != o or left.device != like.device:
        raise fail(where, "left", f"[ko, {o}] on {like.device}", describe(left), "give one column for each row of G")
    if right_length != i or right.device != like.device:
        raise fail(where, "right", f"[ki, {i}] on {like.device}", describe(right), "give one column for each of G's")
    if ko * ki != k:
        raise fail(where, "z", f"[n, ko * ki = {ko * ki}]", f"[n, {k}]", "match the factors' numbers of rows")


@torch.library.custom_op("motive::kronecker_into", mutates_args={"z"})
def _kronecker_into(
    z: Tensor,
    grad: Tensor,
    left: Tensor,
    right: Tensor,
    scale: float,
    impl: Optional[str],  # noqa: UP045
) -> None:
    if grad.numel():
        OP.choose(impl, grad.device.type, grad.dtype)(z, grad, left, right, scale)


@_kronecker_into.register_fake
def _(z: Tensor, grad: Tensor, left: Tensor, right: Tensor, scale: float, impl: Optional[str]) -> None:  # noqa: UP045
    return None


@torch.library.custom_op("motive::kronecker_outer_into", mutates_args={"z"})
def _kronecker_outer_into(
    z: Tensor,
    x: Tensor,
    dy: Tensor,
    left: Tensor,
    right: Tensor,
    lengths: Optional[Tensor],  # noqa: UP045
    scale: float,
    impl: Optional[str],  # noqa: UP045
) -> None:
    if x.numel() and dy.numel():
        OUTER_OP.choose(impl, x.device.type, x.dtype)(z, x, dy, left, right, lengths, scale)


@_kronecker_outer_into.register_fake
def _(
    z: Tensor,
    x: Tensor,
    dy: Tensor,
    left: Tensor,
    right: Tensor,
    lengths: Optional[Tensor],  # noqa: UP045
    scale: float,
    impl: Optional[str],  # noqa: UP045
) -> None:
    return None
