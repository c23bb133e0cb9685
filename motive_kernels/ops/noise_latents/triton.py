"""Flow-matching noise and target on the GPU: one pass over the latents, a shared draw read once from memory."""
# ruff: noqa: N803 - Triton writes compile-time constants in upper case.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from motive_kernels.runtime.triton_call import launch

BLOCK = 2048


@triton.jit
def noise_kernel(latents, noise, sigma, noisy, target, samples, size, noise_stride: tl.int64, BLOCK: tl.constexpr):
    # Programs of one block and different samples run next to each other, so a shared draw comes from the cache.
    sample = (tl.program_id(0) % samples).to(tl.int64)
    element = (tl.program_id(0) // samples).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = element < size
    s = tl.load(sigma + sample)
    z = tl.load(latents + sample * size + element, mask=inside).to(tl.float32)
    eps = tl.load(noise + sample * noise_stride + element, mask=inside).to(tl.float32)
    tl.store(noisy + sample * size + element, (1 - s) * z + s * eps, mask=inside)
    tl.store(target + sample * size + element, eps - z, mask=inside)


def noise_latents(latents: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """As reference.noise_latents, for float32, bfloat16 and float16."""
    latents, noise, sigma = latents.contiguous(), noise.contiguous(), sigma.contiguous()
    noisy, target = torch.empty_like(latents), torch.empty_like(latents)
    samples = latents.shape[0]
    size = latents.numel() // samples
    noise_stride = size if noise.shape[0] > 1 else 0
    grid = (triton.cdiv(size, BLOCK) * samples,)
    launch(noise_kernel, grid, latents, latents, noise, sigma, noisy, target, samples, size, noise_stride, BLOCK)
    return noisy, target
