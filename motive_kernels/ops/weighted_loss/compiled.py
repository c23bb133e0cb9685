"""The compiled implementations of weighted_loss: csrc/cpu/weighted_loss.cpp and csrc/cuda/weighted_loss.cu."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.runtime import native


def weighted_loss(
    prediction: Tensor, target: Tensor, weights: Tensor | None, gradient_scale: float
) -> tuple[Tensor, Tensor]:
    """As reference.weighted_loss, for float32, bfloat16 and float16 on a CPU or a CUDA device."""
    prediction, target = prediction.contiguous(), target.contiguous()
    weights = None if weights is None else weights.contiguous()
    samples, channels, frames = prediction.shape[:3]
    cells = prediction[0, 0].numel()
    mean = 1.0 / (frames * channels * cells)
    gradient = torch.empty_like(prediction)
    loss = torch.empty(samples, dtype=torch.float32, device=prediction.device)
    native.call(
        "weighted_loss",
        "WeightedLoss",
        prediction,
        loss=loss,
        gradient=gradient,
        prediction=prediction,
        target=target,
        weights=weights,
        dtype=prediction.dtype,
        samples=samples,
        channels=channels,
        cells=cells,
        loss_factor=mean,
        gradient_factor=2.0 * gradient_scale * mean,
    )
    return loss, gradient
