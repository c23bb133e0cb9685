"""Sources of a transformer's weights: a component of a diffusers folder, or a file and the base's config."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from motive.adapters.checkpoint import Checkpoint
from motive.adapters.files import check_weights, fingerprint, read_json
from motive.adapters.loading import empty_model, load_model, load_transformer, parameter_shapes
from motive.adapters.low_bit import Quantize, hold_in_float8, may_stay_float8, nf4
from motive.adapters.stored import MANTISSA_BITS, dequantize
from motive.errors import ModelError


class Source(ABC):
    """The weights of one transformer.

    Args:
        cls: the diffusers class.
        where: what asks, for messages.
    """

    lossy: Mapping[str, tuple[int, float]] = {}
    """Storage type of fewer than 16 bits -> (tensors, bits of one weight)."""

    def __init__(self, cls: str, where: str) -> None:
        self.cls, self.where = cls, where

    @property
    @abstractmethod
    def config(self) -> Path:
        """The config.json of the architecture."""

    @abstractmethod
    def check(self) -> None:
        """Refuse weights that cannot be loaded, before any work is done."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of the weights and the config."""

    @abstractmethod
    def load(self, dtype: torch.dtype, device: torch.device, quantize: Quantize) -> nn.Module:
        """The transformer in eval mode, every parameter requiring a gradient, or, quantized, none."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the parameters, from the config alone."""
        return parameter_shapes(self.cls, self.config.parent, self.where)

    def notes(self, component: str, dtype: torch.dtype, quantize: Quantize) -> list[str]:
        """What was lost in the weights as they are stored and held, for a person."""
        return [f"{component}: {_HELD[quantize]}"] if quantize != "none" else []


class FolderSource(Source):
    """A component as save_pretrained writes it."""

    def __init__(self, folder: Path, cls: str, where: str) -> None:
        super().__init__(cls, where)
        self.folder = folder

    @property
    def config(self) -> Path:
        return self.folder / "config.json"

    def check(self) -> None:
        check_weights(self.folder)
        method = (read_json(self.config, self.where).get("quantization_config") or {}).get("quant_method")
        if method is not None:
            raise ModelError(
                f"{self.folder} holds weights that are quantized by {method}, which is not read; give the full weights, and "
                "hold them in fewer bits with --quantize under a LoRA"
            )

    def fingerprint(self) -> str:
        return fingerprint(self.folder, self.where)

    def load(self, dtype: torch.dtype, device: torch.device, quantize: Quantize) -> nn.Module:
        if quantize == "none":
            return load_transformer(self.cls, self.folder, dtype, device, self.where)
        settings = {"quantization_config": nf4(dtype, device), "device_map": {"": device}} if quantize == "nf4" else {}
        model = load_model(("diffusers", self.cls), self.folder, dtype, self.where, **settings)
        if quantize == "fp8":
            hold_in_float8(model, dtype)
            model.to(device)
        return model.eval().requires_grad_(False)


