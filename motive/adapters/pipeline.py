"""Shared parts of adapters of diffusers pipeline folders: components, encoders one after the other, fingerprints."""

from __future__ import annotations

import gc
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from motive.adapters.base import Adapter, Conditioning, Expert, TrainingNoise
from motive.adapters.files import TOKENIZER_FILES, check_weights, fingerprint, read_json
from motive.adapters.loading import (
    LOAD_ERRORS,
    load_model,
    not_loaded,
    resolve_device,
    resolve_dtype,
)
from motive.adapters.low_bit import Quantize, nf4
from motive.adapters.source import Source, source_of, stored_as
from motive.data.video.clip_spec import ClipSpec
from motive.errors import ModelError, OptionError
from motive.extras import require


class PipelineAdapter(Adapter):
    """A text-to-video pipeline folder.

    Args:
        folder: diffusers pipeline folder (model_index.json, transformer, vae, text_encoder, tokenizer).
        device: where encoders and transformer run.
        dtype: of the transformer: ``bfloat16``, ``float16``, ``float32``; None: bfloat16 on a GPU, else float32. The
            modules that diffusers keeps in float32 stay so. The VAE always runs in float32.
        text_dtype: of the text encoder; None: as `dtype`'s default.
        transformers: component -> file or folder of a transformer to take in place of the folder's.
        quantize: hold the transformer's weights in ``fp8`` or ``nf4``; then none of them has a gradient, and a LoRA's
            factors have.

    Raises:
        ModelError: the folder is no such pipeline.
        OptionError: a device or dtype that cannot be used.
    """

    components: Mapping[str, tuple[str, str]]
    """Name of each component with weights -> (library, class) that model_index.json must give."""

    text_length: int
    """Tokens of text that captions are padded or cut to."""

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: str | None = None,
        text_dtype: str | None = None,
        transformers: Mapping[str, Path] | None = None,
        quantize: Quantize = "none",
    ) -> None:
        self.where = type(self).__name__
        self.folder = Path(folder)
        self.device = resolve_device(device, self.where)
        self.dtype = resolve_dtype(dtype, self.device, self.where)
        self.text_dtype = resolve_dtype(text_dtype, self.device, self.where)
        self.quantize: Quantize = quantize
        if quantize == "nf4":
            nf4(self.dtype, self.device)  # refuses what cannot be had before any work is done
        self._index = read_json(self.folder / "model_index.json", self.where)
        self._check_components()
        self._vae = read_json(self.folder / "vae" / "config.json", self.where)
        self.experts = self._experts()
        self._sources = self._find_sources(transformers or {})
        self._transformer = read_json(self._sources["transformer"].config, self.where)
        self._check_channels()
        for name in self.components:
            if name in self._sources:
                self._sources[name].check()
            else:
                check_weights(self.folder / name)

    def _check_components(self) -> None:
        for name, expected in self.components.items():
            if tuple(self._index.get(name) or ()) != expected:
                raise ModelError(
                    f"{self.where}: {name} must be {expected[1]} of {expected[0]}, got {self._index.get(name)!r}; "
                    f"give a {self.family} text-to-video pipeline without custom code"
                )

    def _experts(self) -> tuple[Expert, ...]:
        """The transformers of this folder."""
        return (Expert(),)

    def _find_sources(self, given: Mapping[str, Path]) -> dict[str, Source]:
        """Expert -> its weights: those given, or the folder's."""
        known = [expert.component for expert in self.experts]
        for name, path in given.items():
            if name not in known:
                raise ModelError(
                    f"{path} is for {name}, and the pipeline {self.folder} has {' and '.join(known)} alone; give it with "
                    "--model, or give the base of a model with two experts"
                )
        cls = self.components["transformer"][1]
        return {name: source_of(given.get(name), self.folder / name, cls, self.where) for name in known}

    def _check_channels(self) -> None:
        """Refuse a transformer that takes more than latents; families that know what to give it override this."""
        if self._transformer.get("in_channels") != self._latent_channels or self._transformer.get("image_dim"):
            raise ModelError(
                f"{self.where}: transformer in_channels must be {self._latent_channels} without image conditioning, "
                f"got {self._transformer.get('in_channels')}; use a text-to-video model"
            )

    @property
    @abstractmethod
    def _latent_channels(self) -> int:
        """Of the VAE."""

    @property
    @abstractmethod
    def _strides(self) -> tuple[int, int, int]:
        """Frames of a latent frame, pixels of a latent cell, latent cells of a token."""

    @abstractmethod
    def _normalised(self, vae: Any, latents: Tensor) -> Tensor:
        """The VAE's latents [1, c, F, h, w] as the transformer was trained on them."""

    @abstractmethod
    def _embed(self, captions: Sequence[str], loaded: Mapping[str, Any]) -> list[Conditioning]:
        """The conditioning of each caption, from the components that ``_text_components`` names, by name."""

    _text_components: Mapping[str, str] = {"text_encoder": "tokenizer"}
    """Text encoders and their tokenizers."""

    def latent_shape(self, clip_spec: ClipSpec) -> tuple[int, int, int, int]:
        time, space, patch = self._strides
        cell = space * patch
        if clip_spec.height % cell or clip_spec.width % cell:
            raise OptionError(
                f"{self.where}: height and width must be multiples of {cell} and {cell}, "
                f"got {clip_spec.height} x {clip_spec.width}; "
                f"use {max(1, clip_spec.height // cell) * cell} x {max(1, clip_spec.width // cell) * cell}"
            )
        if clip_spec.frames % time != 1 % time:
            raise OptionError(
                f"{self.where}: frames must be {time} n + 1, got {clip_spec.frames}; "
                f"use {max(1, clip_spec.frames // time) * time + 1}"
            )
        frames = (clip_spec.frames - 1) // time + 1
        return self._latent_channels, frames, clip_spec.height // space, clip_spec.width // space

    def fingerprints(self) -> Mapping[str, str]:
        for source in self._sources.values():  # the second one too, before any work is done
            source.check()
        prints = {name: source.fingerprint() for name, source in self._sources.items()}
        prints["vae"] = fingerprint(self.folder / "vae", self.where)
        for encoder, tokenizer in self._text_components.items():
            words = fingerprint(self.folder / tokenizer, self.where, TOKENIZER_FILES)
            prints[encoder] = fingerprint(self.folder / encoder, self.where) + words
        if len(self._text_components) > 1:
            prints["text_encoder"] = "".join(prints.pop(encoder) for encoder in self._text_components)
        return prints

    @contextmanager
    def video_encoder(self) -> Iterator[Callable[[Tensor], Tensor]]:
        vae = load_model(self.components["vae"], self.folder / "vae", torch.float32, self.where)
        held = [vae.to(self.device).eval().requires_grad_(False)]  # emptied on exit: `encode` may be kept longer
        del vae

        @torch.no_grad()
        def encode(frames: Tensor) -> Tensor:
            video = frames.to(self.device).float().permute(3, 0, 1, 2)[None] / 127.5 - 1
            return self._normalised(held[0], held[0].encode(video).latent_dist.mode())[0].float().cpu()

        try:
            yield encode
        finally:
            held.clear()
            self._free()

    @contextmanager
    def text_encoder(self) -> Iterator[Callable[[Sequence[str]], list[Conditioning]]]:
        held = self._load_text()  # emptied on exit, so that a caller who keeps `encode` does not keep the models

        @torch.no_grad()
        def encode(captions: Sequence[str]) -> list[Conditioning]:
            return self._embed(captions, held) if captions else []

        try:
            yield encode
        finally:
            held.clear()
            self._free()

    def _load_text(self) -> dict[str, Any]:
        """What _embed is given: encoders and tokenizers by name."""
        held: dict[str, Any] = {}
        for encoder, tokenizer in self._text_components.items():
            held[tokenizer] = self._load_tokenizer(tokenizer)
            model = load_model(self.components[encoder], self.folder / encoder, self.text_dtype, self.where)
            held[encoder] = model.to(self.device).eval().requires_grad_(False)
        return held

    def load_transformer(self, expert: Expert) -> nn.Module:
        return self._sources[expert.component].load(self.dtype, self.device, self.quantize)

    def parameter_shapes(self, expert: Expert) -> Mapping[str, tuple[int, ...]]:
        return self._sources[expert.component].shapes()

    def weight_notes(self) -> Sequence[str]:
        return [
            line for name, source in self._sources.items() for line in source.notes(name, self.dtype, self.quantize)
        ]

    def training_noise(self, latent_shape: tuple[int, int, int, int]) -> TrainingNoise:
        """Logit-normal, with the shift of the pipeline's scheduler: a fixed one, or one that grows with the tokens."""
        config = read_json(self.folder / "scheduler" / "scheduler_config.json", self.where)
        if not config.get("use_dynamic_shifting"):
            return TrainingNoise("logit_normal", float(config.get("flow_shift") or config.get("shift") or 1.0))
        _, frames, height, width = latent_shape
        tokens = frames * height * width / self._strides[2] ** 2
        few, many = (float(config.get(f"{a}_image_seq_len", d)) for a, d in (("base", 256), ("max", 4096)))
        least, most = (float(config.get(f"{a}_shift", d)) for a, d in (("base", 0.5), ("max", 1.15)))
        mu = least + (most - least) * (tokens - few) / (many - few)
        return TrainingNoise("logit_normal", mu if config.get("time_shift_type") == "linear" else math.exp(mu))

    def settings(self) -> Mapping[str, Any]:
        return {
            "dtype": str(self.dtype).removeprefix("torch."),
            "text_dtype": str(self.text_dtype).removeprefix("torch."),
            "text_length": self.text_length,
            "vae_dtype": "float32",
            **stored_as(self._sources, self.quantize),
        }

    def _tokens(self, captions: Sequence[str], tokenizer: Any) -> tuple[Tensor, Tensor]:
        """Ids and mask [n, text_length] on the device."""
        tokens = tokenizer(
            list(captions),
            padding="max_length",
            max_length=self.text_length,
            truncation=True,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return tokens.input_ids.to(self.device), tokens.attention_mask.to(self.device)

    def _load_tokenizer(self, name: str) -> Any:
        transformers = require("transformers", self.where, extra="models")
        try:
            return transformers.AutoTokenizer.from_pretrained(
                self.folder / name, local_files_only=True, trust_remote_code=False
            )
        except LOAD_ERRORS as error:
            raise not_loaded(self.where, self.folder / name, error) from error

    def _free(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def channel(values: Sequence[float], like: Tensor) -> Tensor:
    """A number for each channel, to be broadcast over latents [n, c, F, h, w]."""
    return torch.tensor(values, device=like.device, dtype=like.dtype).view(1, -1, 1, 1, 1)
