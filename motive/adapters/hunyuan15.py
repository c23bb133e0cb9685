"""HunyuanVideo 1.5 text-to-video from a diffusers folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from motive.adapters.base import Conditioning, Expert
from motive.adapters.pipeline import PipelineAdapter
from motive.data.video.clip_spec import ClipSpec
from motive.errors import ModelError
from motive.extras import require

_PIPELINE = "diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5"


class HunyuanVideo15Adapter(PipelineAdapter):
    """HunyuanVideo 1.5; arguments as PipelineAdapter.

    Text is the states of a language model and, for what a caption quotes, those of a byte-level encoder. Of the channels
    for a first frame, and of image embeddings, it gets zeros, as in its text-to-video pipeline.
    """

    family = "hunyuan15"
    transformer_classes = ("HunyuanVideo15Transformer3DModel",)
    components = {
        "transformer": ("diffusers", "HunyuanVideo15Transformer3DModel"),
        "vae": ("diffusers", "AutoencoderKLHunyuanVideo15"),
        "text_encoder": ("transformers", "Qwen2_5_VLTextModel"),
        "text_encoder_2": ("transformers", "T5EncoderModel"),
    }
    precomputed = {"musubi-tuner": "hv15"}
    text_length = 1000
    glyph_length = 256
    _text_components = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}

    def _check_channels(self) -> None:
        wanted = 2 * self._latent_channels + 1  # the latents, a first frame's, and a flag
        pipeline = str(self._index.get("_class_name"))
        if self._transformer.get("in_channels") != wanted or "ImageToVideo" in pipeline:
            raise ModelError(
                f"{self.where}: transformer in_channels must be {wanted} in a text-to-video pipeline, got "
                f"{self._transformer.get('in_channels')} in {pipeline}; use a text-to-video model"
            )
        if self._transformer.get("use_meanflow"):
            raise ModelError(f"{self.where}: models with use_meanflow are not read; use a model that is not distilled")

    @property
    def _latent_channels(self) -> int:
        return int(self._vae.get("latent_channels", 32))

    @property
    def _strides(self) -> tuple[int, int, int]:
        time, space = (int(self._vae.get(f"{a}_compression_ratio", d)) for a, d in (("temporal", 4), ("spatial", 16)))
        return time, space, int(self._transformer.get("patch_size", 1))

    @property
    def clip_spec(self) -> ClipSpec:
        """The pipeline's own: 121 frames at 24 a second, 480 x 848 or 720 x 1280 by the model's target size."""
        processor = require("diffusers.pipelines.hunyuan_video1_5.image_processor", self.where, extra="models")
        sizes = processor.HunyuanVideo15ImageProcessor(vae_scale_factor=self._strides[1])
        height, width = sizes.calculate_default_height_width(9, 16, int(self._transformer.get("target_size", 640)))
        return ClipSpec(fps=24.0, frames=121, height=int(height), width=int(width))

    def normalised(self, latents: Tensor) -> Tensor:
        return self._normalised(None, latents[None])[0]

    def _normalised(self, vae: Any, latents: Tensor) -> Tensor:
        return latents * float(self._vae.get("scaling_factor", 1.03682))

    def _embed(self, captions: Sequence[str], loaded: Mapping[str, Any]) -> list[Conditioning]:
        pipeline = require(_PIPELINE, self.where, extra="models").HunyuanVideo15Pipeline
        found = []
        for caption in captions:
            text, mask = pipeline._get_mllm_prompt_embeds(
                loaded["text_encoder"], loaded["tokenizer"], caption, self.device, self.text_length
            )
            quoted, quoted_mask = pipeline._get_byt5_prompt_embeds(
                loaded["tokenizer_2"], loaded["text_encoder_2"], caption, self.device, self.glyph_length
            )
            both = {"text": text, "mask": mask, "quoted": quoted, "quoted_mask": quoted_mask}
            found.append({name: value[0].cpu() for name, value in both.items()})
        return found

    def settings(self) -> Mapping[str, Any]:
        return {**super().settings(), "glyph_length": self.glyph_length}

    def has_gradient(self, name: str) -> bool:
        """Not what embeds an image, nor what the last block makes of the text."""
        last = int(self._transformer.get("num_layers", 54)) - 1
        unused = rf"^image_embedder\.|^transformer_blocks\.{last}\.(attn\.(add_q|to_add_out|norm_added_q)|ff_context)"
        return re.search(unused, name) is None

    def load_transformer(self, expert: Expert) -> nn.Module:
        model = super().load_transformer(expert)
        # Its time embedding computes in the dtype of the step; a step in bfloat16 would be rounded to 3 digits.
        model.get_submodule("time_embed.timestep_embedder").register_forward_pre_hook(_in_own_dtype)
        return model

    def predict(self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        dtype = transformer.get_parameter("x_embedder.proj.weight").dtype
        seen = noisy.new_zeros(len(noisy), noisy.shape[1] + 1, *noisy.shape[2:])
        # All tokens of an absent image are masked, so one stands for them.
        image = noisy.new_zeros(len(noisy), 1, int(self._transformer.get("image_embed_dim", 1152)))
        return transformer(
            torch.cat([noisy, seen], 1).to(dtype),
            1000 * sigma.float(),
            conditioning["text"].to(dtype),
            conditioning["mask"],
            encoder_hidden_states_2=conditioning["quoted"].to(dtype),
            encoder_attention_mask_2=conditioning["quoted_mask"],
            image_embeds=image.to(dtype),
            return_dict=False,
        )[0].float()


def _in_own_dtype(embedder: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (args[0].to(embedder.get_parameter("linear_1.weight").dtype), *args[1:])
