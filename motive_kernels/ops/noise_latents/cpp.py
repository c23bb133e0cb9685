"""The C++ implementation of noise_latents: csrc/cpu/noise_latents.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.runtime import native


def noise_latents(latents: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """As reference.noise_latents, for float32, bfloat16 and float16 on the CPU."""
    latents, noise, sigma = latents.contiguous(), noise.contiguous(), sigma.contiguous()
    noisy, target = torch.empty_like(latents), torch.empty_like(latents)
    size = latents[0].numel()
    native.extension("cpu").noise_latents(
        noisy=noisy.data_ptr(),
        target=target.data_ptr(),
        latents=latents.data_ptr(),
        noise=noise.data_ptr(),
        sigma=sigma.data_ptr(),
        dtype=native.DTYPE_CODES[latents.dtype],
        samples=latents.shape[0],
        size=size,
        noise_stride=size if noise.shape[0] > 1 else 0,
        threads=torch.get_num_threads(),
    )
    return noisy, target
