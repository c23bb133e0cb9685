"""Transformer weights outside a diffusers folder: one safetensors or GGUF file, or shards in a trainer's own layout.

Names are brought to those of the diffusers class by the converters of ``from_single_file``. Values that are stored in
8 bits or fewer stay as stored until a name and a dtype are known for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motive.adapters.files import PICKLES, digest, pickled, weights_in
from motive.adapters.stored import FLOAT8, GgufFile, SafetensorsFile, Stored, row_scale, scale_keys
from motive.errors import ModelError
from motive.extras import require

PREFIXES = (
    "model.diffusion_model.",
    "diffusion_model.",
    "pipe.dit.",
    "pipe.vace.",
    "module.",
    "transformer.",
    "dit.",
    "_orig_mod.",
)
"""What tools put before a transformer's own names: ComfyUI, DiffSynth-Studio, distributed training, torch.compile."""

OTHER_PARTS = (
    "vae.",
    "first_stage_model.",
    "cond_stage_model.",
    "text_encoder.",
    "text_encoders.",
    "text_embedding_projection.",
    "audio_vae.",
    "vocoder.",
)
"""Other components in a file for a whole pipeline; they are taken from the base."""

_LORA = (".lora_A.", ".lora_B.", ".lora_down.", ".lora_up.", ".lokr_", ".hada_")
_ACCEPTED = (
    "the names of diffusers, or the original ones (Wan: blocks.0.self_attn.q.weight) with or without "
    "model.diffusion_model. (ComfyUI) or pipe.dit. (DiffSynth-Studio) before them"
)


@dataclass(frozen=True)
class Weight:
    """One parameter as its file holds it.

    Attributes:
        value: of its shape; uint8 bits where it is a float8.
        scale: what a float8 is multiplied by, [rows, 1] or [rows, blocks, 1]; None for 1.
    """

    value: Tensor
    scale: Tensor | None = None


