"""The definition of the motion-weighted loss of a clip (Wu et al. 2026, Eq. 15-16) and of its gradient."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def weighted_loss(
    prediction: Tensor, target: Tensor, weights: Tensor | None, gradient_scale: float
) -> tuple[Tensor, Tensor]:
    """loss = (1 / F) mean over c, f, h, w of W (prediction - target)^2, and gradient_scale * d loss / d prediction.

    Args:
        prediction, target: [n, c, F, h, w] floating, same type.
        weights: W [n, F, h, w] in the type of the arithmetic, or None for ones.
        gradient_scale: factor on the gradient before it is rounded to prediction's type.
    """
    exact = torch.float64 if prediction.dtype == torch.float64 else torch.float32
    residual = prediction.to(exact) - target.to(exact)
    weighted = residual if weights is None else weights[:, None] * residual
    frames, count = prediction.shape[2], math.prod(prediction.shape[1:])
    loss = (weighted * residual).flatten(1).mean(1) / frames
    gradient = weighted * (2.0 * gradient_scale / (frames * count))
    return loss, gradient.to(prediction.dtype).contiguous()
