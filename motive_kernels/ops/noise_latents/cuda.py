"""The CUDA implementation of noise_latents: csrc/cuda/noise_latents.cu."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.runtime import native
from motive_kernels.runtime.cuda_call import extension, run


def noise_latents(latents: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """As reference.noise_latents, for float32, bfloat16 and float16 on a CUDA device."""
    latents, noise, sigma = latents.contiguous(), noise.contiguous(), sigma.contiguous()
    noisy, target = torch.empty_like(latents), torch.empty_like(latents)
    size = latents[0].numel()
    args = extension().NoiseLatents(
        noisy=noisy.data_ptr(),
        target=target.data_ptr(),
        latents=latents.data_ptr(),
        noise=noise.data_ptr(),
        sigma=sigma.data_ptr(),
        dtype=native.DTYPE_CODES[latents.dtype],
        samples=latents.shape[0],
        size=size,
        noise_stride=size if noise.shape[0] > 1 else 0,
    )
    run("noise_latents", args, latents)
    return noisy, target
