"""The CUDA implementation of weighted_loss: csrc/cuda/weighted_loss.cu."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.runtime import native
from motive_kernels.runtime.cuda_call import extension, run


def weighted_loss(
    prediction: Tensor, target: Tensor, weights: Tensor | None, gradient_scale: float
) -> tuple[Tensor, Tensor]:
    """As reference.weighted_loss, for float32, bfloat16 and float16 on a CUDA device."""
    prediction, target = prediction.contiguous(), target.contiguous()
    weights = None if weights is None else weights.contiguous()
    samples, channels, frames = prediction.shape[:3]
    cells = prediction[0, 0].numel()
    mean = 1.0 / (frames * channels * cells)
    gradient = torch.empty_like(prediction)
    loss = torch.empty(samples, dtype=torch.float32, device=prediction.device)
    args = extension().WeightedLoss(
        loss=loss.data_ptr(),
        gradient=gradient.data_ptr(),
        prediction=prediction.data_ptr(),
        target=target.data_ptr(),
        weights=0 if weights is None else weights.data_ptr(),
        dtype=native.DTYPE_CODES[prediction.dtype],
        samples=samples,
        channels=channels,
        cells=cells,
        loss_factor=mean,
        gradient_factor=2.0 * gradient_scale * mean,
    )
    run("weighted_loss", args, prediction)
    return loss, gradient
