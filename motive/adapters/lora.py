"""LoRA files: low-rank factors in any of the usual key conventions, put beside the layers that they change.

A factor pair is two separate layers, lora_A and lora_B, under the layer that they change: a parameter of theirs is
named ``<layer>.lora_A.weight`` whatever the file calls it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from motive.errors import ModelError

_FACTOR = re.compile(r"(?P<layer>.+)\.(?:lora_(?P<peft>[AB])(?:\.[^.]+)?|lora_(?P<kohya>down|up))\.weight")
_TRANSFORMERS = ("transformer_2.", "transformer.")
_PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", *_TRANSFORMERS)
_KOHYA = ("lora_unet_", "lora_transformer_")
_METADATA = "lora_adapter_metadata"


@dataclass(frozen=True)
class Factors:
    """What is added to a layer's weight: scale B A.

    Attributes:
        a: [rank, inputs].
        b: [outputs, rank].
        scale: alpha / rank.
    """

    a: Tensor
    b: Tensor
    scale: float


class LoraFile:
    """The factors of a safetensors file, by the names of the layers that they belong to.

    Reads the keys of peft (``base_model.model.<layer>.lora_A.weight``, alpha in the adapter_config.json beside it), of
    diffusers (``transformer.<layer>.lora_A.weight``), of kohya and musubi (``lora_unet_<layer with underscores>.
    lora_down.weight`` and ``.alpha``), and the layers' original names as DiffSynth and ComfyUI write them.

    Args:
        path: the file.
        shapes: of the transformer's parameters.
        component: the transformer's name in the pipeline; of a file for two, its part is taken.
        other_names: what training tools call a layer beside its own name.

    Raises:
        ModelError: it is no such file, or holds what a layer of this model cannot take.
    """

    def __init__(
        self,
        path: str | Path,
        shapes: Mapping[str, tuple[int, ...]],
        component: str = "transformer",
        other_names: Callable[[str], Sequence[str]] = lambda _: (),
    ) -> None:
        self.path = Path(path)
        layers = _layers(shapes, other_names)
        tensors, metadata = self._read()
        if any(key.startswith("transformer_2.") for key in tensors):
            tensors = {key: value for key, value in tensors.items() if key.startswith(f"{component}.")}
        found: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            role, name = self._role(key)
            layer = layers.get(_plain(name))
            if layer is None:
                raise self._wrong("name layers of this model", f"{key!r}", "give a LoRA that was trained on this model")
            if found.setdefault(layer, {}).setdefault(role, value) is not value:
                raise self._wrong("hold each factor once", f"{key!r} again", "leave one of them out")
        alpha = self._alpha(metadata, tensors, component)
        self.factors = {layer: self._factors(layer, parts, alpha, shapes) for layer, parts in sorted(found.items())}
        if not self.factors:
            raise self._wrong(f"hold factors for {component}", "none", "give another file")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the factors, by parameter name."""
        return {
            f"{layer}.lora_{role}.weight": tuple(value.shape)
            for layer, factors in self.factors.items()
            for role, value in (("A", factors.a), ("B", factors.b))
        }

    @property
    def untrained(self) -> bool:
        """Whether every lora_B is zero, as at the start of a training: then no lora_A has a gradient."""
        return not any(bool(factors.b.any()) for factors in self.factors.values())

    def fingerprint(self) -> str:
        """Digest of the factors, equal for equal ones in any convention."""
        digest = hashlib.blake2b(digest_size=20)
        for layer, factors in self.factors.items():
            digest.update(f"{layer} {factors.scale!r} {tuple(factors.a.shape)}".encode())
            digest.update(factors.a.float().contiguous().numpy().tobytes())
            digest.update(factors.b.float().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def attach(self, model: nn.Module) -> None:
        """Add the factors to a transformer: each layer's output becomes W x + scale B A x."""
        for layer, factors in self.factors.items():
            linear = model.get_submodule(layer)
            if not isinstance(linear, nn.Linear):
                kind = type(linear).__name__
                raise self._wrong("hold factors of Linear layers", f"{layer} ({kind})", "leave it out of the file")
            for name, value in (("lora_A", factors.a), ("lora_B", factors.b)):
                part = nn.Linear(*reversed(value.shape), bias=False, device="meta")
                dtype = getattr(linear, "compute_dtype", None) or linear.weight.dtype  # of weights in 8 or 4 bits
                part.weight = nn.Parameter(value.to(linear.weight.device, dtype).clone())
                linear.add_module(name, part)
            linear.register_forward_hook(partial(_add_low_rank, factors.scale))

    def _read(self) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
                return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118 - not a mapping
        except (OSError, SafetensorError, ValueError, RecursionError) as error:
            raise self._wrong("be a safetensors file", str(error), "give a file of factors, no pickle") from error

    def _role(self, key: str) -> tuple[str, str]:
        """(A, B or alpha, the layer as the file names it)."""
        if key.endswith(".alpha"):
            return "alpha", key.removesuffix(".alpha")
        match = _FACTOR.fullmatch(key)
        if match is None:
            raise self._wrong(
                "hold lora_A and lora_B, or lora_down and lora_up, and alpha alone",
                repr(key),
                "DoRA, whole weights and biases are not read; train or convert to plain LoRA",
            )
        role = match["peft"] or {"down": "A", "up": "B"}[match["kohya"]]
        return role, match["layer"]

    def _alpha(
        self, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], component: str
    ) -> Callable[[int], float]:
        """Rank -> scale, for factors without their own alpha."""
        config: Any = metadata
        if any(key.startswith("base_model.model.") for key in tensors):
            beside = self.path.with_name("adapter_config.json")
            try:
                config = json.loads(beside.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise self._wrong("have its adapter_config.json beside it", str(error), "copy both") from error
        if not isinstance(config, Mapping):
            raise self._wrong("have settings that are an object", repr(config)[:80], "copy it again")
        own = f"{component}."
        if not any(key.startswith(own) for key in tensors) and any(key.startswith(_TRANSFORMERS) for key in tensors):
            own = "transformer."  # a file of factors for one transformer, given to another
        config = {
            str(name).removeprefix(own): value
            for name, value in config.items()
            if str(name).startswith(own) or not str(name).startswith(_TRANSFORMERS)
        }
        if config.get("alpha_pattern") or config.get("use_dora"):
            raise self._wrong(
                "have one alpha and no DoRA",
                repr(config.get("alpha_pattern") or "use_dora"),
                "convert it to plain LoRA",
            )
        alpha, root = config.get("lora_alpha"), bool(config.get("use_rslora"))
        if alpha is not None and (isinstance(alpha, bool) or not isinstance(alpha, (int, float))):
            raise self._wrong("have a number as lora_alpha", repr(alpha)[:80], "correct its settings")
        return lambda rank: 1.0 if alpha is None else float(alpha) / (rank**0.5 if root else rank)

    def _factors(
        self,
        layer: str,
        parts: Mapping[str, Tensor],
        scale: Callable[[int], float],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> Factors:
        if not {"A", "B"} <= set(parts):
            raise self._wrong("hold both factors of a layer", f"{', '.join(parts)} of {layer}", "copy the file again")
        a, b = parts["A"], parts["B"]
        outputs, inputs = shapes[f"{layer}.weight"]
        if (
            a.ndim != 2
            or b.ndim != 2
            or not len(a)
            or a.shape[1] != inputs
            or b.shape[0] != outputs
            or len(a) != b.shape[1]
        ):
            raise self._wrong(
                f"fit {layer} [{outputs}, {inputs}]",
                f"{list(b.shape)} by {list(a.shape)}",
                "give a LoRA that was trained on this model",
            )
        if "alpha" in parts and parts["alpha"].numel() != 1:
            raise self._wrong("have one number as alpha", f"{list(parts['alpha'].shape)} of {layer}", "correct it")
        if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise self._wrong("be finite", f"NaN or infinity in {layer}", "give another checkpoint of it")
        rank = len(a)
        found = float(parts["alpha"]) / rank if "alpha" in parts else scale(rank)
        if not math.isfinite(found):
            raise self._wrong("have a finite alpha", f"{found * rank} of {layer}", "give another checkpoint of it")
        return Factors(a, b, found)

    def _wrong(self, wanted: str, got: str, remedy: str) -> ModelError:
        return ModelError(f"lora: {self.path} must {wanted}, got {got}; {remedy}")


def _add_low_rank(scale: float, linear: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    low: nn.Module = linear.get_submodule("lora_A")
    return output + scale * linear.get_submodule("lora_B")(low(args[0]))


def _layers(shapes: Mapping[str, tuple[int, ...]], other_names: Callable[[str], Sequence[str]]) -> dict[str, str]:
    """Every name of a layer with a matrix, in the form of _plain -> its own name."""
    own = [
        name.removesuffix(".weight") for name, shape in shapes.items() if name.endswith(".weight") and len(shape) == 2
    ]
    found = {other.replace(".", "_"): layer for layer in own for other in other_names(layer)}
    return found | {layer.replace(".", "_"): layer for layer in own}


def _plain(name: str) -> str:
    """A file's name for a layer without what conventions put before it, dots as underscores."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    for prefix in _KOHYA:
        name = name.removeprefix(prefix)
    return name.replace(".", "_")
