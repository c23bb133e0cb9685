"""The CUDA implementation of motion_weights: csrc/cuda/motion_weights.cu."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.ops.motion_weights.cpp import CODES, readable
from motive_kernels.runtime import native
from motive_kernels.runtime.cuda_call import extension, run


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
    """As reference.motion_weights, for float32, bfloat16 and float16 on a CUDA device."""
    flow = readable(flow)
    if confidence is not None:
        confidence = confidence.float().contiguous()
    weights = torch.empty(flow.shape[0], frames, height, width, dtype=torch.float32, device=flow.device)
    args = extension().MotionWeights(
        weights=weights.data_ptr(),
        flow=flow.data_ptr(),
        confidence=0 if confidence is None else confidence.data_ptr(),
        dtype=native.DTYPE_CODES[flow.dtype],
        sizes=flow.shape[:4],
        grid=(frames, height, width),
        strides=(*flow.stride()[:3], flow.stride(4)),
        order=CODES["order"][order],
        pooling=CODES["pooling"][pooling],
        spatial=CODES["spatial"][spatial],
    )
    run("motion_weights", args, flow)
    return weights
