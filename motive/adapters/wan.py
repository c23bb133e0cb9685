"""Wan from a diffusers folder, from text or a first frame: Wan 2.1, Wan 2.2 TI2V-5B, the experts of Wan 2.2 A14B."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from motive.adapters.base import Conditioning, Expert
from motive.adapters.files import fingerprint
from motive.adapters.first_frame import (
    BESIDE,
    IMAGE_ENCODER,
    INSIDE,
    beside,
    first_frame_mode,
    grey_after_first,
    image_embedder,
)
from motive.adapters.pipeline import PipelineAdapter, channel
from motive.data.video.clip_spec import ClipSpec
from motive.errors import ModelError
from motive.extras import require

TEXT_LENGTH = 512
"""Tokens of text that the transformer was trained with; shorter captions are padded with zeros."""


def clean_caption(text: str) -> str:
    """A caption as the Wan pipeline cleans it: repaired encoding, HTML entities resolved twice, single spaces."""
    ftfy = require("ftfy", "WanAdapter", extra="models")
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return re.sub(r"\s+", " ", text).strip()


_ORIGINAL = (
    (r"condition_embedder\.(text|time)_embedder\.linear_1", r"\1_embedding.0"),
    (r"condition_embedder\.(text|time)_embedder\.linear_2", r"\1_embedding.2"),
    (r"condition_embedder\.time_proj", "time_projection.1"),
    (r"condition_embedder\.image_embedder\.ff\.net\.0\.proj", "img_emb.proj.1"),
    (r"condition_embedder\.image_embedder\.ff\.net\.2", "img_emb.proj.3"),
    (r"^proj_out$", "head.head"),
    (r"^(vace_blocks\.\d+)\.proj_in$", r"\1.before_proj"),
    (r"^(vace_blocks\.\d+)\.proj_out$", r"\1.after_proj"),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.add_([kv])_proj$", r".\1_img"),
    (r"\.to_out\.0$", ".o"),
    (r"\.to_([qkv])$", r".\1"),
    (r"\.ffn\.net\.0\.proj$", ".ffn.0"),
    (r"\.ffn\.net\.2$", ".ffn.2"),
)


def original_wan_name(layer: str) -> str:
    """The name of a layer in Wan's own checkpoints."""
    for pattern, replacement in _ORIGINAL:
        layer = re.sub(pattern, replacement, layer)
    return layer


