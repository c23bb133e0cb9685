"""The built-in model: a small transformer of the Wan architecture over the coefficients of a fixed transform.

It exists so that motion attribution can be tried, tested and taught on a CPU, without downloads. Two
parts of a real model are replaced by fixed functions, and nothing here pretends otherwise:

* Instead of a video VAE, latents are coefficients of an orthonormal space-time cosine transform of
  patches (`PatchTransform`). It has no weights and nothing is learned; it keeps the causal layout of
  the Wan VAE in time (frame 0 alone, then groups of four frames).
* Instead of a language model, each word of a caption becomes a fixed pseudo-random vector (`embed_words`).

The transformer itself is diffusers' WanTransformer3DModel, trained from scratch by motive.toy.train.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from motive.adapters.base import Adapter, Conditioning, Expert, TrainingNoise
from motive.adapters.files import fingerprint
from motive.adapters.loading import load_transformer, parameter_shapes, resolve_device, resolve_dtype
from motive.adapters.wan import original_wan_name, predict_wan
from motive.data.video.clip_spec import ClipSpec
from motive.errors import ClipError, OptionError
from motive.extras import require

GROUP = 4
"""Frames in a latent frame; the first latent frame holds frame 0 four times."""

PATCH = 8
"""Pixels along each side of a latent cell."""

TEXT_LENGTH = 32
TEXT_DIM = 64
CHECKPOINT = Path(__file__).resolve().parent.parent / "toy" / "checkpoint"


def _kept() -> list[tuple[int, int, int, int]]:
    """The kept coefficients (time, y, x, colour): the lowest frequencies, brightness finer than colour."""
    grid = [(t, y, x) for t in range(GROUP) for y in range(4) for x in range(4)]
    bright = [(t, y, x, 0) for t, y, x in grid if t + y + x <= 3]
    colour = [(t, y, x, c) for c in (1, 2) for t, y, x in grid if t + y + x <= 1 and t <= 1]
    return bright + colour


KEPT = tuple(_kept())

# fmt: off
STD = (
    9.39, 1.04, 0.478, 0.254, 1.77, 0.558, 0.307, 0.845, 0.316, 0.503,  # brightness, constant in time
    0.73, 0.38, 0.201, 0.37, 0.231, 0.201, 0.427, 0.29, 0.28, 0.281,  # brightness, changing in time
    7.87, 0.808, 1.47, 0.635, 4.73, 0.488, 0.881, 0.367,  # colour
)
# fmt: on
"""ClipSpec deviation of each kept coefficient over procedural training clips with pixels in [-1, 1]."""


def _cosines(size: int) -> np.ndarray:
    """Orthonormal DCT-II matrix [frequency, position]."""
    k, x = np.arange(size)[:, None], np.arange(size)[None, :]
    matrix = np.sqrt(2 / size) * np.cos(math.pi * (x + 0.5) * k / size)
    matrix[0] /= math.sqrt(2)
    return matrix


class PatchTransform:
    """Orthonormal cosine transform of patches of 4 frames x 8 x 8 pixels x 3 colours; keeps the lowest coefficients.

    `decode(encode(frames))` is the orthogonal projection of the (edge-repeated) clip on the kept
    coefficients, and `encode(decode(z))` is z where the first group is constant in time.
    """

    def __init__(self) -> None:
        axes = (_cosines(GROUP), _cosines(PATCH), _cosines(PATCH), _cosines(3))
        rows = [np.einsum("i,j,k,l->ijkl", *(a[f] for a, f in zip(axes, kept, strict=True))).ravel() for kept in KEPT]
        self.basis = torch.from_numpy(np.stack(rows)).float()  # [c, 4 * 8 * 8 * 3]
        self.std = torch.tensor(STD, dtype=torch.float32)

    def coefficients(self, frames: Tensor) -> Tensor:
        """Kept coefficients [c, F, h, w] of uint8 frames [T, H, W, 3], T = 4 n + 1, before division by `std`."""
        video = frames.float() / 127.5 - 1
        video = torch.cat([video[:1].expand(GROUP - 1, -1, -1, -1), video])
        t, height, width, _ = video.shape
        patches = video.reshape(t // GROUP, GROUP, height // PATCH, PATCH, width // PATCH, PATCH, 3)
        patches = patches.permute(0, 2, 4, 1, 3, 5, 6).flatten(3)
        return (patches @ self.basis.T).permute(3, 0, 1, 2).contiguous()

    def encode(self, frames: Tensor) -> Tensor:
        """Latents [c, F, h, w] float32 of uint8 frames [T, H, W, 3]."""
        return self.coefficients(frames) / self.std.view(-1, 1, 1, 1)

    def decode(self, latents: Tensor) -> Tensor:
        """The frames [T, H, W, 3] in [-1, 1] (float32, not clipped) that latents [c, F, h, w] stand for."""
        _, groups, h, w = latents.shape
        patches = (latents * self.std.view(-1, 1, 1, 1)).permute(1, 2, 3, 0) @ self.basis
        video = patches.reshape(groups, h, w, GROUP, PATCH, PATCH, 3).permute(0, 3, 1, 4, 2, 5, 6)
        return video.reshape(groups * GROUP, h * PATCH, w * PATCH, 3)[GROUP - 1 :]


def embed_words(caption: str) -> Tensor:
    """A caption's words as fixed pseudo-random vectors [TEXT_LENGTH, TEXT_DIM], zero after the last word.

    Each word's vector is uniform on [-sqrt 3, sqrt 3] (unit variance), taken from a hash of the word, so it
    is the same on every machine. Words after the TEXT_LENGTH-th are dropped.
    """
    words = re.findall(r"[^\W_]+", caption.lower())[:TEXT_LENGTH]
    out = np.zeros((TEXT_LENGTH, TEXT_DIM), np.float32)
    for row, word in enumerate(words):
        bits = np.frombuffer(hashlib.shake_256(word.encode()).digest(4 * TEXT_DIM), dtype="<u4")
        out[row] = (bits / 2**31 - 1) * math.sqrt(3)
    return torch.from_numpy(out)


class ToyAdapter(Adapter):
    """The built-in model.

    Args:
        checkpoint: folder with config.json and diffusion_pytorch_model.safetensors; default: the one in the package.
        device: where the transformer runs.
        dtype: of the transformer; None: float32 on every device.
    """

    family = "toy"

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        device: str | torch.device = "cpu",
        dtype: str | None = None,
    ) -> None:
        self.checkpoint = Path(checkpoint) if checkpoint is not None else CHECKPOINT
        self.device = resolve_device(device, "ToyAdapter")
        self.dtype = resolve_dtype(dtype or "float32", self.device, "ToyAdapter")

    @property
    def clip_spec(self) -> ClipSpec:
        """17 frames at 12 frames a second, 80 x 80; a clip that ends early holds its last frame."""
        return ClipSpec(fps=12.0, frames=17, height=80, width=80, short="hold")

    def latent_shape(self, clip_spec: ClipSpec) -> tuple[int, int, int, int]:
        cell = 2 * PATCH
        if clip_spec.height % cell or clip_spec.width % cell:
            raise OptionError(
                f"ToyAdapter: height and width must be multiples of {cell}, got {clip_spec.height} x {clip_spec.width}; "
                f"use {max(1, clip_spec.height // cell) * cell} x {max(1, clip_spec.width // cell) * cell}"
            )
        if clip_spec.frames % GROUP != 1:
            raise OptionError(
                f"ToyAdapter: frames must be {GROUP} n + 1, got {clip_spec.frames}; "
                f"use {max(1, clip_spec.frames // GROUP) * GROUP + 1}"
            )
        frames = (clip_spec.frames - 1) // GROUP + 1
        return len(KEPT), frames, clip_spec.height // PATCH, clip_spec.width // PATCH

    def fingerprints(self) -> Mapping[str, str]:
        vae = hashlib.blake2b(repr((GROUP, PATCH, KEPT, STD)).encode(), digest_size=16).hexdigest()
        text = hashlib.blake2b(f"shake_256 words {TEXT_LENGTH} {TEXT_DIM}".encode(), digest_size=16).hexdigest()
        return {"transformer": fingerprint(self.checkpoint, "ToyAdapter"), "vae": vae, "text_encoder": text}

    @contextmanager
    def video_encoder(self) -> Iterator[Callable[[Tensor], Tensor]]:
        transform = PatchTransform()

        def encode(frames: Tensor) -> Tensor:
            t, height, width = frames.shape[:3]
            if t % GROUP != 1 or height % PATCH or width % PATCH:
                raise ClipError("shape", f"{t} frames of {height} x {width} do not divide into 4 n + 1 and {PATCH}")
            return transform.encode(frames)

        yield encode

    @contextmanager
    def text_encoder(self) -> Iterator[Callable[[Sequence[str]], list[Conditioning]]]:
        def encode(captions: Sequence[str]) -> list[Conditioning]:
            return [{"text": embed_words(caption)} for caption in captions]

        yield encode

    def load_transformer(self, expert: Expert) -> nn.Module:
        return load_transformer("WanTransformer3DModel", self.checkpoint, self.dtype, self.device, "ToyAdapter")

    def parameter_shapes(self, expert: Expert) -> Mapping[str, tuple[int, ...]]:
        return parameter_shapes("WanTransformer3DModel", self.checkpoint, "ToyAdapter")

    def predict(self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        return predict_wan(transformer, noisy, sigma, conditioning["text"])

    def lora_names(self, layer: str) -> Sequence[str]:
        return (original_wan_name(layer),)

    def training_noise(self, latent_shape: tuple[int, int, int, int]) -> TrainingNoise:
        return TrainingNoise("logit_normal")

    def settings(self) -> Mapping[str, Any]:
        return {"dtype": str(self.dtype).removeprefix("torch."), "text_length": TEXT_LENGTH}


def toy_transformer(seed: int) -> nn.Module:
    """An untrained transformer of the toy's shape, with weights drawn from the seed (the global stream is kept)."""
    diffusers = require("diffusers", "toy_transformer", extra="models")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=4,
            attention_head_dim=32,
            in_channels=len(KEPT),
            out_channels=len(KEPT),
            text_dim=TEXT_DIM,
            freq_dim=128,
            ffn_dim=384,
            num_layers=4,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=64,
        )
