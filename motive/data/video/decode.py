"""Frames chosen by time stamp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from motive.data.video.video import DecodeLimits, Video, open_video
from motive.errors import ClipError


@dataclass(frozen=True)
class Decoded:
    """What decode_at found.

    Attributes:
        filled: how many of the times had a frame on display.
        frame_times_s: [filled] float64, start of the source frame shown at each time, from the first frame.
        ended: the file's end was reached, so frames and seconds are counted and not read from the header.
        frames, seconds, fps: of the source.
        height, width: of the source, in pixels, after rotation.
        decoder: library, version and codec.
    """

    filled: int
    frame_times_s: np.ndarray
    ended: bool
    frames: int
    seconds: float
    fps: float
    height: int
    width: int
    decoder: str


def decode_at(
    path: Path,
    times_s: Sequence[float],
    convert: Callable[[np.ndarray], np.ndarray],
    out: np.ndarray,
    limits: DecodeLimits,
) -> Decoded:
    """Write the frame on display at each time into out, and stop when the last one is known.

    The frame on display at t is the last one whose time stamp is <= t (within one tick of the file's clock,
    at most a millisecond), so variable frame rates need no special case. Times count from the first frame.
    Only ``out`` and one source frame are held in memory.

    Args:
        path: a regular file.
        times_s: ascending, in seconds.
        convert: source frame [H, W, 3] RGB uint8, upright, to out's frame; called once for a frame that is used.
        out: [len(times_s), ...] uint8; rows past ``filled`` keep what they held.
        limits: what one file may cost.

    Raises:
        ClipError: with one of these reasons.
            missing_file, not_a_file, empty_file: the path names no file, a folder or device, or zero bytes.
            unreadable: FFmpeg does not recognise the file, or nothing in it decodes.
            no_video_stream: audio only (cover art does not count).
            unsupported_codec: no decoder for the stream.
            too_large: more pixels, seconds or frames than the limits allow.
            truncated: the file ends before its header says it does.
            damaged: a packet or frame before the last one needed does not decode.
            one_frame: a still picture.
            timeout: limits.timeout_s passed.
    """
    with open_video(path, limits) as video:
        sampler = _Sampler(times_s, convert, out, video)
        for start, frame in video.timeline():
            sampler.show_until(start - video.tolerance_s)
            if sampler.filled == len(times_s):
                return sampler.result(*video.header(sampler.frames, start), ended=False)
            sampler.show(start, frame)
        seconds = sampler.end()
        sampler.show_until(seconds + video.tolerance_s, inclusive=True)
        if sampler.filled < len(times_s):
            video.check_complete(seconds)
        return sampler.result(sampler.frames, seconds, video.fps(sampler.frames, sampler.start_s), ended=True)


class _Sampler:
    """Puts the frame on display at each of the times into out."""

    def __init__(
        self, times_s: Sequence[float], convert: Callable[[np.ndarray], np.ndarray], out: np.ndarray, video: Video
    ) -> None:
        self._times_s, self._convert, self._out, self._video = times_s, convert, out, video
        self._frame: Any = None
        self._image: np.ndarray | None = None
        self._frame_times_s: list[float] = []
        self._size = (0, 0)
        self.start_s = 0.0
        self.frames = 0

    @property
    def filled(self) -> int:
        return len(self._frame_times_s)

    def show(self, start_s: float, frame: Any) -> None:
        """Make a frame the one on display."""
        if self._frame is None:
            self._size = self._video.upright_size(frame)
        self._frame, self._image, self.start_s = frame, None, start_s
        self.frames += 1

    def show_until(self, end_s: float, inclusive: bool = False) -> None:
        """The frame on display serves every time before end_s."""
        while self._frame is not None and self.filled < len(self._times_s):
            at = self._times_s[self.filled]
            if not (at < end_s or (inclusive and at == end_s)):
                return
            if self._image is None:
                self._image = self._convert(self._video.rgb(self._frame))
            self._out[self.filled] = self._image
            self._frame_times_s.append(self.start_s)

    def end(self) -> float:
        """Seconds at which the last frame leaves the display."""
        if self._frame is None:
            self._video.check_complete(0.0)
            raise ClipError("unreadable", f"no frame of {self._video.name} decodes")
        seconds = self.start_s + self._video.display_seconds(self._frame)
        if self.frames == 1:
            self._video.check_complete(seconds)
            raise ClipError("one_frame", f"{self._video.name} holds a single frame")
        return seconds

    def result(self, frames: int, seconds: float, fps: float, ended: bool) -> Decoded:
        times = np.array(self._frame_times_s, dtype=np.float64)
        return Decoded(self.filled, times, ended, frames, seconds, fps, *self._size, self._video.decoder)


def measure_seconds(path: Path, limits: DecodeLimits) -> float:
    """Length of the video stream, from its packets' time stamps and without decoding any of them.

    Raises:
        ClipError: as decode_at.
    """
    with open_video(path, limits) as video:
        count = sum(1 for packet in video.packets() if packet.size and not packet.is_discard)
        video.check("frames", count, limits.max_frames)
        seconds = video.packet_seconds or count * video.step_s
        video.check("seconds", seconds, limits.max_seconds)
        return seconds
