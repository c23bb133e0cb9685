"""The one clip format that every clip of a run is brought to (paper, section 4.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from motive.config import check_choices
from motive.errors import ConfigError
from motive.extras import require


@dataclass(frozen=True)
class ClipSpec:
    """Clip standardisation: resample to fps, cut to frames, resize and crop to height x width.

    A gradient's length and the shared noise both depend on the latent shape, so all clips of a store
    share one clip_spec; it is part of the store's identity.

    Attributes:
        fps: frames a second after resampling (by time stamp, not by frame index).
        frames: frames kept; the model says which numbers fit (4 n + 1 for Wan, 6 n + 1 for Mochi, 8 n + 1 for LTX).
        height, width: pixels after resize and crop.
        short: what to do with a clip that lasts less than (frames - 1) / fps seconds:
            ``error`` leaves it out with reason too_short, ``hold`` repeats its last frame, ``loop`` plays
            it again from the start.
        start: ``head`` takes the first frames, ``centre`` the middle ones.
        fit: ``crop`` scales to cover and crops the centre, ``stretch`` scales each axis by itself.
        interlaced: ``deinterlace`` makes interlaced clips progressive, ``error`` leaves them out with reason
            interlaced.
    """

    fps: float = 16.0
    frames: int = 81
    height: int = 480
    width: int = 832
    short: Literal["error", "hold", "loop"] = "error"
    start: Literal["head", "centre"] = "head"
    fit: Literal["crop", "stretch"] = "crop"
    interlaced: Literal["deinterlace", "error"] = "deinterlace"

    def __post_init__(self) -> None:
        check_choices(self)
        if not 0 < self.fps <= 1000:
            raise ConfigError("ClipSpec", f"{{fps}} must be in (0, 1000], got {self.fps}; give frames a second")
        if self.frames < 2:
            raise ConfigError("ClipSpec", f"{{frames}} must be at least 2, got {self.frames}; motion needs two frames")
        for name in ("height", "width"):
            if not 8 <= getattr(self, name) <= 16384:
                raise ConfigError(
                    "ClipSpec",
                    f"{{{name}}} must be 8 to 16384 pixels, got {getattr(self, name)}; give the training size",
                )


def sample_times(clip_spec: ClipSpec, start_s: float = 0.0) -> np.ndarray:
    """[frames] float64: the source time in seconds of each frame, start_s + j / fps."""
    return start_s + np.arange(clip_spec.frames, dtype=np.float64) / clip_spec.fps


def centre_start(clip_spec: ClipSpec, seconds: float) -> float:
    """Start that puts the frames in the middle of a clip of that length; 0 for a clip that is too short."""
    return max(0.0, (seconds - clip_spec.frames / clip_spec.fps) / 2)


@dataclass(frozen=True)
class Fit:
    """How one frame size is brought to the clip spec's size.

    Attributes:
        top, left, keep_height, keep_width: part of the source that is resized. What a centre crop would cut
            away is never resized, so a 2 x 16384 frame costs no more than any other.
        height, width: size after resizing.
        crop_top, crop_left: of the final crop.
        method: ``none`` | ``area`` (axes that shrink) | ``linear`` (axes that grow) | ``area+linear``.
    """

    top: int
    left: int
    keep_height: int
    keep_width: int
    height: int
    width: int
    crop_top: int
    crop_left: int
    method: str


def fit_to(clip_spec: ClipSpec, height: int, width: int, aspect: float = 1.0) -> Fit:
    """Plan the resize and crop of height x width frames whose pixels are ``aspect`` times as wide as high.

    ``crop`` scales the displayed picture, height x (aspect width), by max(clip_spec.height / height,
    clip_spec.width / (aspect width)) and crops the centre; ``stretch`` scales each axis by itself. Each axis is resized
    once, from the stored pixels to the result's.
    """
    if clip_spec.fit == "stretch":
        method = _method((height, width), (clip_spec.height, clip_spec.width))
        return Fit(0, 0, height, width, clip_spec.height, clip_spec.width, 0, 0, method)
    scale = max(clip_spec.height / height, clip_spec.width / (width * aspect))
    top, keep_height, new_height, crop_top = _cover_axis(height, clip_spec.height, scale)
    left, keep_width, new_width, crop_left = _cover_axis(width, clip_spec.width, scale * aspect)
    method = _method((keep_height, keep_width), (new_height, new_width))
    return Fit(top, left, keep_height, keep_width, new_height, new_width, crop_top, crop_left, method)


def _cover_axis(size: int, target: int, scale: float) -> tuple[int, int, int, int]:
    """(offset, source pixels kept, pixels after the resize, final crop offset) of one axis."""
    keep = min(size, math.ceil(target / scale) + 4)  # the margin gives the interpolation its neighbours
    keep += (size - keep) % 2
    resized = max(target, round(keep * scale))
    return (size - keep) // 2, keep, resized, (resized - target) // 2


def _method(source: tuple[int, int], target: tuple[int, int]) -> str:
    names = []
    if target[0] < source[0] or target[1] < source[1]:
        names.append("area")
    if target[0] > source[0] or target[1] > source[1]:
        names.append("linear")
    return "+".join(names) or "none"


def apply_fit(frame: np.ndarray, fit: Fit, clip_spec: ClipSpec) -> np.ndarray:
    """Resize and crop one frame [H, W, 3] uint8 to [clip_spec.height, clip_spec.width, 3]."""
    cv2 = require("cv2", "motive.data.video.clip_spec", extra="video")
    image = frame[fit.top : fit.top + fit.keep_height, fit.left : fit.left + fit.keep_width]
    shrunk = (min(fit.keep_width, fit.width), min(fit.keep_height, fit.height))
    if shrunk != (fit.keep_width, fit.keep_height):
        image = cv2.resize(np.ascontiguousarray(image), shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (fit.width, fit.height):
        image = cv2.resize(np.ascontiguousarray(image), (fit.width, fit.height), interpolation=cv2.INTER_LINEAR)
    return image[fit.crop_top : fit.crop_top + clip_spec.height, fit.crop_left : fit.crop_left + clip_spec.width]
