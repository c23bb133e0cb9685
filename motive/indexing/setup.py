"""Setup of a run before the first clip: the model, the projection and both identities."""

from __future__ import annotations

import fnmatch
import logging
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import motive_kernels as mk
from motive.adapters import load_adapter
from motive.adapters.base import Adapter, Expert
from motive.adapters.lora import LoraFile
from motive.adapters.precomputed.use import PrecomputedLatents, open_latents
from motive.config import to_json
from motive.data.base import Part
from motive.data.video.buckets import BUCKET_RULES, BucketConfig, ClipSpecs
from motive.data.video.clip_spec import ClipSpec
from motive.data.video.facts import PIXEL_RULES
from motive.errors import ConfigError
from motive.gradients.segments import check_segments
from motive.indexing.clip_specs import LatentShape, clip_specs_of
from motive.indexing.config import IndexConfig, Role, names_with
from motive.store.fingerprint import digest_json
from motive.store.identity import BucketList, BucketShape, Gradient, Identity, ModelParts

_log = logging.getLogger(__name__)

LOSS = "motion_weighted_flow_matching/1"


@dataclass(frozen=True)
class Setup:
    """Attributes:
    config: with every default filled in.
    adapter: the model family, weights not yet loaded.
    expert: the one transformer that serves every noise level of the draws.
    clip_specs: rate, length and size of every clip, or of those of each bucket.
    latent_shapes: (c, F, h, w) of each of them.
    projector: over the selected parameters, names with the component in front.
    lora: factors to attach to the transformer, or None.
    parts: part of the model -> the projector's names, for a vector each; empty for one of all.
    latents: a trainer's, instead of encoded ones; None where the videos are encoded.
    identity: what vectors depend on; they are comparable iff their identities are equal.
    """

    config: IndexConfig
    adapter: Adapter
    expert: Expert
    clip_specs: ClipSpecs
    latent_shapes: tuple[LatentShape, ...]
    projector: mk.Projector
    identity: Identity
    lora: LoraFile | None = None
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    latents: PrecomputedLatents | None = None

    @property
    def device(self) -> torch.device:
        """Where the encoders and the transformer run."""
        return torch.device(_device_name(self.config))

    @property
    def clip_spec(self) -> ClipSpec:
        """Rate, length and size of every clip; with buckets, of the first one."""
        return self.clip_specs.base

    @property
    def width(self) -> int:
        """Numbers in a clip's vector."""
        return max(1, len(self.parts)) * self.config.draws.parts * self.projector.dim

    @property
    def vectors_digest(self) -> str:
        """Digest of everything that decides a vector to its last bit: the identity, and the settings beyond it."""
        beyond = {name: to_json(getattr(self.config, name)) for name in names_with(Role.EXACT, Role.ROWS)}
        return digest_json({"identity": self.identity.to_json(), **beyond})


def set_up(config: IndexConfig, parts: Sequence[Part] = ()) -> Setup:
    """Find the model and derive everything that a store's identity holds; loads no weights.

    Args:
        config: as given.
        parts: entries of the trainer's configuration that is the dataset, for buckets that are taken from it.
    """
    device = _device_name(config)
    adapter = _adapter(config, device)
    clip_specs, latent_shapes = clip_specs_of(adapter, config.clip_spec, config.buckets, parts)
    for shape in latent_shapes:
        check_segments(config.segments, shape[1])
    if config.draws.strategy == "model":
        noise = adapter.training_noise(latent_shapes[0])
        config = replace(config, draws=replace(config.draws, strategy=noise.strategy, shift=noise.shift))
    expert = serving_expert(adapter, config.draws.sigmas())
    shapes = dict(adapter.parameter_shapes(expert))
    lora = None if config.lora is None else _lora(config.lora, adapter, expert, shapes)
    if lora is not None:
        shapes |= lora.shapes
    able = {name: shape for name, shape in shapes.items() if adapter.has_gradient(mk.canonical_name(name))}
    selected = selected_shapes(able, expert, config.parameters)
    _check_quantize(config, selected)
    projector = mk.Projector(config.projection, selected)
    model = model_parts(list(projector.shapes), expert.component, config.model_parts)
    latents = _latents(config, adapter, clip_specs)
    # What "auto" stands for, so that queries and replays elsewhere compute the same.
    config = replace(
        config,
        clip_spec=clip_specs.base,
        buckets=BucketConfig(sizes=tuple(bucket.name for bucket in clip_specs.buckets)),
        dtype=adapter.settings().get("dtype", config.dtype),
        lora=None if lora is None else str(lora.path.resolve()),
        latents=None if config.latents is None else str(Path(config.latents).resolve()),
    )
    gradient = _gradient(config, adapter, latent_shapes, lora, model, latents)
    identity = Identity(projector.fields, gradient.to_json())
    _log.info(
        "%s model %s on %s, dtype %s: %d parameters in %d tensors, vectors of %d numbers for each noise sample",
        adapter.family,
        config.model,
        device,
        config.dtype,
        sum(math.prod(shape) for shape in projector.shapes.values()),
        len(projector.shapes),
        projector.dim,
    )
    for note in adapter.weight_notes():
        _log.info("%s", note)
    return Setup(config, adapter, expert, clip_specs, latent_shapes, projector, identity, lora, model, latents)


