"""The settings of an index run: what decides a vector, and how to run.

``IndexConfig`` has the fields of both halves, so that ``motive.index(..., config=IndexConfig(model=..., device=...))``
and the flags of ``motive index`` need not know which half a field belongs to. Manifests and run records keep the halves
apart: ``{"vectors": {...}, "run": {...}}``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from motive.config import check_choices, from_json, to_json
from motive.data.video.buckets import BucketConfig
from motive.data.video.clip_spec import ClipSpec
from motive.errors import ConfigError, OptionError
from motive.gradients.draws import DrawConfig
from motive.masks import MaskConfig
from motive.store.manifest import draws_of_version_1
from motive_kernels import ProjectionSpec


def repeated() -> Any:
    """A field of texts whose flag is given once for each."""
    return field(default=(), metadata={"repeated": True})


class Role(Enum):
    """How a field of VectorConfig decides a vector.

    Attributes:
        COMPARED: stands in the identity as it is: stores that differ in it are not comparable.
        CONTENT: the identity holds what it names: the hash of the weights instead of the path of the model.
        EXACT: can change the last bits of a vector. Every vector of a store is made with one value; stores that differ
            in it stay comparable.
        ROWS: decides which vectors a clip gets. Every clip of a store gets the same; stores that differ in it stay
            comparable.
    """

    COMPARED = "compared"
    CONTENT = "content"
    EXACT = "exact"
    ROWS = "rows"


_COMPARED, _CONTENT, _EXACT, _ROWS = ({"role": role} for role in Role)


def _require_positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value < 1:
            raise ConfigError(_where(config), f"{{{name}}} must be at least 1, got {value}; give a number")


def _where(config: Any) -> str:
    return type(config).__name__


@dataclass(frozen=True)
class ReadConfig:
    """How the clips of a dataset are read, where it is not the one that a store was made from.

    Attributes:
        dataset_format: reader to use, or ``auto``.
        root: folder that the clips' files lie in, where that is not the folder of the table; may be repeated.
        path_map: OLD=NEW: paths that start with OLD, on another machine, start with the folder NEW here; may be
            repeated.
        follow_links: take files that are symbolic links out of their folder; None does as for the store.
        shard_cache: folder that shards at addresses are fetched to; None is that of the store.
        buckets: sizes and lengths of these clips, where they are not those of the store.
        latents: latents of these clips by the tool that computed those of the store (motive index --latents).
        latents_fps: rate at which FastVideo took their frames.
    """

    dataset_format: str = "auto"
    root: tuple[str, ...] = repeated()
    path_map: tuple[str, ...] = repeated()
    follow_links: bool | None = None
    shard_cache: str | None = None
    buckets: BucketConfig = field(default_factory=BucketConfig)
    latents: str | None = None
    latents_fps: float | None = None


@dataclass(frozen=True)
class VectorConfig:
    """Everything that decides a vector, to its last bit, on one kind of machine.

    Attributes:
        model: ``toy``, a local diffusers directory, or a hub id such as Wan-AI/Wan2.1-T2V-1.3B-Diffusers; with base, a
            transformer alone: a safetensors or GGUF file, or a folder of its shards.
        base: diffusers directory or hub id of the pipeline that the model is a transformer of; it gives VAE, text encoder,
            scheduler and the transformer's config.
        model_2: of a model with two experts (Wan2.2 A14B), the file or folder of the one for low noise; model is then the
            one for high noise. What is left out is taken from the base.
        revision: branch, tag or commit of a hub id; a commit makes a run repeatable after the hub's copy has moved on.
        dtype: of the model's weights: ``auto`` (float32 on the CPU, bfloat16 on a GPU), ``float32``, ``bfloat16``.
        quantize: hold the transformer's weights in ``fp8`` (8 bits, any device) or ``nf4`` (4 bits, bitsandbytes on a CUDA
            device) to save memory; with lora and parameters lora only, since such weights have no gradient.
        clip_spec: rate, length and size that every clip is brought to; None takes the model's own.
        buckets: sizes and lengths that clips are brought to, each to the one that suits it; empty for one clip spec.
        mask: motion mask.
        draws: shared noise levels and noise.
        projection: the random map.
        lora: safetensors file of low-rank factors to put into the transformer, by the keys of peft, diffusers, kohya
            or musubi, or DiffSynth.
        parameters: name patterns (``*`` matches anything) of the transformer's parameters to attribute; the paper
            takes all; ``lora`` stands for the factors.
        model_parts: parts of the model that get a vector each, side by side in a clip's vector, for motive score
            --model-part: NAME=PATTERN[,PATTERN] (attention=*attn*), or a wildcard (blocks.*), which makes one part per
            match; parameters that match nothing go to the part rest. Empty for one vector of all.
        latents: folder where musubi-tuner cached latents of these clips, or FastVideo's Parquet files; they are used
            instead of encoding, if each proves to be that of its clip. Vectors from such latents are comparable with
            those from the same tool's alone. Without it the videos are encoded.
        latents_fps: rate at which FastVideo took the frames of its latents (train_fps), which its files do not say.
        segments: parts of each clip that get a vector each: ``time:N``, N windows of time, or ``regions``, masks from
            the file clip.regions.safetensors beside clip.mp4; empty for whole clips.
        batch_size: clips in one forward and backward pass; more is faster and takes more memory. Can change the last
            bits of a vector, so a store keeps to one number.
        micro_batch_draws: noise draws of each clip in one forward and backward pass, likewise: a pass has
            batch_size x micro_batch_draws rows.
        threads: CPU threads for torch; 0 uses the default of the machine that creates the store. Can change the last
            bits of a vector, so a store keeps to one number.
    """

    model: str = field(default="toy", metadata=_CONTENT)
    base: str | None = field(default=None, metadata=_CONTENT)
    model_2: str | None = field(default=None, metadata=_CONTENT)
    revision: str | None = field(default=None, metadata=_CONTENT)
    dtype: str = field(default="auto", metadata=_CONTENT)
    quantize: Literal["none", "fp8", "nf4"] = field(default="none", metadata=_CONTENT)
    clip_spec: ClipSpec | None = field(default=None, metadata=_COMPARED)
    buckets: BucketConfig = field(default_factory=BucketConfig, metadata=_COMPARED)
    mask: MaskConfig = field(default_factory=MaskConfig, metadata=_COMPARED)
    draws: DrawConfig = field(default_factory=DrawConfig, metadata=_COMPARED)
    projection: ProjectionSpec = field(default_factory=ProjectionSpec, metadata=_COMPARED)
    lora: str | None = field(default=None, metadata=_CONTENT)
    parameters: tuple[str, ...] = field(default=("*",), metadata=_CONTENT)
    model_parts: tuple[str, ...] = field(default=(), metadata=_CONTENT)
    latents: str | None = field(default=None, metadata=_CONTENT)
    latents_fps: float | None = field(default=None, metadata=_CONTENT)
    segments: str = field(default="", metadata=_ROWS)
    batch_size: int = field(default=1, metadata=_EXACT)
    micro_batch_draws: int = field(default=1, metadata=_EXACT)
    threads: int = field(default=0, metadata=_EXACT)

    def __post_init__(self) -> None:
        check_choices(self)
        _require_positive(self, "batch_size", "micro_batch_draws")
        if self.threads < 0:
            raise ConfigError(_where(self), f"{{threads}} must be 0 or more, got {self.threads}; give a number")
        if not self.parameters:
            raise ConfigError(_where(self), "{parameters} must hold a pattern; '*' takes all")


@dataclass(frozen=True)
class RunConfig:
    """How to run. No vector depends on any of it, but on the kind of device in its last bits.

    Attributes:
        device: where the encoders and the transformer run: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        dataset_format: reader to use, or ``auto``.
        root: folder that the clips' files lie in, where that is not the folder of the table; may be repeated.
        path_map: OLD=NEW: paths that start with OLD, on another machine, start with the folder NEW here; may be
            repeated.
        follow_links: take clips that are symbolic links out of the dataset's folder, as hub caches have them.
        shard_cache: folder that shards at addresses (https://, s3://) are fetched to, each once; None is motive/shards in
            the user's cache folder.
        cache: folder for latents, masks and text embeddings; None is ``cache`` inside the store.
        checkpointing: recompute each block's activations in the backward pass instead of keeping them: about a third
            more time for a fraction of the memory, for long clips and large models. The vectors are the same.
        shard_rows: approximate clips per shard; a crash loses at most one shard per worker. With batch_size it fixes
            which clips share a pass: that is recorded in the store as its plan, which every later run into it follows.
        decode_threads: clips decoded ahead in parallel, each in a separate process.
        verify: compare the first batch's gradients with ordinary ones before trusting them. It takes about three passes
            once in each worker, and the memory of a training step without its optimizer.
    """

    device: str = "auto"
    dataset_format: str = "auto"
    root: tuple[str, ...] = repeated()
    path_map: tuple[str, ...] = repeated()
    follow_links: bool = False
    shard_cache: str | None = None
    cache: str | None = None
    checkpointing: bool = False
    shard_rows: int = 256
    decode_threads: int = 2
    verify: bool = True

    def __post_init__(self) -> None:
        _require_positive(self, "shard_rows", "decode_threads")


@dataclass(frozen=True)
class IndexConfig(RunConfig, VectorConfig):
    """Settings of motive.index: the fields of VectorConfig and of RunConfig in one."""

    def __post_init__(self) -> None:
        VectorConfig.__post_init__(self)
        RunConfig.__post_init__(self)

    @property
    def vectors(self) -> VectorConfig:
        """The half that decides vectors."""
        return VectorConfig(**{f.name: getattr(self, f.name) for f in dataclasses.fields(VectorConfig)})

    @property
    def run(self) -> RunConfig:
        """The half that says how to run."""
        return RunConfig(**{f.name: getattr(self, f.name) for f in dataclasses.fields(RunConfig)})

    @classmethod
    def of(cls, vectors: VectorConfig, run: RunConfig = RunConfig()) -> IndexConfig:
        """Put the two halves together."""
        return cls(**{f.name: getattr(half, f.name) for half in (vectors, run) for f in dataclasses.fields(half)})

    def to_json(self) -> dict[str, Any]:
        """The form of manifests and run records: each half by itself."""
        return {"vectors": to_json(self.vectors), "run": to_json(self.run)}

    @classmethod
    def from_json(cls, data: Any, where: str) -> IndexConfig:
        """What to_json wrote, now or in version 1, which had one flat object.

        Raises:
            OptionError: it does not fit, and how.
        """
        if not isinstance(data, Mapping):
            raise OptionError(f"{where}: the config must be an object, got {type(data).__name__}; restore the file")
        halves = data if not data or "vectors" in data else _of_version_1(data)
        if unknown := sorted(set(halves) - {"vectors", "run"}):
            raise OptionError(f"{where}: the config must hold vectors and run, got {unknown[0]!r}; restore the file")
        vectors = from_json(VectorConfig, halves.get("vectors", {}), where)
        return cls.of(vectors, from_json(RunConfig, halves.get("run", {}), where))


_RENAMED = {
    "standard": "clip_spec",
    "clips_per_pass": "batch_size",
    "draws_per_pass": "micro_batch_draws",
    "kind": "type",
}
"""Field of version 1 -> field now."""


def _of_version_1(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The two halves of a flat config with the old names; an unknown field stays, to be refused by name.

    ``costs``, measured speeds, is dropped: how a layer's gradients are taken follows from its shapes now.
    """
    named = {_RENAMED.get(name, name): value for name, value in data.items() if name != "costs"}
    projection = named.get("projection")
    if isinstance(projection, Mapping):
        named["projection"] = {_RENAMED.get(name, name): value for name, value in projection.items()}
    if "draws" in named:
        named["draws"] = draws_of_version_1(named["draws"])
    run = {f.name for f in dataclasses.fields(RunConfig)}
    return {
        "vectors": {name: value for name, value in named.items() if name not in run},
        "run": {name: value for name, value in named.items() if name in run},
    }


def names_with(*roles: Role) -> list[str]:
    """Fields of VectorConfig that have one of these roles, in order."""
    return [f.name for f in dataclasses.fields(VectorConfig) if f.metadata.get("role") in roles]