def predict_wan(
    transformer: nn.Module,
    noisy: Tensor,
    sigma: Tensor,
    text: Tensor,
    *,
    each_token: bool = False,
    given_frames: int = 0,
    image: Tensor | None = None,
    control: Tensor | None = None,
) -> Tensor:
    """The transformer's prediction in float32; the time step is 1000 sigma, float32 and not rounded.

    Args:
        each_token: give the time step once for each token, as models take it that may hold frames free of noise.
        given_frames: latent frames at the start that are free of noise, so at time 0; with each_token.
        image: embedding of the first frame, for models that take one.
        control: [n, channels, F, h, w] for the control branch of VACE.
    """
    weight = transformer.get_parameter("patch_embedding.weight")  # others may be kept in float32
    time = 1000 * sigma.float()
    if each_token:
        cells = [length // size for length, size in zip(noisy.shape[2:], weight.shape[2:], strict=True)]
        time = time[:, None].repeat(1, cells[0] * cells[1] * cells[2])
        time[:, : given_frames * cells[1] * cells[2]] = 0
    given = {"encoder_hidden_states_image": image, "control_hidden_states": control}
    seen = {name: value.to(weight.dtype) for name, value in given.items() if value is not None}
    return transformer(noisy.to(weight.dtype), time, text.to(weight.dtype), return_dict=False, **seen)[0].float()


class WanAdapter(PipelineAdapter):
    """Wan, text-to-video or image-to-video; arguments as PipelineAdapter.

    An image-to-video model sees the clip's own first frame, as in its training.
    """

    family = "wan"
    transformer_classes = ("WanTransformer3DModel",)
    components = {
        "transformer": ("diffusers", "WanTransformer3DModel"),
        "vae": ("diffusers", "AutoencoderKLWan"),
        "text_encoder": ("transformers", "UMT5EncoderModel"),
    }
    text_length = TEXT_LENGTH

    def _experts(self) -> tuple[Expert, ...]:
        return experts(self._index)

    def _check_channels(self) -> None:
        """Also decides whether the model sees a first frame, and how."""
        self._check_latent_statistics()
        if self._transformer.get("image_dim"):
            self.components = {**self.components, "image_encoder": IMAGE_ENCODER}
            self._check_components()
        self._first = first_frame_mode(self._index, self._transformer, self._latent_channels, self._strides[0])
        self._each_token = bool(self._index.get("expand_timesteps"))
        if not self._first and self._latent_channels == 16:  # musubi-tuner's normalisation is that of 16 channels
            self.precomputed = {"musubi-tuner": "wan", "FastVideo": "wan"}

    def _check_latent_statistics(self) -> None:
        for name in ("latents_mean", "latents_std"):
            if len(self._vae.get(name) or ()) != self._latent_channels:
                raise ModelError(
                    f"WanAdapter: {name} must have {self._latent_channels} numbers in vae/config.json, "
                    f"got {self._vae.get(name)!r}; copy the model's config again"
                )

    @property
    def _latent_channels(self) -> int:
        return int(self._vae.get("z_dim", 16))

    @property
    def _strides(self) -> tuple[int, int, int]:
        time, space = (int(self._vae.get(f"scale_factor_{a}", d)) for a, d in (("temporal", 4), ("spatial", 8)))
        return time, space, int(self._transformer.get("patch_size", (1, 2, 2))[1])

    @property
    def clip_spec(self) -> ClipSpec:
        """What the model was trained on: 81 frames at 16 a second, 480 x 832, as in the paper; TI2V-5B: 121 at 24."""
        if self._each_token:
            return ClipSpec(fps=24.0, frames=121, height=704, width=1280)
        return ClipSpec()

    @contextmanager
    def clip_encoder(self) -> Iterator[Callable[[Tensor], dict[str, Tensor]]]:
        with ExitStack() as stack:
            encode = stack.enter_context(self.video_encoder())
            embed = None
            if "image_encoder" in self.components:
                embed = stack.enter_context(image_embedder(self.folder, self.device, self.where))

            def whole(frames: Tensor) -> dict[str, Tensor]:
                found = {"latents": encode(frames)}
                if self._first:
                    found["first"] = encode(grey_after_first(frames) if self._first == BESIDE else frames[:1])
                if embed is not None:
                    found["image"] = embed(frames[0])
                return found

            yield whole

    def fingerprints(self) -> Mapping[str, str]:
        prints = dict(super().fingerprints())
        if "image_encoder" in self.components:
            prints["image_encoder"] = fingerprint(self.folder / "image_encoder", self.where)
            prints["image_encoder"] += fingerprint(self.folder / "image_processor", self.where, ("*.json",))
        return prints

    def settings(self) -> Mapping[str, Any]:
        return {**super().settings(), **({"first_frame": self._first} if self._first else {})}

    def loss_weights(self, weights: Tensor) -> Tensor:
        if self._first != INSIDE:
            return weights
        predicted = torch.ones(weights.shape[2], device=weights.device)
        predicted[0] = 0
        return weights * predicted[:, None, None]

    def lora_names(self, layer: str) -> Sequence[str]:
        return (original_wan_name(layer),)

    def normalised(self, latents: Tensor) -> Tensor:
        return self._normalised(None, latents[None])[0]

    def _normalised(self, vae: Any, latents: Tensor) -> Tensor:
        return (latents - channel(self._vae["latents_mean"], latents)) / channel(self._vae["latents_std"], latents)

    def _embed(self, captions: Sequence[str], loaded: Mapping[str, Any]) -> list[Conditioning]:
        ids, mask = self._tokens([clean_caption(c) for c in captions], loaded["tokenizer"])
        states = loaded["text_encoder"](ids, mask).last_hidden_state
        states = states.masked_fill((mask == 0).unsqueeze(-1), 0)
        return [{"text": row} for row in states.cpu()]

    def predict(self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        if self._first == BESIDE:
            noisy = beside(noisy, conditioning["first"], self._strides[0])
        elif self._first == INSIDE:
            noisy = torch.cat([conditioning["first"], noisy[:, :, 1:]], 2)
        return predict_wan(
            transformer,
            noisy,
            sigma,
            conditioning["text"],
            each_token=self._each_token,
            given_frames=int(self._first == INSIDE),
            image=conditioning.get("image"),
        )


def experts(index: Mapping[str, Any]) -> tuple[Expert, ...]:
    """One transformer, or two that share the noise levels at boundary_ratio (high noise first)."""
    second, boundary = index.get("transformer_2"), index.get("boundary_ratio")
    if not second or second[1] is None:
        return (Expert(),)
    if not isinstance(boundary, float) or not 0 < boundary < 1:
        raise ModelError(
            f"WanAdapter: boundary_ratio must be in (0, 1) for a model with transformer_2, got {boundary!r}; "
            "fix model_index.json"
        )
    return (Expert("transformer", boundary, 1.0), Expert("transformer_2", 0.0, boundary))
