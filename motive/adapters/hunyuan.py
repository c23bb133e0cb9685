"""HunyuanVideo text-to-video from a diffusers folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from motive.adapters.base import Conditioning
from motive.adapters.pipeline import PipelineAdapter
from motive.data.video.clip_spec import ClipSpec
from motive.extras import require

GUIDANCE = 6000.0
"""What the guidance embedding is given: 1000 times the pipeline's default scale."""


class HunyuanVideoAdapter(PipelineAdapter):
    """HunyuanVideo; arguments as PipelineAdapter. Two text encoders: states of a language model, and a pooled vector."""

    family = "hunyuan"
    transformer_classes = ("HunyuanVideoTransformer3DModel",)
    components = {
        "transformer": ("diffusers", "HunyuanVideoTransformer3DModel"),
        "vae": ("diffusers", "AutoencoderKLHunyuanVideo"),
        "text_encoder": ("transformers", "LlamaModel"),
        "text_encoder_2": ("transformers", "CLIPTextModel"),
    }
    no_precomputed = (
        "HunyuanVideo's encoder normalises over the whole clip, so that a first frame encoded alone proves nothing, and "
        "musubi-tuner caches a random sample of its latents"
    )
    text_length = 256
    _text_components = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}

    @property
    def _latent_channels(self) -> int:
        return int(self._vae.get("latent_channels", 16))

    @property
    def _strides(self) -> tuple[int, int, int]:
        time, space = (int(self._vae.get(f"{a}_compression_ratio", d)) for a, d in (("temporal", 4), ("spatial", 8)))
        return time, space, int(self._transformer.get("patch_size", 2))

    @property
    def clip_spec(self) -> ClipSpec:
        """The pipeline's own: 129 frames at 24 a second, 720 x 1280."""
        return ClipSpec(fps=24.0, frames=129, height=720, width=1280)

    def _normalised(self, vae: Any, latents: Tensor) -> Tensor:
        return latents * float(self._vae.get("scaling_factor", 0.476986))

    def _embed(self, captions: Sequence[str], loaded: Mapping[str, Any]) -> list[Conditioning]:
        pipeline = require("diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video", self.where, extra="models")
        template, crop = (pipeline.DEFAULT_PROMPT_TEMPLATE[name] for name in ("template", "crop_start"))
        tokens = loaded["tokenizer"](
            [template.format(caption) for caption in captions],
            max_length=self.text_length + crop,
            padding="max_length",
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        ids, mask = tokens.input_ids.to(self.device), tokens.attention_mask.to(self.device)
        # The third last state: the pipeline leaves out the last two layers.
        states = loaded["text_encoder"](input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-3]
        short = loaded["tokenizer_2"](
            list(captions), max_length=77, padding="max_length", truncation=True, return_tensors="pt"
        )
        pooled = loaded["text_encoder_2"](short.input_ids.to(self.device)).pooler_output
        rows = zip(states[:, crop:].cpu(), mask[:, crop:].cpu(), pooled.cpu(), strict=True)
        return [{"text": text, "mask": m, "pooled": p} for text, m, p in rows]

    def settings(self) -> Mapping[str, Any]:
        return {**super().settings(), "guidance": GUIDANCE}

    def predict(self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        dtype = transformer.get_parameter("x_embedder.proj.weight").dtype
        guidance = torch.full_like(sigma, GUIDANCE, dtype=dtype) if self._transformer.get("guidance_embeds") else None
        return transformer(
            noisy.to(dtype),
            1000 * sigma.float(),
            conditioning["text"].to(dtype),
            conditioning["mask"],
            conditioning["pooled"].to(dtype),
            guidance,
            return_dict=False,
        )[0].float()
