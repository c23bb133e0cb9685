"""The models and batches that the capture benchmarks measure: the Wan architecture at several sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import diffusers
import torch
from torch import Tensor

import motive_kernels as mk


@dataclass(frozen=True)
class Size:
    """A transformer and a batch of clips.

    Attributes:
        heads: of 128 channels each.
        ffn, layers: of the transformer.
        latent: (F, h, w); four latent cells make a token.
        batch: clips.
        text: channels of the text embedding, 512 tokens long.
    """

    heads: int = 8
    ffn: int = 4096
    layers: int = 2
    latent: tuple[int, int, int] = (4, 32, 32)
    batch: int = 2
    text: int = 4096

    @property
    def tokens(self) -> int:
        """Of one clip."""
        frames, height, width = self.latent
        return frames * height * width // 4


TARGET = Size()
"""d = 1024, ffn 4096, two blocks, 1,024 tokens, two clips."""

TINY = Size(1, 64, 1, (2, 4, 6), 3, 16)

APART = Size(4, 2048, latent=(2, 32, 32))
"""d = 512, ffn 2048, two blocks, 512 tokens, two clips: what vectors of parts and draws cost."""

GROWTH = {
    "batch": [replace(TARGET, batch=n) for n in (1, 2, 4)],
    "frames": [replace(TARGET, latent=(frames, 32, 32)) for frames in (1, 2, 4)],
    "parameters": [Size(2, 1024), Size(4, 2048), TARGET],
}
"""Each grows one thing and leaves the others as they are in TARGET."""


class Bench:
    """One model with one batch, and the ways to run it.

    Attributes:
        model: all parameters require gradients.
        losses: one forward pass, the per-sample losses.
    """

    def __init__(self, size: Size, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(0)
        self.size = size
        self.model: Any = diffusers.WanTransformer3DModel(  # type: ignore[attr-defined]
            num_attention_heads=size.heads,
            attention_head_dim=128,
            in_channels=16,
            out_channels=16,
            text_dim=size.text,
            freq_dim=256,
            ffn_dim=size.ffn,
            num_layers=size.layers,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
        )
        self.model.to(device, dtype).eval()
        self.batch = (
            torch.randn(size.batch, 16, *size.latent, device=device, dtype=dtype),
            torch.linspace(100, 900, size.batch, device=device),
            torch.randn(size.batch, 512 if size.text > 16 else 3, size.text, device=device, dtype=dtype),
        )
        shapes = {name: p.shape for name, p in self.model.named_parameters()}
        self.projector = mk.Projector(mk.ProjectionSpec(), shapes)

    def losses(self, model: Callable[..., tuple[Tensor]] | None = None, clip: int | None = None) -> Tensor:
        """Losses of the batch, or of one clip of it."""
        return self.errors(model, clip).mean((1, 2, 3, 4))

    def errors(self, model: Callable[..., tuple[Tensor]] | None = None, clip: int | None = None) -> Tensor:
        """Squared errors [n, c, F, h, w] of one forward pass."""
        rows = slice(None) if clip is None else slice(clip, clip + 1)
        batch = (part[rows] for part in self.batch)
        return (self.model if model is None else model)(*batch, return_dict=False)[0].float().square()

    def segments(self, count: int) -> Tensor:
        """Losses [n, count] of bands of the picture, from one forward pass."""
        bands = self.errors().chunk(count, 3)
        return torch.stack([band.sum((1, 2, 3, 4)) for band in bands], 1)

    def forward_backward(self, model: Callable[..., tuple[Tensor]] | None = None) -> None:
        """A training step's gradients."""
        self.losses(model).sum().backward()
        self.model.zero_grad(set_to_none=True)

    def one_by_one(self) -> None:
        """A gradient for each clip by a separate backward pass, not projected."""
        for clip in range(self.size.batch):
            self.losses(clip=clip).sum().backward()
            self.model.zero_grad(set_to_none=True)

    def vmap_grad(self) -> dict[str, Tensor]:
        """Per-sample gradients by torch.func, as traker and dattri take them."""
        from torch.func import functional_call, grad, vmap

        def loss(parameters: dict[str, Tensor], latents: Tensor, time: Tensor, text: Tensor) -> Tensor:
            arguments = (latents[None], time[None], text[None])
            out = functional_call(self.model, parameters, arguments, {"return_dict": False})[0]
            return out.float().square().mean()

        detached = {name: p.detach() for name, p in self.model.named_parameters()}
        return vmap(grad(loss), (None, 0, 0, 0))(detached, *self.batch)
