"""Noisy latents and regression target of flow matching."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from motive_kernels.ops.noise_latents import compiled, reference
from motive_kernels.runtime.checks import describe, fail
from motive_kernels.runtime.dispatch import Op, on_first_use

OP = Op(
    "noise_latents",
    {
        "cpp": compiled.noise_latents,
        "cuda": compiled.noise_latents,
        "triton": on_first_use("motive_kernels.ops.noise_latents.triton", "noise_latents"),
        "torch": reference.noise_latents,
    },
)


def noise_latents(latents: Tensor, noise: Tensor, sigma: Tensor, *, impl: str | None = None) -> tuple[Tensor, Tensor]:
    """Mix latents with noise and form what a flow-matching model must predict, in one pass.

    noisy = (1 - s) z + s eps and target = eps - z, in float32 arithmetic, rounded once.

    Args:
        latents: z [n, ...] float32, bfloat16 or float16 (float64: torch only); any strides.
        noise: eps of the same dtype: [n, ...], or one draw [...] or [1, ...] that all samples share, which is never
            copied n times (nor is an expanded view).
        sigma: s [n] floating, 0 (data) to 1 (noise); used in float32, unrounded (float64 for float64 latents).
        impl: cpp, cuda, triton, torch or None.

    Returns:
        (noisy, target), contiguous, both like latents.

    Raises:
        ValueError, RuntimeError: an argument does not fit; the message names it.
    """
    where = "noise_latents"
    for name, value in (("latents", latents), ("noise", noise), ("sigma", sigma)):
        if not isinstance(value, Tensor):
            raise fail(where, name, "a torch tensor", type(value).__name__, "convert with torch.from_dlpack")
    if latents.ndim < 2 or not latents.is_floating_point():
        raise fail(where, "latents", "a floating-point tensor [n, ...]", describe(latents), "add a sample axis")
    if noise.ndim == latents.ndim - 1:
        noise = noise[None]
    fits = noise.shape[1:] == latents.shape[1:] and noise.shape[0] in (1, latents.shape[0])
    if not fits or noise.dtype != latents.dtype or noise.device != latents.device:
        wanted = f"like latents ({describe(latents)}), with or without its sample axis"
        raise fail(where, "noise", wanted, describe(noise), "draw or convert it to match")
    if sigma.shape != latents.shape[:1] or not sigma.is_floating_point() or sigma.device != latents.device:
        wanted = f"a floating-point tensor [{latents.shape[0]}] on {latents.device}"
        raise fail(where, "sigma", wanted, describe(sigma), "give one sigma a sample")
    return _noise_latents(latents, noise, sigma, impl)


@torch.library.custom_op("motive::noise_latents", mutates_args=())
def _noise_latents(
    latents: Tensor,
    noise: Tensor,
    sigma: Tensor,
    impl: Optional[str],  # noqa: UP045
) -> tuple[Tensor, Tensor]:
    run = OP.choose(impl, latents.device.type, latents.dtype)
    if not latents.numel():
        return _result(latents), _result(latents)
    if noise.shape[0] > 1 and noise.stride(0) == 0:
        noise = noise[:1]
    return run(latents, noise, sigma.to(torch.float64 if latents.dtype == torch.float64 else torch.float32))


@_noise_latents.register_fake
def _(latents: Tensor, noise: Tensor, sigma: Tensor, impl: Optional[str]) -> tuple[Tensor, Tensor]:  # noqa: UP045
    return _result(latents), _result(latents)


def _result(latents: Tensor) -> Tensor:
    """An output to fill."""
    return latents.new_empty(latents.shape)
