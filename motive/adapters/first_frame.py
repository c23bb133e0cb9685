"""First-frame conditioning of Wan's image-to-video models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motive.adapters.loading import LOAD_ERRORS, load_model, not_loaded
from motive.errors import ModelError
from motive.extras import require

BESIDE, INSIDE = "beside", "inside"
"""As further channels beside the noisy latents (2.1, A14B), or as the first latent frame itself, free of noise (5B)."""

IMAGE_ENCODER = ("transformers", "CLIPVisionModel")


def first_frame_mode(
    index: Mapping[str, Any], transformer: Mapping[str, Any], latent_channels: int, time_stride: int
) -> str:
    """BESIDE, INSIDE, or empty for a text-to-video model.

    Raises:
        ModelError: a model that is none of these.
    """
    given = transformer.get("in_channels")
    beside = 2 * latent_channels + time_stride  # the latents, a flag for each frame, the encoded first frame
    if transformer.get("pos_embed_seq_len") is not None or given not in (latent_channels, beside):
        raise ModelError(
            f"WanAdapter: transformer in_channels must be {latent_channels} for text-to-video or {beside} for "
            f"image-to-video from one first frame, got {given}; use such a model"
        )
    if given == beside:
        return BESIDE
    if transformer.get("image_dim"):
        raise ModelError(
            f"WanAdapter: transformer in_channels must be {beside} with an image embedding, got {given}; "
            "copy the model again"
        )
    image_to_video = index.get("_class_name") == "WanImageToVideoPipeline" and index.get("expand_timesteps")
    return INSIDE if image_to_video else ""


def grey_after_first(frames: Tensor) -> Tensor:
    """The first frame of [T, H, W, 3] in float32, then frames of the grey that an encoder sees as zeros."""
    return torch.cat([frames[:1].float(), torch.full_like(frames[1:], 127.5, dtype=torch.float32)])


def beside(noisy: Tensor, first: Tensor, time_stride: int) -> Tensor:
    """Noisy latents [n, c, F, h, w], flags of the frames that are given, and the encoded first frame."""
    flags = noisy.new_zeros(len(noisy), time_stride, *noisy.shape[2:])
    flags[:, :, 0] = 1
    return torch.cat([noisy, flags, first], 1)


@contextmanager
def image_embedder(folder: Path, device: torch.device, where: str) -> Iterator[Callable[[Tensor], Tensor]]:
    """Embeds a frame [H, W, 3] uint8 as [tokens, d] float32, the states before the encoder's last layer."""
    transformers = require("transformers", where, extra="models")
    image = require("PIL.Image", where, extra="models")
    place = folder / "image_processor"
    try:
        prepare = transformers.AutoImageProcessor.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise not_loaded(where, place, error) from error
    model = load_model(IMAGE_ENCODER, folder / "image_encoder", torch.float32, where)
    held = [model.to(device).eval().requires_grad_(False)]  # emptied on exit: `embed` may be kept longer
    del model

    @torch.no_grad()
    def embed(frame: Tensor) -> Tensor:
        pixels = prepare(images=image.fromarray(frame.cpu().numpy()), return_tensors="pt").pixel_values
        return held[0](pixels.to(device), output_hidden_states=True).hidden_states[-2][0].float().cpu()

    try:
        yield embed
    finally:
        held.clear()
