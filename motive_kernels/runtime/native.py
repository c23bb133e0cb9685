"""The compiled extensions, loaded when first used."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

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
        raise RuntimeError(f"motive_kernels: the compiled extension for {device} is missing; {reason}")
    return module


def arguments(device: str, struct: str, **fields: Any) -> Any:
    """The arguments of a compiled function: a struct of csrc/include/motive, every field by name.

    Args:
        device: ``cpu`` or ``cuda``, the module that has the struct.
        struct: its name.
        fields: numbers; tensors are passed as addresses, None as a null pointer, dtypes as motive::DType.

    Raises:
        ValueError: a field is missing or unknown.
        RuntimeError: the extension was built from other sources.
    """
    return _filled(device, struct, fields)


def _filled(device: str, struct: str, fields: dict[str, Any]) -> Any:
    make = getattr(extension(device), struct, None)
    if make is None:
        raise RuntimeError(
            f"motive_kernels._{device} was built from other sources and has no {struct}; {_remedy(device)}, or "
            "python setup.py build_ext --inplace in a source tree"
        )
    for name, value in fields.items():
        kind = type(value)
        if kind is not int and kind is not float:  # most are; a check for tensors takes 0.3 us
            fields[name] = _plain(value)
    return make(**fields)


def call(op: str, struct: str, like: Tensor, **fields: Any) -> None:
    """Run a compiled function where a tensor lives: on the CPU, or on the current stream of its GPU without waiting.

    Args:
        op: name of the function in the modules.
        struct: its arguments, as in ``arguments``.
        like: where to run. The tensors among the fields must be on the same device.
        fields: of the struct, without ``threads``.
    """
    if like.device.type == "cpu":
        fields["threads"] = torch.get_num_threads()
        getattr(extension("cpu"), op)(_filled("cpu", struct, fields))
    else:
        launch(op, _filled("cuda", struct, fields), like)


def launch(op: str, args: Any, like: Tensor) -> None:
    """Launch a CUDA function on the current stream of a tensor's device, without waiting for it.

    Args:
        op: its name in the module.
        args: from ``arguments``. The tensors behind them must stay alive until this returns.
        like: where to run; its allocator gives the working memory and takes it back in stream order.
    """
    module = extension("cuda")
    floats = getattr(module, f"{op}_workspace")(args)
    memory = torch.empty(floats, dtype=torch.float32, device=like.device)
    stream = torch.cuda.current_stream(like.device).cuda_stream
    getattr(module, op)(args, workspace=memory.data_ptr(), device=like.device.index or 0, stream=stream)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.data_ptr()
    if isinstance(value, torch.dtype):
        return DTYPE_CODES[value]
    return 0 if value is None else value


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
