"""The compiled extensions, loaded when first used."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
"""motive::DType of csrc/include/motive/dtype.h."""


@functools.cache
def load(device: str) -> tuple[ModuleType | None, str | None]:
    """The extension for a device, or the reason why there is none.

    Args:
        device: ``cpu`` or ``cuda``.

    Returns:
        (module, None), or (None, reason). An extension that is present but broken raises its own ImportError.
    """
    name = f"motive_kernels._{device}"
    try:
        return importlib.import_module(name), None
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None, f"the extension {name} is not built; {_remedy(device)}"


def extension(device: str) -> ModuleType:
    """The extension for a device.

    Raises:
        RuntimeError: it is not built.
    """
    module, reason = load(device)
    if module is None:
        raise RuntimeError(f"motive_kernels: {device} must have its compiled extension, got none; {reason}")
    return module


def rows_adjacent(tensor: Tensor) -> Tensor:
    """The tensor itself if the elements of its last axis are adjacent in memory, else a contiguous copy.

    Kernels take any stride, also 0, on the other axes.
    """
    return tensor if tensor.shape[-1] <= 1 or tensor.stride(-1) == 1 else tensor.contiguous()


def _remedy(device: str) -> str:
    if device == "cpu":
        return "do pip install . with a C++17 compiler"
    note = Path(__file__).parents[1] / "_cuda_missing.txt"
    found = f"{note.read_text().strip()}; " if note.exists() else ""
    return f"{found}do pip install . with nvcc on PATH and MOTIVE_CUDA=1"
