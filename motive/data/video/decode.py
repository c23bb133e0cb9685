"""Frames chosen by time stamp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from motive.data.video.buckets import SourceShape
from motive.data.video.combing import COMBED, combing, thinned
from motive.data.video.facts import SourceFacts
from motive.data.video.fields import Deinterlacer
from motive.data.video.picture import AS_STORED, Painter, orientation_of, ratio_text
from motive.data.video.video import DecodeLimits, Shot, Video, open_video
from motive.errors import ClipError
from motive.extras import require

Convert = Callable[[np.ndarray, Fraction], np.ndarray]
"""Brings a source frame, [H, W, 3] RGB uint8 and upright, and the width to height of its pixels, to the wanted form."""

_COMBED_PAIRS = 8


@dataclass(frozen=True)
class Decoded:
    """What decode_at found.

    Attributes:
        filled: how many of the times had a frame on display.
        frame_times_s: [filled] float64, start of the source frame shown at each time, from the first frame.
        ended: the file's end was reached, so frames and seconds are counted and not read from the header.
        source: facts of the file, and which of its frames were shown.
        decoder: library, version and codec.
    """

    filled: int
    frame_times_s: np.ndarray
    ended: bool
    source: SourceFacts
    decoder: str


def decode_at(
    path: Path,
    times_s: Sequence[float],
    convert: Convert,
    out: np.ndarray,
    limits: DecodeLimits,
    interlaced: str = "deinterlace",
) -> Decoded:
    """Write the frame on display at each time into out, and stop when the last one is known.

    The frame on display at t is the last one whose time stamp is <= t (within one tick of the file's clock,
    at most a millisecond), so variable frame rates need no special case. Times count from the first frame.
    Only ``out`` and one source frame are held in memory, three while deinterlacing.

    Args:
        path: a regular file.
        times_s: ascending, in seconds.
        convert: source frame to out's frame; called once for a frame that is used.
        out: [len(times_s), ...] uint8; rows past ``filled`` keep what they held.
        limits: what one file may cost.
        interlaced: ``deinterlace`` or ``error``.

    Raises:
        ClipError: with one of these reasons.
            missing_file, not_a_file, empty_file: the path names no file, a folder or device, or zero bytes.
            unreadable: FFmpeg does not recognise the file, or nothing in it decodes.
            no_video_stream: audio only (cover art does not count).
            unsupported_codec: no decoder for the stream.
            too_large: more pixels, seconds or frames than the limits allow.
            truncated: the file ends before its header says it does.
            damaged: a packet or frame before the last one needed does not decode.
            bad_time_stamps: time stamps jump back too often.
            interlaced: flagged so, and ``interlaced`` is ``error`` or the frames cannot be filtered.
            one_frame: a still picture.
            timeout: limits.timeout_s passed.
    """
    with open_video(path, limits) as video:
        fields = Deinterlacer(video, path, limits, interlaced)
        sampler = _Sampler(times_s, convert, out, video, fields)
        with closing(fields.shots()) as shots:
            for shot in shots:
                sampler.show_until(shot.start_s - video.tolerance_s)
                if sampler.filled == len(times_s):
                    return sampler.result(*video.header(sampler.frames, shot.start_s), ended=False)
                sampler.show(shot)
        seconds = sampler.end()
        sampler.show_until(seconds + video.tolerance_s, inclusive=True)
        if sampler.filled < len(times_s):
            video.check_complete(seconds)
        return sampler.result(sampler.frames, seconds, video.fps(sampler.frames, sampler.start_s), ended=True)


class _Sampler:
    """Puts the frame on display at each of the times into out."""

    def __init__(
        self, times_s: Sequence[float], convert: Convert, out: np.ndarray, video: Video, fields: Deinterlacer
    ) -> None:
        self._times_s, self._convert, self._out = times_s, convert, out
        self._video, self._fields = video, fields
        self._painter = Painter(require("av", "motive.data.video.decode", extra="video"))
        self._combs = _Combs()
        self._shot: Shot | None = None
        self._image: np.ndarray | None = None
        self._shown: list[Shot] = []
        self._size = (0, 0)
        self._turned = AS_STORED
        self.start_s = 0.0
        self.frames = 0

    @property
    def filled(self) -> int:
        return len(self._shown)

    def show(self, shot: Shot) -> None:
        """Make a frame the one on display."""
        if self._shot is None:
            self._turned = orientation_of(shot.frame)
            self._size = self._turned.size(shot.frame.height, shot.frame.width)
            if self._turned.degrees:
                text = f"{self._video.name} states a rotation of {self._turned.degrees:g} degrees"
                self._video.note("rotation", f"{text}; its frames stay as stored")
        self._shot, self._image, self.start_s = shot, None, shot.start_s
        self.frames += 1

    def show_until(self, end_s: float, inclusive: bool = False) -> None:
        """The frame on display serves every time before end_s."""
        while self._shot is not None and self.filled < len(self._times_s):
            at = self._times_s[self.filled]
            if not (at < end_s or (inclusive and at == end_s)):
                return
            if self._image is None:
                self._image = self._paint(self._shot)
            self._out[self.filled] = self._image
            self._shown.append(Shot(self._shot.number, self._shot.start_s, self._shot.shown_s, None))

    def _paint(self, shot: Shot) -> np.ndarray:
        image = self._painter.rgb(shot.frame)
        if not self._fields.order and not self._combs.full:
            self._combs.add(thinned(self._painter.luma(shot.frame)))
        turned = orientation_of(shot.frame)
        return self._convert(turned.apply(image), turned.aspect(self._video.aspect))

    def end(self) -> float:
        """Seconds at which the last frame leaves the display."""
        if self._shot is None:
            self._video.check_complete(0.0)
            raise ClipError("unreadable", f"no frame of {self._video.name} decodes")
        seconds = self.start_s + self._shot.shown_s
        if self.frames == 1:
            self._video.check_complete(seconds)
            raise ClipError("one_frame", f"{self._video.name} holds a single frame")
        return seconds

    def result(self, frames: int, seconds: float, fps: float, ended: bool) -> Decoded:
        times = np.array([shot.start_s for shot in self._shown], dtype=np.float64)
        first = min(self._shown, key=lambda shot: shot.number, default=Shot(0, 0.0, 0.0, None))
        last = max(self._shown, key=lambda shot: shot.number, default=first)
        self._note()
        source = SourceFacts(
            source_fps=fps,
            source_frames=frames,
            source_seconds=seconds,
            source_height=self._size[0],
            source_width=self._size[1],
            sample_aspect=ratio_text(self._turned.aspect(self._video.aspect)),
            source_stream=self._video.stream,
            deinterlaced=self._fields.order,
            alpha=self._painter.transparent,
            hdr=self._video.hdr,
            used_first=first.number,
            used_last=last.number,
            used_start_s=first.start_s,
            used_end_s=last.start_s + last.shown_s,
            notes=tuple(self._video.notes),
        )
        return Decoded(self.filled, times, ended, source, self._video.decoder)

    def _note(self) -> None:
        """Notes that only the decoded frames can tell."""
        video, combed = self._video, self._combs.value
        if combed > COMBED:
            video.note("combed", f"{video.name} looks interlaced (combing {combed:.2f}) and is not flagged so")
        if self._painter.transparent:
            video.note("alpha", f"{video.name} has transparent pixels, composited on black")
        if video.hdr:
            video.note("hdr", f"{video.name} is HDR ({video.hdr.upper()}); no tone mapping was applied")


class _Combs:
    """Combing of the first pairs of frames that are shown."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._pairs: list[float] = []

    @property
    def full(self) -> bool:
        """Whether enough was seen."""
        return len(self._pairs) == _COMBED_PAIRS

    def add(self, plane: np.ndarray) -> None:
        """Take in a frame as stored, as thinned gives it."""
        if self._before is not None:
            found = combing([(self._before, plane)])
            self._pairs += [found] if found else []
        self._before = plane

    @property
    def value(self) -> float:
        """The median, 0 where nothing moves."""
        return float(np.median(self._pairs)) if self._pairs else 0.0


