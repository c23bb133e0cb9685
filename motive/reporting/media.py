"""Clips as a browser shows them: standardised frames at a size for a card, and the motion mask laid over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from motive.config import from_json
from motive.data.video.clip_spec import ClipSpec
from motive.extras import require
from motive.store.identity import Gradient
from motive.store.ids import SEGMENT

if TYPE_CHECKING:
    from motive.data import ClipReader

_WHERE = "motive.reporting"
_GREY = 128.0
_FADED_DETAIL = 0.22
"""Contrast that a still area keeps when it is faded to grey."""
_TINT = np.array([255.0, 122.0, 26.0], np.float32)
_TINT_SHARE = 0.30
_GAMMA = 0.6
"""Exponent on the mask for display: slow motion stays visible beside fast motion."""


@dataclass(frozen=True)
class Recipe:
    """How indexing saw a clip of a store.

    Attributes:
        clip_spec: rate, length and size of the clip.
        mask: fields of the store's MaskConfig.
        grid: (F, h, w), latent frames and cells.
        segments: how clips were cut into segments; empty for whole clips.
        segment: the one to show; empty for the whole clip.
    """

    clip_spec: ClipSpec
    mask: Mapping[str, Any]
    grid: tuple[int, int, int]
    segments: str = ""
    segment: str = ""

    @classmethod
    def of(cls, gradient: Gradient, segments: str = "", bucket: str = "") -> Recipe:
        """The recipe in a store's identity, for its rows of whole clips or segments in a bucket."""
        clip_spec, (_, frames, height, width) = gradient.seen(bucket)
        return cls(clip_spec, gradient.mask, (frames, height, width), segments)

    def of_row(self, row_id: str) -> Recipe:
        """For one row of the store."""
        return replace(self, segment=row_id.rpartition(SEGMENT)[2]) if self.segments else self


@dataclass(frozen=True)
class ClipFrames:
    """What a clip looks like to the run.

    Attributes:
        frames: uint8 [T, H, W, 3].
        fps: frames a second.
        weights: float32 [F, h, w] in [0, 1], the motion mask on the latent grid.
    """

    frames: NDArray[np.uint8]
    fps: float
    weights: NDArray[np.float32]


def clip_media(path: Path, recipe: Recipe, decoders: ClipReader) -> ClipFrames:
    """Read a clip again as indexing read it, in a decoder's process, with its motion mask or its segment's part of it.

    Raises:
        ClipError: the file is gone or can no longer be read.
    """
    from motive.gradients.segments import clip_segments
    from motive.masks import MaskConfig, motion_mask

    spec, mask = recipe.clip_spec, from_json(MaskConfig, recipe.mask, "identity.gradient.mask")
    clip = decoders.load_clip(path, spec)
    weights = motion_mask(clip.frames, spec.fps, recipe.grid, mask).weights
    segments = clip_segments(recipe.segments, path, clip.source_facts(), spec, recipe.grid)
    if segments is not None and recipe.segment in segments.names:
        weights = weights * segments.shares[segments.names.index(recipe.segment)]
    return ClipFrames(clip.frames, spec.fps, weights)


def latent_frame_of(frames: int, latent_frames: int) -> NDArray[np.int64]:
    """The latent frame that each pixel frame belongs to, under a causal video autoencoder.

    Latent frame 0 covers pixel frame 0, latent frame j >= 1 covers pixel frames g (j - 1) + 1 .. g j with
    g = (frames - 1) / (latent_frames - 1).
    """
    groups = np.arange(frames) * (latent_frames - 1)
    return -(-groups // max(1, frames - 1))


def fit_height(frames: NDArray[np.uint8], low_px: int, high_px: int) -> NDArray[np.uint8]:
    """Frames scaled so that their height lies in [low_px, high_px], both sides even.

    Small clips are enlarged by whole steps of nearest neighbours where one fits, so that their pixels stay
    honest, and linearly otherwise; large clips are averaged down.
    """
    cv2 = require("cv2", _WHERE, extra="video")
    _, height, width, _ = frames.shape
    if height < low_px:
        steps = -(-low_px // height)
        scale, method = (
            (float(steps), cv2.INTER_NEAREST) if steps * height <= high_px else (low_px / height, cv2.INTER_LINEAR)
        )
    elif height > high_px:
        scale, method = high_px / height, cv2.INTER_AREA
    else:
        scale, method = 1.0, cv2.INTER_LINEAR
    # H.264 stores colour at half the resolution, so both sides must be even.
    new_width, new_height = (max(2, 2 * round(scale * side / 2)) for side in (width, height))
    if (new_width, new_height) == (width, height):
        return frames
    return np.stack([cv2.resize(frame, (new_width, new_height), interpolation=method) for frame in frames])


def motion_overlay(frames: NDArray[np.uint8], weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Frames with still areas faded to neutral grey and moving areas kept and tinted warm.

    Args:
        frames: uint8 [T, H, W, 3].
        weights: float32 [F, h, w] in [0, 1]; scaled for display so that the clip's largest is 1.
    """
    cv2 = require("cv2", _WHERE, extra="video")
    count, height, width, _ = frames.shape
    owner = latent_frame_of(count, weights.shape[0])
    peak = float(weights.max(initial=0.0))
    shown = (weights / peak if peak > 0 else weights).clip(0.0, 1.0) ** _GAMMA
    planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)[..., None] for plane in shown]
    overlaid = np.empty_like(frames)
    for index, frame in enumerate(frames):
        weight = planes[owner[index]]
        colour = frame.astype(np.float32)
        faded = _GREY + _FADED_DETAIL * (colour.mean(axis=2, keepdims=True) - _GREY)
        lit = (1 - _TINT_SHARE * weight) * colour + _TINT_SHARE * weight * _TINT
        overlaid[index] = (weight * lit + (1 - weight) * faded + 0.5).clip(0, 255).astype(np.uint8)
    return overlaid
