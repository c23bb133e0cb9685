"""What every call of a compiled CUDA function needs besides its operands."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from motive_kernels import native


def extension() -> Any:
    """The compiled CUDA module."""
    return native.extension("cuda")


def placement(tensor: Tensor) -> dict[str, int]:
    """The device of a tensor and its current stream, as the arguments ``device`` and ``stream``."""
    return {
        "device": tensor.device.index or 0,
        "stream": torch.cuda.current_stream(tensor.device).cuda_stream,
    }


def workspace(floats: int, like: Tensor) -> Tensor:
    """Working memory from torch's allocator, which reuses it in the order of the stream."""
    return torch.empty(floats, dtype=torch.float32, device=like.device)
