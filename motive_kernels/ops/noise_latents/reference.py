"""The definition of flow-matching noise and target (rectified flow: straight lines from data to noise)."""

from __future__ import annotations

import torch
from torch import Tensor


def noise_latents(latents: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """x = (1 - s) z + s eps and target = eps - z, computed in float32 (float64 for float64) and rounded once.

    Args:
        latents: z [n, ...] floating.
        noise: eps, [n, ...] or [1, ...], same type.
        sigma: s [n] in the type of the arithmetic.
    """
    exact = torch.float64 if latents.dtype == torch.float64 else torch.float32
    z, eps = latents.to(exact), noise.to(exact)
    s = sigma.reshape(-1, *[1] * (z.ndim - 1))
    noisy, target = (1 - s) * z + s * eps, eps - z
    return noisy.to(latents.dtype).contiguous(), target.to(latents.dtype).contiguous()
