"""From what a user writes after --model to an adapter."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from motive.adapters.base import Adapter
from motive.adapters.cogvideox import CogVideoXAdapter
from motive.adapters.files import PICKLES, SINGLE_FILES, is_lora, is_pipeline, pickled, transformer_class, weights_in
from motive.adapters.hunyuan import HunyuanVideoAdapter
from motive.adapters.hunyuan15 import HunyuanVideo15Adapter
from motive.adapters.ltx import LTXAdapter
from motive.adapters.ltx2 import LTX2Adapter
from motive.adapters.mochi import MochiAdapter
from motive.adapters.toy import ToyAdapter
from motive.adapters.wan import WanAdapter
from motive.adapters.wan_vace import WanVACEAdapter
from motive.errors import ConfigError, ModelError, OptionError
from motive.extras import require

ENTRY_POINTS = "motive.adapters"
"""Group of entry points through which another package adds families: name = family, object = Adapter subclass."""

_BUILT_IN: tuple[type[Adapter], ...] = (
    ToyAdapter,
    WanAdapter,
    WanVACEAdapter,
    CogVideoXAdapter,
    HunyuanVideoAdapter,
    HunyuanVideo15Adapter,
    LTXAdapter,
    LTX2Adapter,
    MochiAdapter,
)

_HUB_FILES = ("model_index.json", "*/*.json", "*/*.safetensors", "*/*.model", "*/*.txt")
"""What is fetched from the hub: configuration, safetensors and tokenizers; no pickles and no code."""


def families() -> Mapping[str, type[Adapter]]:
    """The known families by name, built-in ones first; another package cannot replace those.

    Raises:
        ModelError: an entry point cannot be imported or is no Adapter.
    """
    found = {cls.family: cls for cls in _BUILT_IN}
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in found:
            continue
        try:
            cls = point.load()
        except (ImportError, AttributeError) as error:
            raise ModelError(
                f"families: entry point {point.name} must be importable, got {error}; fix or remove its package"
            ) from error
        if not (isinstance(cls, type) and issubclass(cls, Adapter)):
            raise ModelError(
                f"families: entry point {point.name} must be an Adapter subclass, got {cls!r}; fix its package"
            )
        found[point.name] = cls
    return found


def load_adapter(
    model: str | Path,
    *,
    base: str | Path | None = None,
    model_2: str | Path | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    **options: Any,
) -> Adapter:
    """The adapter of a model.

    Args:
        model: a family that is complete by itself (``toy``), a diffusers pipeline folder, or a hub id ``owner/name``;
            with ``base`` a transformer alone: one file, a folder of shards, or a diffusers component folder.
        base: diffusers folder or hub id of the pipeline that the transformer belongs to; it gives everything else, and
            the architecture where the transformer is no diffusers folder.
        model_2: second transformer of a model with two experts, for the lower noise levels, likewise.
        revision: branch, tag or commit of a hub id.
        local_files_only: take a hub id from the local hub cache without asking the network.
        options: of the family's adapter, such as device and dtype.

    Raises:
        ModelError: there is no such model, it cannot be fetched, or no family reads it.
        OptionError: an option that the family does not have.
    """
    name = str(model)
    known = families()
    named = {family: cls for family, cls in known.items() if not cls.transformer_classes}
    if name in named:
        for option, value in (("revision", revision), ("base", base), ("model_2", model_2)):
            if value is not None:
                raise ConfigError(
                    "load_adapter", f"{{{option}}} must be left out for {name}, got {str(value)!r}; drop it"
                )
        return _make(named[name], name, {}, options)
    transformers = {}
    if base is not None:
        transformers["transformer"] = _transformer(name, "transformer")
    if model_2 is not None:
        transformers["transformer_2"] = _transformer(str(model_2), "transformer_2")
    whole = name if base is None else str(base)
    folder = _pipeline(whole, list(named), revision, local_files_only, tuple(transformers))
    wanted = transformer_class(folder, "load_adapter")
    for cls in known.values():
        if wanted in cls.transformer_classes:
            given = {"folder": folder, **({"transformers": transformers} if transformers else {})}
            return _make(cls, name, given, options)
    readable = sorted(c for cls in known.values() for c in cls.transformer_classes)
    raise ModelError(
        f"load_adapter: transformer must be one of {', '.join(readable)}, got {wanted} in {whole}; "
        f"install a package with an entry point in {ENTRY_POINTS} for it"
    )


def _pipeline(
    name: str, named: Sequence[str], revision: str | None, local_files_only: bool, replaced: tuple[str, ...]
) -> Path:
    """The folder of a whole pipeline, fetched if need be.

    Args:
        replaced: components whose weights are given apart, and are not fetched.
    """
    folder = Path(name).expanduser()
    if folder.is_file() or (folder.is_dir() and not is_pipeline(folder) and weights_in(folder)):
        file = folder if folder.is_file() else weights_in(folder)[0]
        if file.suffix.lower() in PICKLES:
            raise pickled(file)
        if is_lora(file):
            raise ConfigError(
                "load_adapter",
                f"{file} holds the factors of a LoRA; give it with {{lora}}, and the model that it was trained for with "
                "{model}",
            )
        raise ConfigError(
            "load_adapter",
            f"{file} holds the weights of a transformer alone; give the diffusers folder or hub id of its pipeline with {{base}}, such as "
            "Wan-AI/Wan2.1-T2V-1.3B-Diffusers, for VAE, text encoder and scheduler",
        )
    if not folder.is_dir():
        if not _is_hub_id(name) or folder.suffix.lower() in PICKLES + SINGLE_FILES:
            option = "base" if "transformer" in replaced else "model"
            others = "" if option == "base" else f"{', '.join(named)}, "
            raise ModelError(
                f"load_adapter: {option} must be {others}a diffusers folder, a file of weights or a hub id owner/name, got "
                f"{name!r}; there is no such file or folder: check the spelling and the path"
            )
        return _fetch(name, revision, local_files_only, replaced)
    if revision is not None:
        raise ConfigError("load_adapter", f"{{revision}} must be left out for a folder, got {revision!r}; drop it")
    return folder


def _transformer(name: str, component: str) -> Path:
    """The file or folder of a transformer that takes the place of a base's.

    Raises:
        ModelError: there is none, or its name says that it is the other expert.
    """
    path = Path(name).expanduser()
    if not path.exists():
        raise ModelError(
            f"load_adapter: {name} must be a file or folder of a transformer's weights; check the path, and download it first "
            "if it is on the hub"
        )
    other = "low" if component == "transformer" else "high"
    if re.search(rf"{other}[_-]?noise", path.name.lower()):
        flag = "--model-2" if other == "low" else "--model"
        raise ModelError(
            f"{name} says {other} noise in its name; give it with {flag} (high noise with --model, low noise with "
            "--model-2), or rename it"
        )
    if path.is_dir() and is_pipeline(path):
        path = path / component
        if not path.is_dir():
            raise ModelError(f"{name} has no {component}; give the folder or file of that transformer")
    return path


def _make(cls: type[Adapter], name: str, given: Mapping[str, Any], options: Mapping[str, Any]) -> Adapter:
    """Construct the adapter; an option it does not take is the user's error, not a traceback."""
    accepted = inspect.signature(cls).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values()):
        if "transformers" in given and "transformers" not in accepted:
            raise ConfigError("load_adapter", f"{{base}} must be left out for the family {cls.family}; drop it")
        unknown = sorted(set(options) - set(accepted) | set(options) & set(given))
        if unknown:
            names = ", ".join(p for p in accepted if p not in (*given, "transformers", "quantize"))
            raise OptionError(f"load_adapter: options of {name} must be among {names}, got {unknown[0]}; drop it")
    return cls(**given, **options)


def _is_hub_id(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(p and not p.startswith((".", "~")) for p in parts) and "\\" not in name


def _fetch(name: str, revision: str | None, local_files_only: bool, replaced: Sequence[str] = ()) -> Path:
    """The local snapshot of a hub model, downloaded if need be, without the weights of components in ``replaced``."""
    hub = require("huggingface_hub", "load_adapter", extra="models")
    try:
        return Path(
            hub.snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(_HUB_FILES),
                ignore_patterns=[f"{component}/*.safetensors" for component in replaced] or None,
                local_files_only=local_files_only,
            )
        )
    except (OSError, ValueError, *_transport_errors(hub)) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"load_adapter: {name} must be on the hub or in its local cache, got {type(error).__name__} ({reason}); "
            "check the name and the network, log in for a gated model, or give a local diffusers folder"
        ) from error


def _transport_errors(hub: Any) -> tuple[type[BaseException], ...]:
    """The base errors of the HTTP library that this version of the hub client is built on (requests, httpx, ...)."""
    return tuple(cls for cls in hub.errors.HfHubHTTPError.__mro__ if cls.__name__ in ("HTTPError", "RequestException"))
