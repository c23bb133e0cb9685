"""What is settled before the first clip: the model, the projection and both identities."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

import motive_kernels as mk
from motive.adapters import load_adapter
from motive.adapters.base import Adapter, Expert
from motive.data.standardise import Standard
from motive.errors import OptionError
from motive.masks.segments import check_segments
from motive.run.calibrate import load_costs
from motive.run.config import IndexConfig, to_json

LOSS = "motion_weighted_flow_matching/1"


@dataclass(frozen=True)
class Setup:
    """Attributes:
    config: with every default filled in.
    adapter: the model family, weights not yet loaded.
    expert: the one transformer that serves every noise level of the draws.
    standard: clip standardisation.
    latent_shape: (c, F, h, w).
    projector: over the selected parameters, names with the component in front.
    identity: {"projection": ..., "gradient": ...}; vectors are comparable iff both are equal.
    """

    config: IndexConfig
    adapter: Adapter
    expert: Expert
    standard: Standard
    latent_shape: tuple[int, int, int, int]
    projector: mk.Projector
    identity: dict[str, Any]


def set_up(config: IndexConfig) -> Setup:
    """Find the model and derive everything that a store's identity holds; loads no weights."""
    device = default_device() if config.device == "auto" else config.device
    dtype = None if config.dtype == "auto" else config.dtype
    adapter = load_adapter(config.model, revision=config.revision, device=device, dtype=dtype)
    standard = config.standard or adapter.standard
    latent_shape = adapter.latent_shape(standard)
    check_segments(config.segments, latent_shape[1])
    expert = serving_expert(adapter, config.draws.sigmas())
    projector = mk.Projector(config.projection, selected_shapes(adapter, expert, config.parameters))
    gradient = {
        "loss": LOSS,
        "family": adapter.family,
        "fingerprints": dict(adapter.fingerprints()),
        "settings": dict(adapter.settings()),
        "standard": asdict(standard),
        "mask": to_json(config.mask),
        "motion_source": config.mask.source_identity(),
        "draws": to_json(config.draws),
        "latent_shape": list(latent_shape),
    }
    identity = {"projection": projector.fields, "gradient": gradient}
    # What "auto" came to, so that queries and replays elsewhere compute the same.
    resolved = replace(
        config, standard=standard, dtype=adapter.settings().get("dtype", config.dtype), costs=_costs(config, device)
    )
    return Setup(resolved, adapter, expert, standard, latent_shape, projector, identity)


def _costs(config: IndexConfig, device: str) -> dict[str, Any]:
    """The speeds of every device that the config knows, and of this one."""
    kind = torch.device(device).type
    known = dict(config.costs)
    return known if kind in known else {**known, kind: asdict(load_costs(kind) or mk.CostModel())}


def model_standard(model: str, revision: str | None = None) -> Standard:
    """The clip standardisation that a model takes by default."""
    return load_adapter(model, revision=revision, device="cpu").standard


def default_device() -> str:
    """A GPU if torch sees one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def serving_expert(adapter: Adapter, sigmas: Sequence[float]) -> Expert:
    """The one expert that serves every noise level.

    Raises:
        OptionError: the levels cross from one expert to another.
    """
    for expert in adapter.experts:
        if expert.sigma_min <= min(sigmas) and max(sigmas) <= expert.sigma_max:
            return expert
    ranges = ", ".join(f"{e.component} {e.sigma_min} to {e.sigma_max}" for e in adapter.experts)
    raise OptionError(
        f"index: draws must lie within one expert's noise levels ({ranges}), got {min(sigmas):.3f} to "
        f"{max(sigmas):.3f}; choose draws inside one range"
    )


def selected_shapes(adapter: Adapter, expert: Expert, patterns: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Names (component in front) and shapes of the parameters that match a pattern, with or without the component."""
    shapes, matched = {}, set()
    for name, shape in adapter.parameter_shapes(expert).items():
        own = mk.canonical_name(name)
        full = f"{expert.component}.{own}"
        found = [p for p in patterns if fnmatch.fnmatchcase(full, p) or fnmatch.fnmatchcase(own, p)]
        if found:
            shapes[full] = tuple(shape)
            matched.update(found)
    unmatched = [p for p in patterns if p not in matched]
    if unmatched:
        raise OptionError(f"index: parameters must match at least one name, got {unmatched[0]!r}; '*' takes all")
    return shapes
