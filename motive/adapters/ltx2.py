"""LTX-2 text-to-video from a diffusers folder: its video part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from motive.adapters.base import Conditioning
from motive.adapters.files import fingerprint
from motive.adapters.loading import load_model
from motive.adapters.pipeline import PipelineAdapter
from motive.data.video.clip_spec import ClipSpec


class LTX2Adapter(PipelineAdapter):
    """LTX-2 and 2.3; arguments as PipelineAdapter.

    The video stream is run by itself: attention between video and audio is off, as in the pipeline's own pass for one
    modality, so that no sound is invented for a clip. Parameters of the audio stream have no gradient and are left out.
    """

    family = "ltx2"
    transformer_classes = ("LTX2VideoTransformer3DModel",)
    components = {
        "transformer": ("diffusers", "LTX2VideoTransformer3DModel"),
        "vae": ("diffusers", "AutoencoderKLLTX2Video"),
        "text_encoder": ("transformers", "Gemma3ForConditionalGeneration"),
        "connectors": ("ltx2", "LTX2TextConnectors"),
    }
    text_length = 1024

    @property
    def _latent_channels(self) -> int:
        return int(self._vae.get("latent_channels", 128))

    @property
    def _strides(self) -> tuple[int, int, int]:
        types = self._vae.get("downsample_type", ("spatial", "temporal", "spatiotemporal", "spatiotemporal"))
        scaled = self._vae.get("spatio_temporal_scaling", True)
        scaled = (scaled,) * len(types) if isinstance(scaled, bool) else scaled
        used = [name for name, scales in zip(types, scaled, strict=False) if scales]
        time = self._vae.get("temporal_compression_ratio") or self._vae.get("patch_size_t", 1) * 2 ** sum(
            name != "spatial" for name in used
        )
        space = self._vae.get("spatial_compression_ratio") or self._vae.get("patch_size", 4) * 2 ** sum(
            name != "temporal" for name in used
        )
        return int(time), int(space), int(self._transformer.get("patch_size", 1))

    @property
    def clip_spec(self) -> ClipSpec:
        """The pipeline's own: 121 frames at 24 a second, 512 x 768."""
        return ClipSpec(fps=24.0, frames=121, height=512, width=768)

    def fingerprints(self) -> Mapping[str, str]:
        prints = dict(super().fingerprints())
        prints["text_encoder"] += fingerprint(self.folder / "connectors", self.where)
        return prints

    def _normalised(self, vae: Any, latents: Tensor) -> Tensor:
        mean, std = (v.to(latents).view(1, -1, 1, 1, 1) for v in (vae.latents_mean, vae.latents_std))
        return (latents - mean) * float(self._vae.get("scaling_factor", 1.0)) / std

    def _load_text(self) -> dict[str, Any]:
        connectors = load_model(
            ("diffusers.pipelines.ltx2", "LTX2TextConnectors"), self.folder / "connectors", self.text_dtype, self.where
        )
        return {**super()._load_text(), "connectors": connectors.to(self.device).eval().requires_grad_(False)}

    def _embed(self, captions: Sequence[str], loaded: Mapping[str, Any]) -> list[Conditioning]:
        tokenizer = loaded["tokenizer"]
        tokenizer.padding_side = "left"
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        found = []
        for caption in captions:  # one at a time: the states of every layer are kept
            ids, mask = self._tokens([caption.strip()], tokenizer)
            encoded = loaded["text_encoder"](input_ids=ids, attention_mask=mask, output_hidden_states=True)
            packed = torch.stack(encoded.hidden_states, -1).flatten(2).to(self.text_dtype)
            text, _, seen = loaded["connectors"](packed, mask, padding_side="left")
            found.append({"text": text[0].cpu(), "mask": seen[0].cpu()})
        return found

    def has_gradient(self, name: str) -> bool:
        """Not the audio stream, nor attention between it and the video."""
        return re.search("audio|av_cross_attn|a2v_cross_attn", name) is None

    def settings(self) -> Mapping[str, Any]:
        return {**super().settings(), "audio": "off"}

    def predict(self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        weight = transformer.get_parameter("proj_in.weight")
        frames, height, width = noisy.shape[2:]
        text, time, config = conditioning["text"].to(weight.dtype), 1000 * sigma.float(), self._transformer
        # One silent token: the audio stream must be given something, and the video stream does not see it.
        silence = text.new_zeros(len(noisy), 1, int(config.get("audio_in_channels", 128)))
        unheard = text.new_zeros(len(noisy), 1, self._audio_text_width(transformer, text))
        tokens = transformer(
            noisy.flatten(2).transpose(1, 2).to(weight.dtype),
            silence,
            text,
            unheard,
            time,
            sigma=time,
            encoder_attention_mask=conditioning["mask"],
            num_frames=frames,
            height=height,
            width=width,
            fps=self.clip_spec.fps,
            audio_num_frames=1,
            isolate_modalities=True,
            return_dict=False,
        )[0]
        return tokens.transpose(1, 2).unflatten(2, (frames, height, width)).float()

    def _audio_text_width(self, transformer: nn.Module, text: Tensor) -> int:
        """Of LTX-2 as for the video; LTX-2.3 projects each in its connectors, to the width of the audio stream."""
        if self._transformer.get("use_prompt_embeddings", True):
            return text.shape[2]
        return int(self._transformer.get("audio_cross_attention_dim", 2048))
