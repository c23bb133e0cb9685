"""From a video file to the frames that a model is given."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from motive.data.video.clip_spec import ClipSpec, Fit, apply_fit, centre_start, fit_to, sample_times
from motive.data.video.decode import Decoded, decode_at, measure_seconds
from motive.data.video.facts import SourceFacts
from motive.data.video.video import DEFAULT_LIMITS, DecodeLimits
from motive.errors import ClipError


@dataclass(frozen=True)
class LoadedClip(SourceFacts):
    """A clip brought to a ClipSpec, and what it was before.

    Attributes:
        frames: [T, H, W, 3] uint8 RGB.
        frame_times_s: [T] float64, time stamp of the source frame that each frame shows, from the first one;
            equal neighbours are one source frame shown twice.
        decoder: library, versions and codec.
        resize: ``none`` | ``area`` | ``linear`` | ``area+linear``.
    """

    frames: np.ndarray = field(kw_only=True)
    frame_times_s: np.ndarray = field(kw_only=True)
    decoder: str = field(kw_only=True)
    resize: str = field(kw_only=True)


def load_clip(
    path: Path | str, clip_spec: ClipSpec, limits: DecodeLimits = DEFAULT_LIMITS, out: np.ndarray | None = None
) -> LoadedClip:
    """Decode a video file and bring it to the clip spec.

    Frame j shows what a player shows at start + j / fps. Decoding stops at the last frame needed, each frame
    is resized at once, and at most one source frame is held, so memory is the standardised clip whatever the
    file claims.

    Args:
        path: a video file.
        clip_spec: rate, frames, size, and the rules for short clips and start.
        limits: what the file may cost.
        out: [T, H, W, 3] uint8 to write the frames to; None makes it.

    Raises:
        ClipError: the reasons of decode_at, and too_short: the clip lasts less than (frames - 1) / fps
            seconds and the clip spec's rule for short clips is ``error``.
    """
    path = Path(path)
    start = centre_start(clip_spec, measure_seconds(path, limits)) if clip_spec.start == "centre" else 0.0
    times = sample_times(clip_spec, start)
    out = np.empty((clip_spec.frames, clip_spec.height, clip_spec.width, 3), dtype=np.uint8) if out is None else out
    resizer = _Resizer(clip_spec)
    decoded = decode_at(path, times.tolist(), resizer, out, limits, clip_spec.interlaced)
    shown, source = decoded.frame_times_s, decoded.source
    if decoded.filled < clip_spec.frames:
        shown, source = _lengthen(path, clip_spec, limits, decoded, resizer, out)
    return LoadedClip(
        **source.source_facts(), frames=out, frame_times_s=shown, decoder=decoded.decoder, resize=resizer.method
    )


def _lengthen(
    path: Path, clip_spec: ClipSpec, limits: DecodeLimits, decoded: Decoded, resizer: _Resizer, out: np.ndarray
) -> tuple[np.ndarray, SourceFacts]:
    """Fill the frames past the end of a short clip by the clip spec's rule; returns all frames' source times."""
    source = decoded.source
    if clip_spec.short == "error" or decoded.filled == 0:
        raise ClipError(
            "too_short",
            f"{path.name} lasts {source.source_seconds:.4g} s ({source.source_frames} frames at "
            f"{source.source_fps:.4g} fps), {clip_spec.frames} frames at {clip_spec.fps:g} fps need "
            f"{(clip_spec.frames - 1) / clip_spec.fps:.4g} s",
        )
    if clip_spec.short == "hold":
        out[decoded.filled :] = out[decoded.filled - 1]
        held = np.full(clip_spec.frames - decoded.filled, decoded.frame_times_s[-1])
        return np.concatenate([decoded.frame_times_s, held]), source
    # The second round of a loop samples other source frames than the first, so the clip is decoded once more.
    wrapped = np.mod(sample_times(clip_spec), source.source_seconds)
    order = np.argsort(wrapped, kind="stable")
    looped = np.empty_like(out)
    again = decode_at(path, wrapped[order].tolist(), resizer, looped, limits, clip_spec.interlaced)
    if again.filled < clip_spec.frames:
        raise ClipError("damaged", f"{path.name} decodes to another length the second time")
    shown = np.empty(clip_spec.frames)
    out[order], shown[order] = looped, again.frame_times_s
    # The first round reached the file's end and counted; the second one knows which frames were shown.
    counted = {name: getattr(source, name) for name in ("source_fps", "source_frames", "source_seconds")}
    return shown, replace(again.source, **counted)


class _Resizer:
    """Resizes every frame by the plan for its size; a stream may change size midway.

    ``method`` is that of the first frame.
    """

    def __init__(self, clip_spec: ClipSpec) -> None:
        self._clip_spec = clip_spec
        self._seen: tuple[int, int, Fraction] | None = None
        self._plan = Fit(0, 0, 0, 0, 0, 0, 0, 0, "")
        self.method = ""

    def __call__(self, frame: np.ndarray, aspect: Fraction) -> np.ndarray:
        seen = (frame.shape[0], frame.shape[1], aspect)
        if seen != self._seen:
            self._seen, self._plan = seen, fit_to(self._clip_spec, frame.shape[0], frame.shape[1], float(aspect))
            self.method = self.method or self._plan.method
        return apply_fit(frame, self._plan, self._clip_spec)