def _adapter(config: IndexConfig, device: str) -> Adapter:
    held: dict[str, Any] = {} if config.quantize == "none" else {"quantize": config.quantize}
    return load_adapter(
        config.model,
        base=config.base,
        model_2=config.model_2,
        revision=config.revision,
        device=device,
        dtype=None if config.dtype == "auto" else config.dtype,
        **held,
    )


def _latents(config: IndexConfig, adapter: Adapter, clip_specs: ClipSpecs) -> PrecomputedLatents | None:
    if config.latents is None:
        if config.latents_fps is not None:
            raise ConfigError("index", "{latents_fps} must be left out without {latents}")
        return None
    return open_latents(Path(config.latents), adapter, clip_specs, config.latents_fps)


def _gradient(
    config: IndexConfig,
    adapter: Adapter,
    latent_shapes: Sequence[LatentShape],
    lora: LoraFile | None,
    parts: Mapping[str, Sequence[str]],
    latents: PrecomputedLatents | None,
) -> Gradient:
    """The identity's part that is not the projection, of a config whose defaults are filled in.

    Every field of VectorConfig is in the identity, as it is or by what it names, or in ``Setup.vectors_digest``.
    """
    fingerprints, sizes = dict(adapter.fingerprints()), config.buckets.sizes
    return Gradient(
        loss=LOSS,
        family=adapter.family,
        fingerprints=fingerprints if lora is None else {**fingerprints, "lora": lora.fingerprint()},
        settings=dict(adapter.settings()),
        clip_spec=config.clip_spec or adapter.clip_spec,
        mask=to_json(config.mask),
        motion_source=config.mask.source_identity(),
        draws=to_json(config.draws),
        latent_shape=latent_shapes[0],
        pixels=PIXEL_RULES,
        buckets=BucketList(BUCKET_RULES, tuple(map(BucketShape, sizes, latent_shapes))) if sizes else None,
        model_parts=ModelParts(config.model_parts, tuple(parts)) if parts else None,
        latents=None if latents is None else latents.identity(),
    )


def _check_quantize(config: IndexConfig, selected: Mapping[str, tuple[int, ...]]) -> None:
    other = next((name for name in selected if not _matches(name, "lora")), None)
    if config.quantize != "none" and other is not None:
        raise ConfigError(
            "index",
            f"{{parameters}} must be lora with {{quantize}} {config.quantize}, got {other}: quantized weights have no gradient; "
            "give {parameters} lora, or leave {quantize} out",
        )


def _device_name(config: IndexConfig) -> str:
    return default_device() if config.device == "auto" else config.device


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
    raise ConfigError(
        "index",
        f"noise levels must lie within the range of one expert ({ranges}), got {min(sigmas):.3f} to "
        f"{max(sigmas):.3f}; choose a range with {{draws.low}} and {{draws.high}}",
    )


def _lora(path: str, adapter: Adapter, expert: Expert, shapes: Mapping[str, tuple[int, ...]]) -> LoraFile:
    lora = LoraFile(path, shapes, expert.component, adapter.lora_names)
    if lora.untrained:
        warnings.warn(
            f"index: every lora_B in {path} is zero, so lora_A has no gradient; the vectors reflect only lora_B and the "
            "base parameters",
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
        remedy = "give the factors with {lora}" if unmatched[0] == "lora" else "'*' takes all"
        raise ConfigError("index", f"{{parameters}} must match at least one name, got {unmatched[0]!r}; {remedy}")
    return shapes


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, "*.lora_?.weight" if pattern == "lora" else pattern)


REST = "rest"
"""Name of the part that has what no other part takes."""


def model_parts(names: Sequence[str], component: str, patterns: Sequence[str]) -> dict[str, list[str]]:
    """Part of the model -> its parameters, as VectorConfig.model_parts says; of several that fit, the first takes one.

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
        raise ConfigError(
            "index", f"{{model_parts}} must have a pattern for each part, and {empty!r} has none; give {empty}=PATTERN"
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
        raise ConfigError(
            "index",
            f"{{model_parts}} must each match a parameter and give two parts or more, got {unmatched or patterns} "
            f"with {', '.join(sorted(parts)[:3])}; give NAME=PATTERN, or a wildcard such as blocks.*",
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
