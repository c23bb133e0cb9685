"""LTX-Video text-to-video from a diffusers folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from motive.adapters.base import Conditioning
from motive.adapters.pipeline import PipelineAdapter
from motive.data.video.clip_spec import ClipSpec


class LTXAdapter(PipelineAdapter):
    """LTX-Video; arguments as PipelineAdapter. The transformer sees latent cells as a list of tokens."""

    family = "ltx"
    transformer_classes = ("LTXVideoTransformer3DModel",)
    components = {
        "transformer": ("diffusers", "LTXVideoTransformer3DModel"),
        "vae": ("diffusers", "AutoencoderKLLTXVideo"),
        "text_encoder": ("transformers", "T5EncoderModel"),
    }
    text_length = 128

    @property
    def _latent_channels(self) -> int:
        return int(self._vae.get("latent_channels", 128))

    @property
    def _strides(self) -> tuple[int, int, int]:
        halvings = 2 ** sum(bool(s) for s in self._vae.get("spatio_temporal_scaling", (True, True, True, False)))
        time = self._vae.get("temporal_compression_ratio") or self._vae.get("patch_size_t", 1) * halvings
        space = self._vae.get("spatial_compression_ratio") or self._vae.get("patch_size", 4) * halvings
        return int(time), int(space), int(self._transformer.get("patch_size", 1))

    @property
    def clip_spec(self) -> ClipSpec:
        """The pipeline's own: 161 frames at 25 a second, 512 x 704."""
        return ClipSpec(fps=25.0, frames=161, height=512, width=704)

    def _normalised(self, vae: Any, latents: Tensor) -> Tensor:
        mean, std = (v.to(latents).view(1, -1, 1, 1, 1) for v in (vae.latents_mean, vae.latents_std))
        return (latents - mean) * float(self._vae.get("scaling_factor", 1.0)) / std

    def _embed(self, captions: Sequence[str], loaded: Mapping[str, Any]) -> list[Conditioning]:
        ids, mask = self._tokens(captions, loaded["tokenizer"])
        states = loaded["text_encoder"](ids).last_hidden_state  # the encoder sees the padding, the transformer does not
        return [{"text": row, "mask": m} for row, m in zip(states.cpu(), mask.cpu(), strict=True)]

    def predict(self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        dtype = transformer.get_parameter("proj_in.weight").dtype
        time, space, _ = self._strides
        frames, height, width = noisy.shape[2:]
        tokens = transformer(
            noisy.flatten(2).transpose(1, 2).to(dtype),
            conditioning["text"].to(dtype),
            1000 * sigma.float(),
            conditioning["mask"],
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=(time / self.clip_spec.fps, space, space),
            return_dict=False,
        )[0]
        return tokens.transpose(1, 2).unflatten(2, (frames, height, width)).float()
