"""Tensors as weight files store them: safetensors with float8 and its scales, and GGUF."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from motive.errors import ModelError
from motive.extras import require

FLOAT8 = {"float8_e4m3fn": torch.float8_e4m3fn, "float8_e5m2": torch.float8_e5m2}
MANTISSA_BITS = {"float8_e4m3fn": 3, "float8_e5m2": 2}

_TYPES = {
    "F64": ("float64", 64),
    "F32": ("float32", 32),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E5M2": ("float8_e5m2", 8),
}
"""Types of a safetensors header that hold weights: name in torch, bits."""

_SCALE_INPUT = (".scale_input", ".input_scale")
_SCALES = (".scale_weight", ".weight_scale", ".scale_weight_tensor")
_MARK = ".comfy_quant"


@dataclass(frozen=True)
class Stored:
    """A tensor by its header.

    Attributes:
        shape: as the model has it.
        type: such as ``bfloat16``, ``float8_e4m3fn``, ``Q4_K``.
        bits: of one weight, with its share of scales inside the block.
    """

    shape: tuple[int, ...]
    type: str
    bits: float


class SafetensorsFile:
    """A safetensors file.

    Args:
        path: the file.

    Raises:
        ModelError: it is damaged or no safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stored: dict[str, Stored] = {}
        try:
            self._file = safe_open(path, framework="pt")
            for key in self._file.keys():  # noqa: SIM118 - not a mapping
                header = self._file.get_slice(key)
                name, bits = _TYPES.get(header.get_dtype(), (str(header.get_dtype()), 0))
                self.stored[key] = Stored(tuple(header.get_shape()), name, bits)
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{path} cannot be read as safetensors: {error}; download it again, or give a file that ends in "
                ".safetensors or .gguf"
            ) from error

    def read(self, key: str) -> Tensor:
        return self._file.get_tensor(key)


class GgufFile:
    """A GGUF file, as city96's ComfyUI-GGUF writes transformers: the original names, no prefix.

    Args:
        path: the file.

    Raises:
        MissingExtra: the package gguf is absent.
        ModelError: it is damaged, or has a quantization that the package cannot undo.
    """

    def __init__(self, path: Path) -> None:
        self._gguf = require("gguf", "load_adapter", extra="gguf")
        self.path = path
        self.stored: dict[str, Stored] = {}
        try:
            reader = self._gguf.GGUFReader(path)
            self._tensors = {tensor.name: tensor for tensor in reader.tensors}
            for name, tensor in self._tensors.items():
                # Convolutions have more axes than GGUF can say; the writer puts their shape beside them.
                field = reader.fields.get(f"comfy.gguf.orig_shape.{name}")
                shape = [int(n) for n in (reversed(tensor.shape) if field is None else field.contents())]
                block, size = self._gguf.GGML_QUANT_SIZES[tensor.tensor_type]
                self.stored[name] = Stored(tuple(shape), tensor.tensor_type.name, 8 * size / block)
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise ModelError(f"{path} cannot be read as GGUF: {error}; download it again") from error
        for kind in {tensor.tensor_type for tensor in self._tensors.values()}:
            self._first_row(next(t for t in self._tensors.values() if t.tensor_type == kind))

    def read(self, key: str) -> Tensor:
        """The tensor as float32, dequantized."""
        tensor = self._tensors[key]
        values = self._gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        return torch.from_numpy(values.copy()).reshape(self.stored[key].shape)

    def _first_row(self, tensor) -> None:  # type: ignore[no-untyped-def] - a type of an optional package
        try:
            self._gguf.quants.dequantize(tensor.data.reshape(-1, tensor.data.shape[-1])[:1], tensor.tensor_type)
        except NotImplementedError as error:
            raise ModelError(
                f"{self.path} is quantized as {tensor.tensor_type.name}, which the package gguf cannot undo; give a file "
                "in Q8_0, Q6_K, Q5_K, Q4_K or another of its types, or better the bfloat16 weights"
            ) from error


def scale_keys(
    path: Path, stored: Mapping[str, Stored], read: Callable[[str], Tensor]
) -> tuple[dict[str, list[Tensor]], list[str]]:
    """Scales of float8 weights as ComfyUI and musubi-tuner write them.

    Args:
        path: of the file, for messages.
        stored: tensors by name.
        read: the tensor of that name.

    Returns:
        (weight -> its scales, names that are no weights).

    Raises:
        ModelError: another quantization than float8, by its name.
    """
    scales: dict[str, list[Tensor]] = {}
    spare: list[str] = []
    for name, tensor in stored.items():
        kind = next((s for s in _SCALES if name.endswith(s)), None)
        if kind is not None:
            scales.setdefault(name.removesuffix(kind) + ".weight", []).append(read(name).float())
        elif name.endswith(_MARK):
            _check_mark(path, name, read(name))
        elif not (name.endswith(_SCALE_INPUT) or name == "scaled_fp8"):
            if not tensor.bits:
                raise _not_read(path, name, f"{tensor.type} numbers")
            continue
        spare.append(name)
    for name in scales:
        if name not in stored or stored[name].type not in FLOAT8:
            found = stored[name].type if name in stored else "no weight"
            raise ModelError(f"{path} has a scale for {name}, which is {found} and not a float8; download it again")
    return scales, spare


def _check_mark(path: Path, name: str, mark: Tensor) -> None:
    """Of a layer that ComfyUI quantized: its format as JSON in bytes."""
    try:
        text = bytes(mark.to(torch.uint8).flatten().tolist()).decode()
        form = str(json.loads(text).get("format"))
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path} has a mark of quantization that cannot be read, {name}; download it again") from error
    if form not in FLOAT8:
        raise _not_read(path, name, form)


def _not_read(path: Path, name: str, form: str) -> ModelError:
    return ModelError(
        f"{path} is quantized as {form} ({name}), which is not read; give the bfloat16, float16 or float8 file of this model, "
        "or a GGUF file"
    )


def row_scale(path: Path, name: str, shape: tuple[int, ...], scales: list[Tensor]) -> Tensor:
    """The product of a weight's scales as [rows, 1] or [rows, blocks, 1], float32.

    A scale is one number, or one for each row, or one for each of the equally long blocks of a row.
    """
    rows = shape[0]
    found = torch.ones(rows, 1)
    for scale in scales:
        if scale.numel() == 1:
            scale = scale.reshape(1, 1)
        elif scale.shape[0] != rows or (scale.ndim == 3 and len(shape) == 2 and shape[1] % scale.shape[1]):
            raise ModelError(f"{path} has scales {list(scale.shape)} for {name} {list(shape)}; download it again")
        if scale.ndim == 3 and found.ndim == 2:
            found = found[:, :, None]
        elif scale.ndim < found.ndim:
            scale = scale.reshape(*scale.shape, *[1] * (found.ndim - scale.ndim))
        found = found * scale
    return found


def dequantize(bits: Tensor, float8: torch.dtype, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """A weight from its float8 bits.

    Args:
        bits: uint8, of the weight's shape.
        float8: what they are.
        scale: [rows, 1], or [rows, blocks, 1] for equally long blocks of a row; None for 1.
        dtype: of the result; the product is taken in float32 and rounded once.
    """
    value = bits.view(float8).float()
    if scale is not None:
        blocks = value.reshape(*scale.shape[:-1], -1) if scale.ndim == 3 else value.flatten(1)
        value = (blocks * scale).reshape(value.shape)
    return value.to(dtype)
