"""Motion-weighted loss and gradient on the GPU: one pass, then a fixed-order sum of one number a block."""
# ruff: noqa: N803 - Triton writes compile-time constants in upper case.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from motive_kernels.runtime.triton_call import launch

BLOCK = 1024


@triton.jit
def residual_kernel(
    prediction,
    target,
    weights,
    gradient,
    partial,
    channels,
    cells,
    blocks,
    factor,
    WEIGHTED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradient of one block of cells in all channels, and the sum of the block's weighted squared errors."""
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    cell = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = cell < cells
    weight = tl.full((BLOCK,), 1.0, tl.float32)
    if WEIGHTED:
        weight = tl.load(weights + sample * cells + cell, mask=inside, other=0.0)
    total = tl.zeros((BLOCK,), tl.float32)
    for channel in range(channels):
        at = (sample * channels + channel) * cells + cell
        p = tl.load(prediction + at, mask=inside, other=0.0).to(tl.float32)
        t = tl.load(target + at, mask=inside, other=0.0).to(tl.float32)
        weighted = weight * (p - t)
        total += weighted * (p - t)
        tl.store(gradient + at, weighted * factor, mask=inside)
    tl.store(partial + tl.program_id(0), tl.sum(total, 0))


@triton.jit
def sum_kernel(partial, loss, blocks, factor, BLOCK: tl.constexpr):
    """loss[s] = factor * sum of sample s's partial sums, always in the same order."""
    sample = tl.program_id(0).to(tl.int64)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, blocks, BLOCK):
        block = start + tl.arange(0, BLOCK)
        total += tl.load(partial + sample * blocks + block, mask=block < blocks, other=0.0)
    tl.store(loss + sample, tl.sum(total, 0) * factor)


def weighted_loss(
    prediction: Tensor, target: Tensor, weights: Tensor | None, gradient_scale: float
) -> tuple[Tensor, Tensor]:
    """As reference.weighted_loss, for float32, bfloat16 and float16."""
    prediction, target = prediction.contiguous(), target.contiguous()
    samples, channels, frames = prediction.shape[:3]
    cells = prediction[0, 0].numel()
    blocks = triton.cdiv(cells, BLOCK)
    gradient = torch.empty_like(prediction)
    partial = torch.empty(samples, blocks, dtype=torch.float32, device=prediction.device)
    loss = torch.empty(samples, dtype=torch.float32, device=prediction.device)
    mean = 1.0 / (frames * channels * cells)
    launch(
        residual_kernel,
        (samples * blocks,),
        prediction,
        prediction,
        target,
        loss if weights is None else weights.contiguous(),
        gradient,
        partial,
        channels,
        cells,
        blocks,
        2.0 * gradient_scale * mean,
        weights is not None,
        BLOCK,
    )
    launch(sum_kernel, (samples,), prediction, partial, loss, blocks, mean, BLOCK)
    return loss, gradient
