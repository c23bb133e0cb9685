"""From a video file to the frames that a model is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from motive.data.video.decode import Decoded, decode_at, measure_seconds
from motive.data.video.standardise import Fit, Standard, apply_fit, centre_start, fit_to, sample_times
from motive.data.video.video import DEFAULT_LIMITS, DecodeLimits
from motive.errors import ClipError


@dataclass(frozen=True)
class StandardClip:
    """A clip brought to a Standard, and what it was before.

    Attributes:
        frames: [T, H, W, 3] uint8 RGB.
        frame_times_s: [T] float64, time stamp of the source frame that each frame shows, from the first one;
            equal neighbours are one source frame shown twice.
        source_fps, source_frames, source_seconds: of the video stream; counted where decoding reached its
            end, otherwise as the header has them.
        source_height, source_width: pixels, after rotation.
        decoder: library, versions and codec.
        resize: ``none`` | ``area`` | ``linear`` | ``area+linear``.
    """

    frames: np.ndarray
    frame_times_s: np.ndarray
    source_fps: float
    source_frames: int
    source_seconds: float
    source_height: int
    source_width: int
    decoder: str
    resize: str


def load_clip(
    path: Path | str, standard: Standard, limits: DecodeLimits = DEFAULT_LIMITS, out: np.ndarray | None = None
) -> StandardClip:
    """Decode a video file and bring it to the standard.

    Frame j shows what a player shows at start + j / fps. Decoding stops at the last frame needed, each frame
    is resized at once, and at most one source frame is held, so memory is the standardised clip whatever the
    file claims.

    Args:
        path: a video file.
        standard: rate, frames, size, and the rules for short clips and start.
        limits: what the file may cost.
        out: [T, H, W, 3] uint8 to write the frames to; None makes it.

    Raises:
        ClipError: the reasons of decode_at, and too_short: the clip lasts less than (frames - 1) / fps
            seconds and the standard's rule for short clips is ``error``.
    """
    path = Path(path)
    start = centre_start(standard, measure_seconds(path, limits)) if standard.start == "centre" else 0.0
    times = sample_times(standard, start)
    out = np.empty((standard.frames, standard.height, standard.width, 3), dtype=np.uint8) if out is None else out
    resizer = _Resizer(standard)
    decoded = decode_at(path, times.tolist(), resizer, out, limits)
    shown = decoded.frame_times_s
    if decoded.filled < standard.frames:
        shown = _lengthen(path, standard, limits, decoded, resizer, out)
    return StandardClip(
        frames=out,
        frame_times_s=shown,
        source_fps=decoded.fps,
        source_frames=decoded.frames,
        source_seconds=decoded.seconds,
        source_height=decoded.height,
        source_width=decoded.width,
        decoder=decoded.decoder,
        resize=resizer.method,
    )


def _lengthen(
    path: Path, standard: Standard, limits: DecodeLimits, decoded: Decoded, resizer: _Resizer, out: np.ndarray
) -> np.ndarray:
    """Fill the frames past the end of a short clip by the standard's rule; returns all frames' source times."""
    if standard.short == "error" or decoded.filled == 0:
        raise ClipError(
            "too_short",
            f"{path.name} lasts {decoded.seconds:.4g} s, {standard.frames} frames at {standard.fps:g} fps need "
            f"{(standard.frames - 1) / standard.fps:.4g} s",
        )
    if standard.short == "hold":
        out[decoded.filled :] = out[decoded.filled - 1]
        held = np.full(standard.frames - decoded.filled, decoded.frame_times_s[-1])
        return np.concatenate([decoded.frame_times_s, held])
    # The second round of a loop samples other source frames than the first, so the clip is decoded once more.
    wrapped = np.mod(sample_times(standard), decoded.seconds)
    order = np.argsort(wrapped, kind="stable")
    looped = np.empty_like(out)
    again = decode_at(path, wrapped[order].tolist(), resizer, looped, limits)
    if again.filled < standard.frames:
        raise ClipError("damaged", f"{path.name} decodes to another length the second time")
    shown = np.empty(standard.frames)
    out[order], shown[order] = looped, again.frame_times_s
    return shown


class _Resizer:
    """Resizes every frame by the plan for its size; a stream may change size midway.

    ``method`` is that of the first frame.
    """

    def __init__(self, standard: Standard) -> None:
        self._standard = standard
        self._size = (0, 0)
        self._plan: Fit | None = None
        self.method = ""

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        size = (frame.shape[0], frame.shape[1])
        if self._plan is None or size != self._size:
            self._size, self._plan = size, fit_to(self._standard, *size)
            self.method = self.method or self._plan.method
        return apply_fit(frame, self._plan, self._standard)
