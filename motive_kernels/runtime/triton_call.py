"""Launches of Triton kernels on the device of their tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def launch(kernel: Any, grid: tuple[int, ...], like: Tensor, *arguments: Any, **options: Any) -> None:
    """Launch a ``@triton.jit`` kernel on a tensor's device and that device's current stream.

    Triton launches on the current device, whatever the tensors' device is: without this, a kernel for ``cuda:1`` called
    from a thread whose current device is 0 gets addresses of another GPU. Every launch goes through here.

    Args:
        kernel: the kernel.
        grid: number of programs on each axis.
        like: a tensor of the launch; on the CPU (Triton's interpreter) no device is set.
        arguments: of the kernel, in order.
        options: of the launch, e.g. num_warps.
    """
    with torch.cuda.device_of(like):
        kernel[grid](*arguments, **options)
