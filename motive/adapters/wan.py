"""Wan 2.1 text-to-video (and the two experts of Wan 2.2 A14B) from a diffusers folder."""

from __future__ import annotations

import gc
import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from motive.adapters.base import Adapter, Conditioning, Expert
from motive.adapters.files import TOKENIZER_FILES, fingerprint, read_json
from motive.data.standardise import Standard
from motive.errors import ModelError, OptionError
from motive.extras import require

TEXT_LENGTH = 512
"""Tokens of text that the transformer was trained with; shorter captions are padded with zeros."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_COMPONENTS = {
    "transformer": ("diffusers", "WanTransformer3DModel"),
    "vae": ("diffusers", "AutoencoderKLWan"),
    "text_encoder": ("transformers", "UMT5EncoderModel"),
}

_LOAD_ERRORS = (OSError, ValueError, SafetensorError)
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


def clean_caption(text: str) -> str:
    """A caption as the Wan pipeline cleans it: mended encoding, HTML entities resolved twice, single spaces."""
    ftfy = require("ftfy", "WanAdapter", extra="models")
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return re.sub(r"\s+", " ", text).strip()


def load_wan_transformer(folder: Path, dtype: torch.dtype, device: torch.device, where: str) -> nn.Module:
    """A WanTransformer3DModel in eval mode whose parameters all require gradients.

    Raises:
        ModelError: the weights are not safetensors, do not fill the model, or are fused.
    """
    diffusers = require("diffusers", where, extra="models")
    try:
        model, info = diffusers.WanTransformer3DModel.from_pretrained(
            folder,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except _LOAD_ERRORS as error:
        raise _not_loaded(where, folder, error) from error
    _check_loaded(where, folder, info)
    return model.to(device).eval().requires_grad_(True)


def _not_loaded(where: str, folder: Path, error: BaseException) -> ModelError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelError(
        f"{where}: {folder} must hold config.json and safetensors weights, got {reason}; "
        "give a complete diffusers folder"
    )


def _check_loaded(where: str, folder: Path, info: Mapping[str, Any]) -> None:
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
            f"{where}: {folder} must hold every weight, got none of that shape for {missing[0]} "
            f"and {len(missing) - 1} more; copy the model again"
        )


def wan_parameter_shapes(folder: Path, where: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a WanTransformer3DModel's parameters from its config alone; loads no weights."""
    diffusers = require("diffusers", where, extra="models")
    config = read_json(folder / "config.json", where)
    try:
        with torch.device("meta"):
            model = diffusers.WanTransformer3DModel.from_config(config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{where}: {folder / 'config.json'} must be a WanTransformer3DModel config, got {error}; copy the model again"
        ) from error
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def predict_wan(transformer: nn.Module, noisy: Tensor, sigma: Tensor, text: Tensor) -> Tensor:
    """The transformer's prediction in float32; the time step is 1000 sigma, float32 and not rounded."""
    dtype = transformer.get_parameter("patch_embedding.weight").dtype  # others may be kept in float32
    return transformer(noisy.to(dtype), 1000 * sigma.float(), text.to(dtype), return_dict=False)[0].float()