class FileSource(Source):
    """A checkpoint, with the architecture of a base's transformer.

    Args:
        path: a file, or a folder of shards.
        config: folder with the base's config.json.
    """

    def __init__(self, path: Path, config: Path, cls: str, where: str) -> None:
        super().__init__(cls, where)
        self._checkpoint, self._config = Checkpoint(path), config / "config.json"
        self.lossy = self._checkpoint.lossy

    @property
    def config(self) -> Path:
        return self._config

    def check(self) -> None:
        self._checkpoint.check(self.cls, self._all_shapes())

    def fingerprint(self) -> str:
        return self._checkpoint.fingerprint(self._config)

    def load(self, dtype: torch.dtype, device: torch.device, quantize: Quantize) -> nn.Module:
        settings = nf4(dtype, device) if quantize == "nf4" else None
        model = empty_model(self.cls, self._config.parent, self.where)
        state, stored = self._state(model, dtype, quantize)
        if settings is not None:
            return (
                type(model)
                .from_single_file(
                    state,
                    config=str(self._config.parent),
                    quantization_config=settings,
                    torch_dtype=dtype,
                    local_files_only=True,
                    device=str(device),
                )
                .eval()
                .requires_grad_(False)
            )
        model.load_state_dict(state, assign=True, strict=not stored)
        if quantize == "fp8":
            hold_in_float8(model, dtype, stored)
        return model.to(device).eval().requires_grad_(quantize == "none")

    def _state(
        self, model: Any, dtype: torch.dtype, quantize: Quantize
    ) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor | None, torch.dtype]]]:
        """(values by name, those that stay float8 as stored)."""
        kept = set(model._keep_in_fp32_modules or ())
        state, stored = {}, {}
        float8 = self._checkpoint.float8
        weights = self._checkpoint.weights(self.cls, self._all_shapes(), dtype)
        for name in list(weights):
            weight = weights.pop(name)
            target = torch.float32 if kept & set(name.split(".")) else dtype
            if weight.value.dtype != torch.uint8 or float8 is None:
                state[name] = weight.value.to(target).contiguous()
            elif quantize == "fp8" and target == dtype and may_stay_float8(model, name):
                stored[name] = (weight.value.contiguous(), weight.scale, float8)
            else:
                state[name] = dequantize(weight.value, float8, weight.scale, target)
        return state, stored

    def notes(self, component: str, dtype: torch.dtype, quantize: Quantize) -> list[str]:
        name = str(dtype).removeprefix("torch.")
        stored = [
            f"{component}: {count} of {self._checkpoint.tensors} tensors in {self._checkpoint.path} are {kind} and were "
            f"dequantized to {name}: {_loss(kind, bits)}"
            for kind, (count, bits) in self.lossy.items()
        ]
        return stored + super().notes(component, dtype, quantize)

    def _all_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of parameters and buffers."""
        model = empty_model(self.cls, self._config.parent, self.where)
        return {name: tuple(value.shape) for name, value in model.state_dict().items()}


_HELD: Mapping[str, str] = {
    "fp8": "the Linear weights of its blocks are held as float8_e4m3fn with a scale for each row, or as the file has them "
    "in float8: rounding to 3 bits of mantissa moves a weight by up to 6.25 %",
    "nf4": "the Linear weights are held in 4 bits (bitsandbytes nf4, blocks of 64), whose rounding the vectors include",
}


def _loss(kind: str, bits: float) -> str:
    mantissa = next((count for name, count in MANTISSA_BITS.items() if name in kind), None)
    if mantissa is None:
        return f"{bits:.3g} bits a weight, whose rounding the vectors include"
    return f"rounding to {mantissa} bits of mantissa moved a weight by up to {100 / 2 ** (mantissa + 1):.3g} %"


def source_of(given: Path | None, base: Path, cls: str, where: str) -> Source:
    """The weights of a component: those given, or the base's.

    Args:
        given: a transformer's file or folder, or None.
        base: the base's folder of that component.
        cls: the diffusers class that the base names.

    Raises:
        ModelError: the folder holds a transformer of another class, or the file cannot be used.
    """
    if given is None:
        return FolderSource(base, cls, where)
    config = given / "config.json"
    found = read_json(config, where).get("_class_name") if config.is_file() else None
    if found == cls:
        return FolderSource(given, cls, where)
    if isinstance(found, str) and found.endswith(("Transformer3DModel", "Transformer2DModel")):
        raise ModelError(
            f"{given} is a {found}, and the transformer of the base {base.parent} is a {cls}; give its base"
        )
    return FileSource(given, base, cls, where)


def stored_as(sources: Mapping[str, Source], quantize: Quantize) -> dict[str, Any]:
    """What an identity says of weights that are not stored or held in full; empty where all are."""
    kinds = sorted({kind for source in sources.values() for kind in source.lossy})
    stored = {"weights": ", ".join(kinds)} if kinds else {}
    return {**stored, "quantize": quantize} if quantize != "none" else stored
