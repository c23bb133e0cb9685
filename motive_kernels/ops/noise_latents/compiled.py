"""The compiled implementations of noise_latents: csrc/cpu/noise_latents.cpp and csrc/cuda/noise_latents.cu."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.runtime import native


def noise_latents(latents: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """As reference.noise_latents, for float32, bfloat16 and float16 on a CPU or a CUDA device."""
    latents, noise, sigma = latents.contiguous(), noise.contiguous(), sigma.contiguous()
    noisy, target = torch.empty_like(latents), torch.empty_like(latents)
    size = latents[0].numel()
    native.call(
        "noise_latents",
        "NoiseLatents",
        latents,
        noisy=noisy,
        target=target,
        latents=latents,
        noise=noise,
        sigma=sigma,
        dtype=latents.dtype,
        samples=latents.shape[0],
        size=size,
        noise_stride=size if noise.shape[0] > 1 else 0,
    )
    return noisy, target
