"""From what a user writes after --model to an adapter."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from motive.adapters.base import Adapter
from motive.adapters.cogvideox import CogVideoXAdapter
from motive.adapters.files import single_file, transformer_class
from motive.adapters.hunyuan import HunyuanVideoAdapter
from motive.adapters.ltx import LTXAdapter
from motive.adapters.mochi import MochiAdapter
from motive.adapters.toy import ToyAdapter
from motive.adapters.wan import WanAdapter
from motive.errors import ModelError, OptionError
from motive.extras import require

ENTRY_POINTS = "motive.adapters"
"""Group of entry points through which another package adds families: name = family, object = Adapter subclass."""

_BUILT_IN: tuple[type[Adapter], ...] = (
    ToyAdapter,
    WanAdapter,
    CogVideoXAdapter,
    HunyuanVideoAdapter,
    LTXAdapter,
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
    model: str | Path, *, revision: str | None = None, local_files_only: bool = False, **options: Any
) -> Adapter:
    """The adapter of a model; weights are loaded later, when it is used.

    Args:
        model: a family that is complete by itself (``toy``), a diffusers pipeline folder, or a hub id ``owner/name``.
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
        if revision is not None:
            raise OptionError(f"load_adapter: revision must be left out for {name}, got {revision!r}; drop it")
        return _make(named[name], name, {}, options)
    folder = Path(name).expanduser()
    if folder.is_file():
        raise single_file(folder)
    if not folder.is_dir():
        if not _is_hub_id(name):
            raise ModelError(
                f"load_adapter: model must be {', '.join(named)}, a diffusers folder or a hub id owner/name, "
                f"got {name!r}; check the spelling and the path"
            )
        folder = _fetch(name, revision, local_files_only)
    elif revision is not None:
        raise OptionError(f"load_adapter: revision must be left out for a folder, got {revision!r}; drop it")
    wanted = transformer_class(folder, "load_adapter")
    for cls in known.values():
        if wanted in cls.transformer_classes:
            return _make(cls, name, {"folder": folder}, options)
    readable = sorted(c for cls in known.values() for c in cls.transformer_classes)
    raise ModelError(
        f"load_adapter: transformer must be one of {', '.join(readable)}, got {wanted} in {name}; "
        f"install a package with an entry point in {ENTRY_POINTS} for it"
    )


def _make(cls: type[Adapter], name: str, given: Mapping[str, Any], options: Mapping[str, Any]) -> Adapter:
    """Construct the adapter; an option it does not take is the user's error, not a traceback."""
    accepted = inspect.signature(cls).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values()):
        unknown = sorted(set(options) - set(accepted) | set(options) & set(given))
        if unknown:
            names = ", ".join(p for p in accepted if p not in given)
            raise OptionError(f"load_adapter: options of {name} must be among {names}, got {unknown[0]}; drop it")
    return cls(**given, **options)


def _is_hub_id(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(p and not p.startswith((".", "~")) for p in parts) and "\\" not in name


def _fetch(name: str, revision: str | None, local_files_only: bool) -> Path:
    """The local snapshot of a hub model, downloaded if need be."""
    hub = require("huggingface_hub", "load_adapter", extra="models")
    try:
        return Path(
            hub.snapshot_download(
                name, revision=revision, allow_patterns=list(_HUB_FILES), local_files_only=local_files_only
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