@dataclass(frozen=True)
class Header:
    """What a video file says of itself, and the form of its first frame.

    Attributes:
        seconds: length by the header; 0 where it does not say.
        frames: the same.
        fps: frames a second.
        height, width: pixels of the first frame, upright.
        aspect: width to height of a pixel.
    """

    seconds: float
    frames: int
    fps: float
    height: int
    width: int
    aspect: float


def read_header(path: Path, limits: DecodeLimits) -> Header:
    """The header and the first frame of a video; nothing behind that frame is looked at.

    Raises:
        ClipError: as decode_at.
    """
    with open_video(path, limits) as video, closing(video.timeline()) as shots:
        frame = next((shot.frame for shot in shots), None)
        if frame is None:
            raise ClipError("unreadable", f"no frame of {video.name} decodes")
        turned = orientation_of(frame)
        height, width = turned.size(frame.height, frame.width)
        frames, seconds, fps = video.header(0, 0.0)
        return Header(seconds, frames, fps, height, width, float(turned.aspect(video.aspect)))


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


def measure_shape(path: Path, limits: DecodeLimits) -> SourceShape:
    """Length and size of a clip as displayed, from its packets' time stamps and its first frame.

    Raises:
        ClipError: as decode_at.
    """
    seconds = measure_seconds(path, limits)
    with open_video(path, limits) as video, closing(video.timeline()) as shots:
        frame = next((shot.frame for shot in shots), None)
        if frame is None:
            raise ClipError("unreadable", f"no frame of {video.name} decodes")
        turned = orientation_of(frame)
        height, width = turned.size(frame.height, frame.width)
        return SourceShape(seconds, video.tolerance_s, height, width, float(turned.aspect(video.aspect)))
