"""Mochi 1 text-to-video from a diffusers folder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from motive.adapters.base import Conditioning
from motive.adapters.pipeline import PipelineAdapter, channel
from motive.data.video.clip_spec import ClipSpec


class MochiAdapter(PipelineAdapter):
    """Mochi 1; arguments as PipelineAdapter. Its time runs from noise to data, and its velocity points to the data."""

    family = "mochi"
    transformer_classes = ("MochiTransformer3DModel",)
    components = {
        "transformer": ("diffusers", "MochiTransformer3DModel"),
        "vae": ("diffusers", "AutoencoderKLMochi"),
        "text_encoder": ("transformers", "T5EncoderModel"),
    }
    text_length = 256

    @property
    def _latent_channels(self) -> int:
        return int(self._vae.get("latent_channels", 12))

    @property
    def _strides(self) -> tuple[int, int, int]:
        space = 1
        for factor in self._vae.get("spatial_expansions", (2, 2, 2)):
            space *= int(factor)
        time = 1
        for factor in self._vae.get("temporal_expansions", (1, 2, 3)):
            time *= int(factor)
        return time, space, int(self._transformer.get("patch_size", 2))

    @property
    def clip_spec(self) -> ClipSpec:
        """85 frames at 30 a second, 480 x 848."""
        return ClipSpec(fps=30.0, frames=85, height=480, width=848)

    def _normalised(self, vae: Any, latents: Tensor) -> Tensor:
        scale = float(self._vae.get("scaling_factor", 1.0))
        mean, std = self._vae.get("latents_mean"), self._vae.get("latents_std")
        if mean is None or std is None:
            return latents * scale
        return (latents - channel(mean, latents)) * scale / channel(std, latents)

    def _embed(self, captions: Sequence[str], loaded: Mapping[str, Any]) -> list[Conditioning]:
        ids, mask = self._tokens(captions, loaded["tokenizer"])
        states = loaded["text_encoder"](ids, mask).last_hidden_state
        return [{"text": row, "mask": m} for row, m in zip(states.cpu(), mask.cpu(), strict=True)]

    def add_noise(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        noisy, velocity = super().add_noise(latents, noise, sigma)
        return noisy, -velocity

    def predict(self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        dtype = transformer.get_parameter("patch_embed.proj.weight").dtype
        with warnings.catch_warnings():
            # The model turns autocast to float32, which torch refuses on the CPU with a warning each time.
            warnings.filterwarnings("ignore", message="In CPU autocast")
            return transformer(
                noisy.to(dtype),
                conditioning["text"].to(dtype),
                1000 * (1 - sigma.float()),
                conditioning["mask"].bool(),
                return_dict=False,
            )[0].float()
