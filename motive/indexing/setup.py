"""What is settled before the first clip: the model, the projection and both identities."""

from __future__ import annotations

import fnmatch
import logging
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

import motive_kernels as mk
from motive.adapters import load_adapter
from motive.adapters.base import Adapter, Expert
from motive.adapters.lora import LoraFile
from motive.config import to_json
from motive.data.video.standardise import Standard
from motive.errors import OptionError
from motive.gradients.segments import check_segments
from motive.indexing.config import IndexConfig

_log = logging.getLogger(__name__)

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
    lora: factors to attach to the transformer, or None.
    parts: part of the model -> the projector's names, for a vector each; empty for one of all.
    identity: {"projection": ..., "gradient": ...}; vectors are comparable iff both are equal.
    """

    config: IndexConfig
    adapter: Adapter
    expert: Expert
    standard: Standard
    latent_shape: tuple[int, int, int, int]
    projector: mk.Projector
    identity: dict[str, Any]
    lora: LoraFile | None = None
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Numbers in a clip's vector."""
        return max(1, len(self.parts)) * self.config.draws.parts * self.projector.dim


def set_up(config: IndexConfig) -> Setup:
    """Find the model and derive everything that a store's identity holds; loads no weights."""
    device = default_device() if config.device == "auto" else config.device
    dtype = None if config.dtype == "auto" else config.dtype
    adapter = load_adapter(config.model, revision=config.revision, device=device, dtype=dtype)
    standard = config.standard or adapter.standard
    latent_shape = adapter.latent_shape(standard)
    check_segments(config.segments, latent_shape[1])
    if config.draws.strategy == "model":
        noise = adapter.training_noise(latent_shape)
        config = replace(config, draws=replace(config.draws, strategy=noise.strategy, shift=noise.shift))
    expert = serving_expert(adapter, config.draws.sigmas())
    shapes = dict(adapter.parameter_shapes(expert))
    lora = None if config.lora is None else _lora(config.lora, adapter, expert, shapes)
    if lora is not None:
        shapes |= lora.shapes
    projector = mk.Projector(config.projection, selected_shapes(shapes, expert, config.parameters))
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
    if lora is not None:
        gradient["fingerprints"]["lora"] = lora.fingerprint()
        config = replace(config, lora=str(lora.path.resolve()))
    parts = model_parts(list(projector.shapes), expert.component, config.model_parts)
    if parts:
        gradient["model_parts"] = {"patterns": list(config.model_parts), "names": list(parts)}
    identity = {"projection": projector.fields, "gradient": gradient}
    # What "auto" came to, so that queries and replays elsewhere compute the same.
    resolved = replace(config, standard=standard, dtype=adapter.settings().get("dtype", config.dtype))
    _log.info(
        "%s model %s on %s, dtype %s: %d parameters in %d tensors, vectors of %d numbers for each noise sample",
        adapter.family,
        config.model,
        device,
        resolved.dtype,
        sum(math.prod(shape) for shape in projector.shapes.values()),
        len(projector.shapes),
        projector.dim,
    )
    return Setup(resolved, adapter, expert, standard, latent_shape, projector, identity, lora, parts)


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
        f"{max(sigmas):.3f}; choose draws inside one range with --draws-low and --draws-high"
    )


def _lora(path: str, adapter: Adapter, expert: Expert, shapes: Mapping[str, tuple[int, ...]]) -> LoraFile:
    lora = LoraFile(path, shapes, expert.component, adapter.lora_names)
    if lora.untrained:
        warnings.warn(
            f"index: lora must be trained for its lora_A to have gradients, got every lora_B zero in {path}; the vectors "
            "will speak of lora_B and of the other parameters alone",
            stacklevel=3,
        )
    return lora


def selected_shapes(
    known: Mapping[str, tuple[int, ...]], expert: Expert, patterns: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Names (component in front) and shapes of the parameters that match a pattern, with or without the component."""
    shapes, matched = {}, set()
    for name, shape in known.items():
        own = mk.canonical_name(name)
        full = f"{expert.component}.{own}"
        found = [p for p in patterns if _matches(full, p) or _matches(own, p)]
        if found:
            shapes[full] = tuple(shape)
            matched.update(found)
    unmatched = [p for p in patterns if p not in matched]
    if unmatched:
        remedy = "give the factors with --lora FILE" if unmatched[0] == "lora" else "'*' takes all"
        raise OptionError(f"index: parameters must match at least one name, got {unmatched[0]!r}; {remedy}")
    return shapes


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, "*.lora_?.weight" if pattern == "lora" else pattern)


REST = "rest"
"""Name of the part that has what no other part takes."""


def model_parts(names: Sequence[str], component: str, patterns: Sequence[str]) -> dict[str, list[str]]:
    """Part of the model -> its parameters, as IndexConfig.model_parts says; of several that fit, the first takes one.

    Args:
        names: of the parameters, with the component in front.
        component: the pattern may leave it out.
        patterns: the option.

    Raises:
        OptionError: a part without a pattern, a pattern that matches nothing, or fewer than two parts.
    """
    if not patterns:
        return {}
    empty = next((pattern.removesuffix("=") for pattern in patterns if pattern.endswith("=")), None)
    if empty is not None:
        raise OptionError(
            f"index: model_parts must have a pattern for each part, got none for {empty!r}; give {empty}=PATTERN"
        )
    parts: dict[str, list[str]] = {}
    matched: set[str] = set()
    for name in names:
        part = REST
        for pattern in patterns:
            found = _part_of(name, pattern) or _part_of(name.removeprefix(f"{component}."), pattern)
            if found:
                part = found
                matched.add(pattern)
                break
        parts.setdefault(part, []).append(name)
    unmatched = [pattern for pattern in patterns if pattern not in matched]
    if unmatched or len(parts) < 2:
        raise OptionError(
            f"index: model_parts must each match a parameter and give two parts or more, got {unmatched or patterns} "
            f"with {', '.join(sorted(parts)[:3])}; give NAME=PATTERN, or a name with a star such as blocks.*"
        )
    rest = parts.pop(REST, None)
    return parts if rest is None else {**parts, REST: rest}


def _part_of(name: str, pattern: str) -> str:
    """The part that a parameter belongs to by one pattern; empty for none."""
    part, given, choices = pattern.partition("=")
    if given:
        return part if any(fnmatch.fnmatchcase(name, choice) for choice in choices.split(",")) else ""
    found = re.match("([^.]+)".join(map(re.escape, pattern.split("*"))) + r"(?=\.|$)", name)
    return found[0] if found else ""
