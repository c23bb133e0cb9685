"""The definition of the motion weights of a clip (Wu et al. 2026, Eq. 12-14)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

EPSILON = 1e-6
"""Added to the range that divides, so that a clip without motion has weight zero and not 0 / 0 (Eq. 13)."""


def motion_weights(
    flow: Tensor,
    confidence: Tensor | None,
    frames: int,
    height: int,
    width: int,
    order: str,
    pooling: str,
    spatial: str,
) -> Tensor:
    """Magnitude of the flow, min-max normalised over the clip, resized in space and pooled in time: [n, F, h, w].

    Args:
        flow: [n, T, H, W, 2] floating, displacement in pixels.
        confidence: [n, T, H, W] factor on the magnitude, or None.
        frames, height, width: F, h and w of the latent grid.
        order, pooling, spatial: as in api.motion_weights.
    """
    exact = torch.float64 if flow.dtype == torch.float64 else torch.float32
    flow = flow.to(exact)
    magnitude = torch.hypot(flow[..., 0], flow[..., 1])
    if confidence is not None:
        magnitude = magnitude * confidence.to(exact)
    if order == "normalise_first":
        weights = resize(normalise(magnitude), height, width, spatial)
    else:
        weights = normalise(resize(magnitude, height, width, spatial))
    # The bilinear resize skips most pixels when it shrinks, so a bad one would pass unseen without this line.
    bad = ~magnitude.isfinite().flatten(1).all(1)
    return pool(weights, frames, pooling).clamp(0, 1).masked_fill(bad[:, None, None, None], torch.nan)


def normalise(v: Tensor) -> Tensor:
    """(v - min) / (max - min + EPSILON) over all frames and pixels of each clip (Eq. 13)."""
    low, high = v.amin((1, 2, 3), keepdim=True), v.amax((1, 2, 3), keepdim=True)
    return (v - low) / (high - low + EPSILON)


def resize(v: Tensor, height: int, width: int, spatial: str) -> Tensor:
    """Each frame of [n, T, H, W] on the latent grid, half-pixel centres, no antialiasing (Eq. 14)."""
    align_corners = False if spatial == "bilinear" else None
    # Relative to one pixel, so that a clip that moves uniformly stays exactly uniform: normalising afterwards would
    # otherwise blow the rounding of the interpolation up to weights of order one.
    offset = v[:, :1, :1, :1]
    return interpolate(v - offset, (height, width), mode=spatial, align_corners=align_corners) + offset


def pool(v: Tensor, frames: int, pooling: str) -> Tensor:
    """T frames of [n, T, h, w] to F latent frames: the first alone, then groups of (T - 1) / (F - 1)."""
    if pooling == "trilinear":
        over_time = interpolate(v.flatten(2).transpose(1, 2), frames, mode="linear", align_corners=False)
        return over_time.transpose(1, 2).unflatten(2, v.shape[2:]).contiguous()
    first = v[:, :1]
    if frames == 1:
        return first
    groups = v[:, 1:].unflatten(1, (frames - 1, -1))
    if pooling == "causal_mean":
        groups = groups.mean(2)
    elif pooling == "causal_max":
        groups = groups.amax(2)
    else:
        groups = groups[:, :, -1]
    return torch.cat([first, groups], 1)
