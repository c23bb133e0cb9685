"""The resolved settings of an index run, and their JSON form.

The same introspection of the dataclasses serves the JSON of run.json and the flags of the command line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from motive.data.video.standardise import Standard
from motive.errors import OptionError
from motive.gradients.draws import DrawConfig
from motive.masks import MaskConfig
from motive_kernels import ProjectionSpec


def repeated() -> Any:
    """A field of texts whose flag is given once for each."""
    return field(default=(), metadata={"repeated": True})


@dataclass(frozen=True)
class ReadConfig:
    """How the clips of a dataset are read, where it is not the one that a store was made from.

    Attributes:
        dataset_format: reader to use, or ``auto``.
        root: folder that the clips' files lie in, where that is not the folder of the table; may be repeated.
        path_map: OLD=NEW: paths that start with OLD, on another machine, start with the folder NEW here; may be
            repeated.
        follow_links: take files that are symbolic links out of their folder; None does as for the store.
    """

    dataset_format: str = "auto"
    root: tuple[str, ...] = repeated()
    path_map: tuple[str, ...] = repeated()
    follow_links: bool | None = None


@dataclass(frozen=True)
class IndexConfig:
    """Everything that decides the vectors of a store, and how the run goes about it.

    Attributes:
        model: ``toy``, a local diffusers directory, or a hub id such as Wan-AI/Wan2.1-T2V-1.3B-Diffusers.
        revision: branch, tag or commit of a hub id; a commit makes a run repeatable after the hub's copy has moved on.
        device: where the encoders and the transformer run: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        dtype: of the model's weights: ``auto`` (float32 on the CPU, bfloat16 on a GPU), ``float32``, ``bfloat16``.
        standard: clip standardisation; None takes the model's own.
        mask: motion mask.
        draws: shared noise levels and noise.
        projection: the random map.
        lora: safetensors file of low-rank factors to put into the transformer, by the keys of peft, diffusers, kohya
            or musubi, or DiffSynth.
        parameters: name patterns (``*`` matches anything) of the transformer's parameters to attribute; the paper
            takes all; ``lora`` stands for the factors.
        model_parts: parts of the model that get a vector each, side by side in a clip's vector, for motive score
            --model-part: NAME=PATTERN[,PATTERN] (attention=*attn*), or a name with a star (blocks.*) for a part of
            each name that stands for it; what none takes is the part rest. Empty for one vector of all.
        segments: parts of each clip that get a vector each: ``time:N``, N windows of time, or ``regions``, masks from
            the file clip.regions.safetensors beside clip.mp4; empty for whole clips.
        dataset_format: reader to use, or ``auto``.
        root: folder that the clips' files lie in, where that is not the folder of the table; may be repeated.
        path_map: OLD=NEW: paths that start with OLD, on another machine, start with the folder NEW here; may be
            repeated.
        follow_links: take clips that are symbolic links out of the dataset's folder, as hub caches have them.
        cache: folder for latents, masks and text embeddings; None is ``cache`` inside the store.
        draws_per_pass: draws that share one forward and backward pass; more is faster and takes more memory.
        clips_per_pass: clips that share one forward and backward pass, likewise.
        checkpointing: recompute each block's activations in the backward pass instead of keeping them: about a third
            more time for a fraction of the memory, for long clips and large models. The vectors are the same.
        shard_rows: clips in one committed shard, about; at most so many a worker are lost by a crash.
        decode_threads: clips decoded ahead in parallel, each in a process of its own.
        threads: of torch on the CPU; 0 takes those of the machine where the store is begun. Vectors can depend on it
            in their last bits, so a store keeps to one number.
        verify: compare the first batch's gradients with ordinary ones before trusting them. It takes about three passes
            once in each worker, and the memory of a training step without its optimizer.
    """

    model: str = "toy"
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    standard: Standard | None = None
    mask: MaskConfig = field(default_factory=MaskConfig)
    draws: DrawConfig = field(default_factory=DrawConfig)
    projection: ProjectionSpec = field(default_factory=ProjectionSpec)
    lora: str | None = None
    parameters: tuple[str, ...] = ("*",)
    model_parts: tuple[str, ...] = ()
    segments: str = ""
    dataset_format: str = "auto"
    root: tuple[str, ...] = repeated()
    path_map: tuple[str, ...] = repeated()
    follow_links: bool = False
    cache: str | None = None
    draws_per_pass: int = 1
    clips_per_pass: int = 1
    checkpointing: bool = False
    shard_rows: int = 256
    decode_threads: int = 2
    threads: int = 0
    verify: bool = True

    def __post_init__(self) -> None:
        for name in ("draws_per_pass", "clips_per_pass", "shard_rows", "decode_threads"):
            if getattr(self, name) < 1:
                raise OptionError(f"IndexConfig: {name} must be at least 1, got {getattr(self, name)}; give a number")
        if self.threads < 0:
            raise OptionError(f"IndexConfig: threads must be 0 or more, got {self.threads}; give a number")
        if not self.parameters:
            raise OptionError("IndexConfig: parameters must hold a pattern, got none; '*' takes all")