class Checkpoint:
    """The weights of one transformer in a file, or in a folder of shards without a diffusers config.

    Args:
        path: the file or folder.

    Raises:
        ModelError: it is a pickle, cannot be read, holds LoRA factors, or is stored in a form that is not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = _files(path)
        self._where: dict[str, tuple[SafetensorsFile | GgufFile, str]] = {}
        for file in map(_open, self.files):
            for key in file.stored:
                name = _plain(key)
                if name.startswith(OTHER_PARTS):
                    continue
                if name in self._where:
                    raise ModelError(f"{path} holds {name} twice; give the file of one transformer")
                self._where[name] = (file, key)
        lora = next((name for name in self._where if any(mark in name for mark in _LORA)), None)
        if lora is not None:
            raise ModelError(
                f"{path} holds LoRA factors ({lora}), not a transformer's weights; give the base model with --model and "
                "this file with --lora"
            )
        self._scales, spare = scale_keys(path, {name: self._stored(name) for name in self._where}, self._read)
        for name in spare:
            del self._where[name]

    def _stored(self, name: str) -> Stored:
        file, key = self._where[name]
        return file.stored[key]

    def _read(self, name: str) -> Tensor:
        file, key = self._where[name]
        return file.read(key)

    @cached_property
    def lossy(self) -> dict[str, tuple[int, float]]:
        """Storage type of fewer than 16 bits -> (how many tensors have it, bits of one weight)."""
        found: dict[str, tuple[int, float]] = {}
        for name in self._where:
            stored = self._stored(name)
            if stored.bits < 16:
                kind = f"scaled {stored.type}" if name in self._scales else stored.type
                found[kind] = (found.get(kind, (0, 0))[0] + 1, stored.bits)
        return dict(sorted(found.items()))

    @property
    def tensors(self) -> int:
        """How many the file holds for the transformer."""
        return len(self._where)

    @cached_property
    def float8(self) -> torch.dtype | None:
        """The one float8 type in the file, or None."""
        found = {self._stored(name).type for name in self._where} & set(FLOAT8)
        if len(found) > 1:
            raise ModelError(f"{self.path} mixes {' and '.join(sorted(found))}; give a file with one of them")
        return FLOAT8[found.pop()] if found else None

    def fingerprint(self, config: Path) -> str:
        """32 hexadecimal digits of the contents and of the config that says what they are the weights of."""
        state = hashlib.blake2b(b"checkpoint\0", digest_size=16)
        for path in (*self.files, config):
            state.update(digest(path))
        return state.hexdigest()

    def check(self, name: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compare names and shapes with those of a diffusers class; reads no weights.

        Args:
            name: of the class.
            shapes: of its parameters and buffers.

        Raises:
            ModelError: the layout is unknown, the file is of another size or variant of the model, or its scales do not fit.
        """
        _ = self.float8
        for key, scales in self._scales.items():
            row_scale(self.path, key, self._stored(key).shape, scales)
        found = self._converted(name, shapes, lambda key: torch.empty(self._stored(key).shape, device="meta"))
        missing = sorted(set(shapes) - set(found))
        more = sorted(key for key in set(found) - set(shapes) if not _ignored(name, key))
        if missing or more:
            raise self._unknown(name, missing, more, len(shapes))
        for key, shape in shapes.items():
            if tuple(found[key].shape) != shape:
                raise ModelError(
                    f"{self.path} does not fit its base: {key} is {list(found[key].shape)} in the file and {list(shape)} "
                    "in the base's transformer/config.json; give the base of the same size and variant"
                )

    def weights(self, name: str, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> dict[str, Weight]:
        """Every parameter and buffer of the class: float8 as stored, what a GGUF file quantizes in dtype, others as stored."""

        def bits(key: str) -> Tensor:
            value, stored = self._read(key), self._stored(key)
            if stored.type in FLOAT8:
                return value.view(torch.uint8)
            return value.to(dtype) if stored.bits < 16 else value

        def scale(key: str) -> Tensor:
            shape = self._stored(key).shape
            if key not in self._scales:
                return torch.empty(shape, device="meta")
            return row_scale(self.path, key, shape, self._scales[key])

        values = self._converted(name, shapes, bits)
        scales = self._converted(name, shapes, scale)
        return {key: Weight(values[key], None if scales[key].is_meta else scales[key]) for key in shapes}

    def _converted(
        self, name: str, shapes: Mapping[str, tuple[int, ...]], make: Callable[[str], Tensor]
    ) -> dict[str, Tensor]:
        """Name in the diffusers class -> what ``make`` gives for it, split where the class splits it."""
        given = {key: make(key) for key in self._where}
        if set(shapes) <= set(given):
            return given
        convert = _converter(name)
        if convert is None:
            raise self._unknown(name, sorted(set(shapes) - set(given)), sorted(given), len(shapes))
        try:
            return convert(checkpoint=given, config={})
        except (KeyError, ValueError, RuntimeError, IndexError) as error:
            raise self._unknown(name, sorted(shapes), sorted(self._where), len(shapes)) from error

    def _unknown(self, name: str, missing: list[str], more: list[str], count: int) -> ModelError:
        first = ", ".join(list(self._where)[:3])
        lacks = f" It lacks {len(missing)} of {count} tensors, such as {missing[0]}." if missing else ""
        extra = f" It holds {len(more)} that the model does not have, such as {more[0]}." if more else ""
        return ModelError(
            f"{self.path} is not a whole {name} in a known layout; its first keys are {first}.{lacks}{extra} Accepted are "
            f"{_ACCEPTED}; give such a file, with the base of the same model"
        )


def _files(path: Path) -> list[Path]:
    """The file, or the shards of a folder."""
    found = weights_in(path) if path.is_dir() else [path]
    if not found:
        raise ModelError(f"{path} holds no files of weights; give a transformer's file or folder")
    if found[0].suffix.lower() in PICKLES:
        raise pickled(found[0])
    return [file for file in found if file.suffix.lower() not in PICKLES]


def _open(path: Path) -> SafetensorsFile | GgufFile:
    return GgufFile(path) if path.suffix.lower() == ".gguf" else SafetensorsFile(path)


def _plain(key: str) -> str:
    """A key without what tools put before a transformer's names."""
    key = key.replace("_orig_mod.", "")
    while True:
        prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), None)
        if prefix is None:
            return key
        key = key.removeprefix(prefix)


def _converter(name: str) -> Callable[..., dict[str, Tensor]] | None:
    single = require("diffusers.loaders.single_file_model", "load_adapter", extra="models")
    entry: Mapping[str, Any] | None = single.SINGLE_FILE_LOADABLE_CLASSES.get(name)
    return None if entry is None else entry["checkpoint_mapping_fn"]


def _ignored(name: str, key: str) -> bool:
    """Whether the class itself ignores such a key."""
    diffusers = require("diffusers", "load_adapter", extra="models")
    patterns = getattr(diffusers, name)._keys_to_ignore_on_load_unexpected or ()
    return any(pattern in key for pattern in patterns)
