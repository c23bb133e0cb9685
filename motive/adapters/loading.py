"""Loading one component of a diffusers folder: safetensors only, complete, and nothing left at random."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from motive.adapters.files import read_json
from motive.errors import ModelError, OptionError
from motive.extras import require

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

LOAD_ERRORS = (OSError, ValueError, SafetensorError)
"""What diffusers and transformers raise for files that are absent, damaged or of another format."""


def resolve_dtype(dtype: str | None, device: torch.device, where: str) -> torch.dtype:
    """The dtype of that name; None means bfloat16 on a GPU and float32 elsewhere."""
    if dtype is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise OptionError(f"{where}: dtype must be one of {', '.join(DTYPES)}, got {dtype!r}; choose one")
    return DTYPES[dtype]


def resolve_device(device: str | torch.device, where: str) -> torch.device:
    """The device of that name, checked to be usable here."""
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise OptionError(f"{where}: device must be a torch device, got {device!r}; use cpu or cuda") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"{where}: device must be available, got {device!r} without a CUDA device; use cpu")
    return resolved


def current_device(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the current device inside, so that nothing takes memory on another one; no effect on the CPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def load_transformer(name: str, folder: Path, dtype: torch.dtype, device: torch.device, where: str) -> nn.Module:
    """A diffusers transformer in eval mode whose parameters all require gradients.

    Raises:
        ModelError: the weights are not safetensors, do not fill the model, or are fused.
    """
    return load_model(("diffusers", name), folder, dtype, where).to(device).eval().requires_grad_(True)


def load_model(cls: tuple[str, str], folder: Path, dtype: torch.dtype, where: str, **settings: Any) -> Any:
    """A model of one class of diffusers or transformers from its folder.

    Args:
        cls: (library, class name).
        settings: further arguments of from_pretrained.

    Raises:
        ModelError: the weights are not safetensors, do not fill the model, or are fused.
    """
    library = require(cls[0], where, extra="models")
    choice = {"torch_dtype": dtype} if cls[0].startswith("diffusers") else {"dtype": dtype, "trust_remote_code": False}
    try:
        model, info = getattr(library, cls[1]).from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True, **choice, **settings
        )
    except LOAD_ERRORS as error:
        raise not_loaded(where, folder, error) from error
    check_loaded(where, folder, info)
    return model


def parameter_shapes(name: str, folder: Path, where: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a diffusers transformer's parameters from its config alone; loads no weights."""
    return {name: tuple(p.shape) for name, p in empty_model(name, folder, where).named_parameters()}


def empty_model(name: str, folder: Path, where: str) -> Any:
    """A diffusers model by its config, parameters on the meta device.

    Raises:
        ModelError: the config is not one of that class.
    """
    diffusers = require("diffusers", where, extra="models")
    accelerate = require("accelerate", where, extra="models")
    config = read_json(folder / "config.json", where)
    try:
        with accelerate.init_empty_weights():
            return getattr(diffusers, name).from_config(config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{where}: {folder / 'config.json'} must be a {name} config, got {error}; copy the model again"
        ) from error


def not_loaded(where: str, folder: Path, error: BaseException) -> ModelError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelError(
        f"{where}: {folder} must hold config.json and safetensors weights, got {reason}; "
        "give a complete diffusers folder"
    )


def check_loaded(where: str, folder: Path, info: Mapping[str, Any]) -> None:
    """Refuse weights that left a parameter at its random initialisation."""
    unexpected = [str(k) for k in info.get("unexpected_keys") or ()]
    if any(".to_qkv." in k or ".to_kv." in k for k in unexpected):
        raise ModelError(
            f"{where}: projections must be separate (to_q, to_k, to_v), got fused ones in {folder}; "
            "call unfuse_qkv_projections and save the model again"
        )
    missing = sorted(str(k) for k in (*(info.get("missing_keys") or ()), *(info.get("mismatched_keys") or ())))
    if missing:
        raise ModelError(
            f"{where}: {folder} lacks weights, or has them in other shapes: {missing[0]} "
            f"and {len(missing) - 1} more; copy the model again"
        )
