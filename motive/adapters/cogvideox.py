"""CogVideoX text-to-video from a diffusers folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from motive.adapters.base import Conditioning, TrainingNoise
from motive.adapters.loading import LOAD_ERRORS, not_loaded
from motive.adapters.pipeline import PipelineAdapter
from motive.data.video.clip_spec import ClipSpec
from motive.errors import ModelError
from motive.extras import require


class CogVideoXAdapter(PipelineAdapter):
    """CogVideoX; arguments as PipelineAdapter.

    A variance-preserving diffusion in discrete steps that predicts v = sqrt(a) eps - sqrt(1 - a) z, with a the
    scheduler's alphas_cumprod at its step. A noise level sigma stands for the step nearest to 1000 sigma. The squared
    error of v is the model's own training loss.

    CogVideoX 1.5 has two latent frames in a token. An odd number of them is filled up in front, as its training does, by
    the first; the added one has the first one's noise and no loss.
    """

    family = "cogvideox"
    transformer_classes = ("CogVideoXTransformer3DModel",)
    components = {
        "transformer": ("diffusers", "CogVideoXTransformer3DModel"),
        "vae": ("diffusers", "AutoencoderKLCogVideoX"),
        "text_encoder": ("transformers", "T5EncoderModel"),
    }
    text_length = 226

    def _check_channels(self) -> None:
        super()._check_channels()
        self.text_length = int(self._transformer.get("max_text_seq_length", self.text_length))
        if self._transformer.get("ofs_embed_dim") is not None:
            raise ModelError(
                "CogVideoXAdapter: transformer must be of a text-to-video model with ofs_embed_dim null, got "
                f"{self._transformer.get('ofs_embed_dim')}; use CogVideoX-2b, -5b or CogVideoX1.5-5B"
            )

    @property
    def _patch_frames(self) -> int:
        """Latent frames of a token: 1, or 2 in CogVideoX 1.5."""
        return int(self._transformer.get("patch_size_t") or 1)

    @property
    def _latent_channels(self) -> int:
        return int(self._vae.get("latent_channels", 16))

    @property
    def _strides(self) -> tuple[int, int, int]:
        space = 2 ** (len(self._vae.get("block_out_channels", (128, 256, 256, 512))) - 1)
        time = int(self._vae.get("temporal_compression_ratio", 4))
        return time, space, int(self._transformer.get("patch_size", 2))

    @property
    def clip_spec(self) -> ClipSpec:
        """What CogVideoX was trained on: 49 frames at 8 a second, 480 x 720; CogVideoX 1.5: 81 at 16, 768 x 1360."""
        if self._transformer.get("patch_size_t") is not None:
            return ClipSpec(fps=16.0, frames=81, height=768, width=1360)
        return ClipSpec(fps=8.0, frames=49, height=480, width=720)

    @cached_property
    def _alphas(self) -> Tensor:
        """alphas_cumprod of the pipeline's scheduler, float32 [steps]."""
        diffusers = require("diffusers", self.where, extra="models")
        folder, entry = self.folder / "scheduler", self._index.get("scheduler")
        if not isinstance(entry, list) or len(entry) != 2 or not str(entry[1]).startswith("CogVideoX"):
            raise ModelError(f"{self.where}: scheduler must be one of CogVideoX, got {entry!r}; copy the model again")
        try:
            scheduler = getattr(diffusers, entry[1]).from_pretrained(folder, local_files_only=True)
        except LOAD_ERRORS as error:
            raise not_loaded(self.where, folder, error) from error
        return scheduler.alphas_cumprod.float()

    def _steps(self, sigma: Tensor) -> Tensor:
        steps = len(self._alphas)
        return (steps * sigma).round().long().clamp(0, steps - 1)

    def _normalised(self, vae: Any, latents: Tensor) -> Tensor:
        return latents * float(self._vae.get("scaling_factor", 1.0))

    def _embed(self, captions: Sequence[str], loaded: Mapping[str, Any]) -> list[Conditioning]:
        ids, _ = self._tokens(captions, loaded["tokenizer"])
        return [{"text": row} for row in loaded["text_encoder"](ids).last_hidden_state.cpu()]

    def add_noise(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        kept = self._alphas.to(latents.device)[self._steps(sigma)].view(-1, 1, 1, 1, 1)
        signal, spread = kept.sqrt(), (1 - kept).sqrt()
        return signal * latents + spread * noise, signal * noise - spread * latents

    def training_noise(self, latent_shape: tuple[int, int, int, int]) -> TrainingNoise:
        """Steps of the scheduler, each as often."""
        return TrainingNoise("uniform")

    def predict(self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        dtype = transformer.get_parameter("patch_embed.proj.weight").dtype
        more = -noisy.shape[2] % self._patch_frames
        noisy = torch.cat([noisy[:, :, :1].expand(-1, -1, more, -1, -1), noisy], 2)
        velocity = transformer(
            noisy.transpose(1, 2).to(dtype),
            conditioning["text"].to(dtype),
            self._steps(sigma),
            image_rotary_emb=self._rotation(noisy),
            return_dict=False,
        )[0]
        return velocity.transpose(1, 2)[:, :, more:].float()

    def _rotation(self, noisy: Tensor) -> tuple[Tensor, Tensor] | None:
        """Rotary position embedding of the larger models, of the grid that they were trained on fitted to this one."""
        config = self._transformer
        if not config.get("use_rotary_positional_embeddings"):
            return None
        embeddings = require("diffusers.models.embeddings", self.where, extra="models")
        cogvideo = require("diffusers.pipelines.cogvideo.pipeline_cogvideox", self.where, extra="models")
        patch = int(config.get("patch_size", 2))
        grid = (noisy.shape[3] // patch, noisy.shape[4] // patch)
        if config.get("patch_size_t") is not None:
            return embeddings.get_3d_rotary_pos_embed(
                embed_dim=int(config.get("attention_head_dim", 64)),
                crops_coords=None,
                grid_size=grid,
                temporal_size=noisy.shape[2] // self._patch_frames,
                grid_type="slice",
                max_size=(int(config.get("sample_height", 60)) // patch, int(config.get("sample_width", 90)) // patch),
                device=noisy.device,
            )
        trained = (int(config.get("sample_width", 90)) // patch, int(config.get("sample_height", 60)) // patch)
        return embeddings.get_3d_rotary_pos_embed(
            embed_dim=int(config.get("attention_head_dim", 64)),
            crops_coords=cogvideo.get_resize_crop_region_for_grid(grid, *trained),
            grid_size=grid,
            temporal_size=noisy.shape[2],
            device=noisy.device,
        )
