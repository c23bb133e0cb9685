"""The compiled implementations of motion_weights: csrc/cpu/motion_weights.cpp and csrc/cuda/motion_weights.cu."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.runtime import native

CODES = {
    "order": {"normalise_first": 0, "resize_first": 1},
    "pooling": {"causal_mean": 0, "causal_max": 1, "stride": 2, "trilinear": 3},
    "spatial": {"bilinear": 0, "area": 1},
}
"""The enums of csrc/include/motive/motion_weights.h."""


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
    """As reference.motion_weights, for float32, bfloat16 and float16 on a CPU or a CUDA device."""
    flow = readable(flow)
    if confidence is not None:
        confidence = confidence.float().contiguous()
    weights = torch.empty(flow.shape[0], frames, height, width, dtype=torch.float32, device=flow.device)
    native.call(
        "motion_weights",
        "MotionWeights",
        flow,
        weights=weights,
        flow=flow,
        confidence=confidence,
        dtype=flow.dtype,
        samples=flow.shape[0],
        frames=flow.shape[1],
        height=flow.shape[2],
        width=flow.shape[3],
        latent_frames=frames,
        latent_height=height,
        latent_width=width,
        sample_stride=flow.stride(0),
        frame_stride=flow.stride(1),
        row_stride=flow.stride(2),
        component_stride=flow.stride(4),
        order=CODES["order"][order],
        pooling=CODES["pooling"][pooling],
        spatial=CODES["spatial"][spatial],
    )
    return weights


def readable(flow: Tensor) -> Tensor:
    """The flow itself if the pixels of a row are adjacent, as pairs (dx, dy) or in two planes; else a copy."""
    pixel, component = flow.stride(3), flow.stride(4)
    pairs = component == 1 and (pixel == 2 or flow.shape[3] == 1)
    planes = component != 1 and (pixel == 1 or flow.shape[3] == 1)
    return flow if pairs or planes else flow.contiguous()
