"""Calls of the compiled CUDA functions: working memory, device and stream."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from motive_kernels.runtime import native


def extension() -> Any:
    """The compiled CUDA module."""
    return native.extension("cuda")


def run(op: str, args: Any, like: Tensor) -> None:
    """Launch an op on the current stream of a tensor's device, without waiting for it.

    Args:
        op: its name in the module.
        args: its arguments, a class of the module. The tensors behind them must stay alive until this returns.
        like: where to run; its allocator gives the working memory and takes it back in the order of the stream.
    """
    module = extension()
    floats = getattr(module, f"{op}_workspace")(args)
    memory = torch.empty(floats, dtype=torch.float32, device=like.device)
    stream = torch.cuda.current_stream(like.device).cuda_stream
    getattr(module, op)(args, workspace=memory.data_ptr(), device=like.device.index or 0, stream=stream)
