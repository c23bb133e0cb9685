"""Wan VACE from a diffusers folder, as a text-to-video model: its control says that every pixel is to be made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from motive.adapters.base import Conditioning
from motive.adapters.wan import WanAdapter, predict_wan
from motive.errors import ModelError

GREY = 127.5


class WanVACEAdapter(WanAdapter):
    """Wan VACE; arguments as PipelineAdapter.

    The control branch sees what the pipeline gives it without video, mask and reference images: the latents of a grey
    clip for what is kept, the same for what is changed, and a mask of ones. Clips come without control, and this is
    the one that the model knows for plain text-to-video.
    """

    family = "wan-vace"
    transformer_classes = ("WanVACETransformer3DModel",)
    components = {**WanAdapter.components, "transformer": ("diffusers", "WanVACETransformer3DModel")}

    def _check_channels(self) -> None:
        self._check_latent_statistics()
        space = self._strides[1]
        for name, wanted in (
            ("in_channels", self._latent_channels),
            ("vace_in_channels", 2 * self._latent_channels + space**2),
        ):
            if self._transformer.get(name) != wanted or self._transformer.get("image_dim"):
                raise ModelError(
                    f"{self.where}: transformer {name} must be {wanted} without image conditioning, got "
                    f"{self._transformer.get(name)}; use a VACE model of Wan"
                )
        self._first, self._each_token = "", False

    @contextmanager
    def clip_encoder(self) -> Iterator[Callable[[Tensor], dict[str, Tensor]]]:
        with self.video_encoder() as encode:
            grey: dict[tuple[int, ...], Tensor] = {}

            def whole(frames: Tensor) -> dict[str, Tensor]:
                size = tuple(frames.shape)
                if size not in grey:
                    grey[size] = encode(torch.full(size, GREY))
                return {"latents": encode(frames), "control": grey[size]}

            yield whole

    def predict(self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        grey = conditioning["control"]
        mask = grey.new_ones(len(grey), self._strides[1] ** 2, *grey.shape[2:])
        control = torch.cat([grey, grey, mask], 1)
        return predict_wan(transformer, noisy, sigma, conditioning["text"], control=control)
