"""Motion-weighted squared error of each sample and its gradient, in one pass over the prediction."""

from __future__ import annotations

import math
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from motive_kernels.ops.weighted_loss import compiled, reference
from motive_kernels.runtime.checks import check_tensor, describe, fail
from motive_kernels.runtime.dispatch import Op, on_first_use

OP = Op(
    "weighted_loss",
    {
        "cpp": compiled.weighted_loss,
        "cuda": compiled.weighted_loss,
        "triton": on_first_use("motive_kernels.ops.weighted_loss.triton", "weighted_loss"),
        "torch": reference.weighted_loss,
    },
)


def weighted_loss(
    prediction: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    gradient_scale: float = 1.0,
    impl: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Squared error of each sample, weighted by motion, with its gradient (Wu et al. 2026, Eq. 15-16).

    loss[s] = (1 / F) mean over c, f, h, w of W (prediction - target)^2, summed in a fixed order.

    Two ways to use it: feed the returned gradient to torch.autograd.grad(prediction, ..., grad_outputs=gradient), which
    needs no second pass; or differentiate loss as usual (``loss.sum().backward()``), which multiplies the stored
    gradient by that of loss. Only loss is differentiable, only once, and only with respect to prediction.

    Args:
        prediction: [n, c, F, h, w] float32, bfloat16 or float16 (float64: torch only); any strides.
        target: like prediction; must not require a gradient.
        weights: W [n, F, h, w] floating, used in float32, shared by the channels; must not require a gradient. None is
            a weight of 1 everywhere.
        gradient_scale: factor on the returned gradient (not on loss), applied before it is rounded. A mean over
            millions of cells puts float16 gradients below the smallest number: a power of two keeps them. What is
            derived from loss by autograd is free of it.
        impl: cpp, cuda, triton, torch or None.

    Returns:
        (loss, gradient): loss float32 [n] (float64 for float64 prediction); gradient_scale * d loss / d prediction,
        contiguous, shape and dtype of prediction, not itself differentiable.

    Raises:
        ValueError, RuntimeError: an argument does not fit; the message names it.
    """
    where = "weighted_loss"
    n, _, frames, height, width = check_tensor(where, "prediction", prediction, 5, "[n, c, F, h, w]").shape
    if 0 in prediction.shape[1:]:
        raise fail(where, "prediction", "non-empty but for n", describe(prediction), "leave empty clips out")
    check_tensor(where, "target", target, 5, "[n, c, F, h, w]")
    if target.shape != prediction.shape or target.dtype != prediction.dtype or target.device != prediction.device:
        raise fail(where, "target", f"like prediction ({describe(prediction)})", describe(target), "convert it")
    if weights is not None:
        check_tensor(where, "weights", weights, 4, "[n, F, h, w]")
        if weights.shape != (n, frames, height, width) or weights.device != prediction.device:
            wanted = f"{[n, frames, height, width]} on {prediction.device}"
            raise fail(where, "weights", wanted, describe(weights), "use motion_weights with grid (F, h, w)")
    for name, value in (("target", target), ("weights", weights)):
        if value is not None and value.requires_grad:
            raise fail(where, name, "free of gradients", "one that requires grad", "pass it detached")
    if not (math.isfinite(gradient_scale) and gradient_scale > 0):
        raise fail(where, "gradient_scale", "positive and finite", gradient_scale, "use a power of two")
    return _weighted_loss(prediction, target, weights, gradient_scale, impl)


@torch.library.custom_op("motive::weighted_loss", mutates_args=())
def _weighted_loss(
    prediction: Tensor,
    target: Tensor,
    weights: Optional[Tensor],  # noqa: UP045
    gradient_scale: float,
    impl: Optional[str],  # noqa: UP045
) -> tuple[Tensor, Tensor]:
    run = OP.choose(impl, prediction.device.type, prediction.dtype)
    if not prediction.numel():
        return _results(prediction)
    if weights is not None:
        weights = weights.to(_exact(prediction))
    return run(prediction, target, weights, gradient_scale)


@_weighted_loss.register_fake
def _(
    prediction: Tensor,
    target: Tensor,
    weights: Optional[Tensor],  # noqa: UP045
    gradient_scale: float,
    impl: Optional[str],  # noqa: UP045
) -> tuple[Tensor, Tensor]:
    return _results(prediction)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, gradient = output
    ctx.mark_non_differentiable(gradient)
    ctx.save_for_backward(gradient)
    ctx.gradient_scale = inputs[3]


@once_differentiable
def _backward(ctx: Any, grad_loss: Tensor, _grad_gradient: Tensor | None) -> tuple[Tensor | None, ...]:
    (gradient,) = ctx.saved_tensors
    factor = (grad_loss / ctx.gradient_scale).reshape(-1, 1, 1, 1, 1)
    return (factor * gradient).to(gradient.dtype), None, None, None, None


_weighted_loss.register_autograd(_backward, setup_context=_setup_context)


def _exact(prediction: Tensor) -> torch.dtype:
    """The type of the arithmetic and of loss."""
    return torch.float64 if prediction.dtype == torch.float64 else torch.float32


def _results(prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs to fill."""
    loss = prediction.new_empty(prediction.shape[:1], dtype=_exact(prediction))
    return loss, prediction.new_empty(prediction.shape)
