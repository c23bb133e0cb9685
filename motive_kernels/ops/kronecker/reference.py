"""The definition of the Kronecker projection, from a gradient and from tokens (docs/projection.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.ops.outer_sketch.reference import outer_gradient
from motive_kernels.runtime.precision import full_float32


def kronecker_into(z: Tensor, grad: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    """z += scale * vec(A G B^T), row by row.

    Args:
        z: [n, ko * ki] float32 or float64, added to in place.
        grad: [n, o, i] floating, G of each sample.
        left: A [ko, o] floating.
        right: B [ki, i] floating.
        scale: factor on the whole.
    """
    exact = torch.float64 if grad.dtype == torch.float64 else torch.float32
    with full_float32():
        projected = left.to(exact) @ (grad.to(exact) @ right.to(exact).T)
    z += (scale * projected.flatten(1)).to(z.dtype)


def kronecker_outer_into(
    z: Tensor, x: Tensor, dy: Tensor, left: Tensor, right: Tensor, lengths: Tensor | None, scale: float
) -> None:
    """z += scale * vec(sum_t (A dy_t) (B x_t)^T), row by row: the same map without forming sum_t dy_t x_t^T.

    Args:
        z: [n, ko * ki] float32 or float64, added to in place.
        x: [n, t, i] floating, the layer's inputs.
        dy: [n, t, o] floating, the gradients of its outputs.
        left: A [ko, o] floating.
        right: B [ki, i] floating.
        lengths: int64 [n] or None: sample s has lengths[s] tokens, the rest is ignored, whatever it holds.
        scale: factor on the whole.
    """
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    with full_float32():
        products = outer_gradient(x.to(exact) @ right.to(exact).T, dy.to(exact) @ left.to(exact).T, lengths)
    z += (scale * products.flatten(1)).to(z.dtype)