class WanAdapter(Adapter):
    """Wan text-to-video.

    Args:
        folder: diffusers pipeline folder (model_index.json, transformer, vae, text_encoder, tokenizer).
        device: where encoders and transformer run.
        dtype: of the transformer: ``bfloat16``, ``float16``, ``float32``; None: bfloat16 on a GPU, else float32. The
            modules that diffusers keeps in float32 stay so. The VAE always runs in float32.
        text_dtype: of the text encoder; None: as `dtype`'s default.

    Raises:
        ModelError: the folder is no Wan text-to-video pipeline.
        OptionError: a device or dtype that cannot be used.
    """

    family = "wan"
    transformer_classes = ("WanTransformer3DModel",)

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: str | None = None,
        text_dtype: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.device = resolve_device(device, "WanAdapter")
        self.dtype = resolve_dtype(dtype, self.device, "WanAdapter")
        self.text_dtype = resolve_dtype(text_dtype, self.device, "WanAdapter")
        index = read_json(self.folder / "model_index.json", "WanAdapter")
        for name, expected in _COMPONENTS.items():
            if tuple(index.get(name) or ()) != expected:
                raise ModelError(
                    f"WanAdapter: {name} must be {expected[1]} of {expected[0]}, got {index.get(name)!r}; "
                    "give a Wan text-to-video pipeline without custom code"
                )
        self._vae = read_json(self.folder / "vae" / "config.json", "WanAdapter")
        self._transformer = read_json(self.folder / "transformer" / "config.json", "WanAdapter")
        if index.get("expand_timesteps"):
            raise ModelError(
                "WanAdapter: expand_timesteps must be false, got true; per-token time steps (Wan2.2-TI2V-5B) "
                "are not supported, use Wan2.1-T2V or Wan2.2-T2V-A14B"
            )
        if self._transformer.get("in_channels") != self._latent_channels or self._transformer.get("image_dim"):
            raise ModelError(
                f"WanAdapter: transformer in_channels must be {self._latent_channels} without image conditioning, "
                f"got {self._transformer.get('in_channels')}; use a text-to-video model"
            )
        for name in ("latents_mean", "latents_std"):
            if len(self._vae.get(name) or ()) != self._latent_channels:
                raise ModelError(
                    f"WanAdapter: {name} must have {self._latent_channels} numbers in vae/config.json, "
                    f"got {self._vae.get(name)!r}; copy the model's config again"
                )
        self.experts = _experts(index)

    @property
    def _latent_channels(self) -> int:
        return int(self._vae.get("z_dim", 16))

    @property
    def standard(self) -> Standard:
        """81 frames at 16 frames a second, 480 x 832: what Wan 2.1 was trained on and the paper uses."""
        return Standard()

    def latent_shape(self, standard: Standard) -> tuple[int, int, int, int]:
        space, time = (int(self._vae.get(f"scale_factor_{a}", d)) for a, d in (("spatial", 8), ("temporal", 4)))
        _, patch_h, patch_w = self._transformer.get("patch_size", (1, 2, 2))
        cell_h, cell_w = space * patch_h, space * patch_w
        if standard.height % cell_h or standard.width % cell_w:
            raise OptionError(
                f"WanAdapter: height and width must be multiples of {cell_h} and {cell_w}, "
                f"got {standard.height} x {standard.width}; "
                f"use {max(1, standard.height // cell_h) * cell_h} x {max(1, standard.width // cell_w) * cell_w}"
            )
        return (
            self._latent_channels,
            (standard.frames - 1) // time + 1,
            standard.height // space,
            standard.width // space,
        )

    def fingerprints(self) -> Mapping[str, str]:
        prints = {e.component: fingerprint(self.folder / e.component, "WanAdapter") for e in self.experts}
        prints["vae"] = fingerprint(self.folder / "vae", "WanAdapter")
        words = fingerprint(self.folder / "tokenizer", "WanAdapter", TOKENIZER_FILES)
        prints["text_encoder"] = fingerprint(self.folder / "text_encoder", "WanAdapter") + words
        return prints

    @contextmanager
    def video_encoder(self) -> Iterator[Callable[[Tensor], Tensor]]:
        held = [self._load_vae()]  # emptied on exit, so that a caller who keeps `encode` does not keep the model
        shape = (1, -1, 1, 1, 1)
        mean = torch.tensor(self._vae["latents_mean"], device=self.device).view(shape)
        std = torch.tensor(self._vae["latents_std"], device=self.device).view(shape)

        @torch.no_grad()
        def encode(frames: Tensor) -> Tensor:
            video = frames.to(self.device).float().permute(3, 0, 1, 2)[None] / 127.5 - 1
            latents = (held[0].encode(video).latent_dist.mode() - mean) / std
            return latents[0].float().cpu()

        try:
            yield encode
        finally:
            held.clear()
            self._free()

    @contextmanager
    def text_encoder(self) -> Iterator[Callable[[Sequence[str]], list[Conditioning]]]:
        model, tokenizer = self._load_text_encoder()
        held = [model]  # emptied on exit, so that a caller who keeps `encode` does not keep the model
        del model

        @torch.no_grad()
        def encode(captions: Sequence[str]) -> list[Conditioning]:
            if not captions:
                return []
            tokens = tokenizer(
                [clean_caption(c) for c in captions],
                padding="max_length",
                max_length=TEXT_LENGTH,
                truncation=True,
                add_special_tokens=True,
                return_attention_mask=True,
                return_tensors="pt",
            )
            ids, mask = tokens.input_ids.to(self.device), tokens.attention_mask.to(self.device)
            states = held[0](ids, mask).last_hidden_state
            states = states.masked_fill((mask == 0).unsqueeze(-1), 0)
            return [{"text": row} for row in states.cpu()]

        try:
            yield encode
        finally:
            held.clear()
            self._free()

    def load_transformer(self, expert: Expert) -> nn.Module:
        return load_wan_transformer(self.folder / expert.component, self.dtype, self.device, "WanAdapter")

    def parameter_shapes(self, expert: Expert) -> Mapping[str, tuple[int, ...]]:
        return wan_parameter_shapes(self.folder / expert.component, "WanAdapter")

    def predict(self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        return predict_wan(transformer, noisy, sigma, conditioning["text"])

    def settings(self) -> Mapping[str, Any]:
        return {
            "dtype": str(self.dtype).removeprefix("torch."),
            "text_dtype": str(self.text_dtype).removeprefix("torch."),
            "text_length": TEXT_LENGTH,
            "vae_dtype": "float32",
        }

    def _load_vae(self) -> Any:
        diffusers = require("diffusers", "WanAdapter", extra="models")
        folder = self.folder / "vae"
        try:
            vae, info = diffusers.AutoencoderKLWan.from_pretrained(
                folder,
                torch_dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        except _LOAD_ERRORS as error:
            raise _not_loaded("WanAdapter", folder, error) from error
        _check_loaded("WanAdapter", folder, info)
        return vae.to(self.device).eval().requires_grad_(False)

    def _load_text_encoder(self) -> tuple[Any, Any]:
        transformers = require("transformers", "WanAdapter", extra="models")
        folder = self.folder / "text_encoder"
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                self.folder / "tokenizer", local_files_only=True, trust_remote_code=False
            )
            model, info = transformers.UMT5EncoderModel.from_pretrained(
                folder,
                dtype=self.text_dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except _LOAD_ERRORS as error:
            raise _not_loaded("WanAdapter", folder, error) from error
        _check_loaded("WanAdapter", folder, info)
        return model.to(self.device).eval().requires_grad_(False), tokenizer

    def _free(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _experts(index: Mapping[str, Any]) -> tuple[Expert, ...]:
    """One transformer, or two that share the noise levels at boundary_ratio (high noise first)."""
    second, boundary = index.get("transformer_2"), index.get("boundary_ratio")
    if not second or second[1] is None:
        return (Expert(),)
    if not isinstance(boundary, float) or not 0 < boundary < 1:
        raise ModelError(
            f"WanAdapter: boundary_ratio must be in (0, 1) for a model with transformer_2, got {boundary!r}; "
            "mend model_index.json"
        )
    return (Expert("transformer", boundary, 1.0), Expert("transformer_2", 0.0, boundary))
