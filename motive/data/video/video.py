"""One video file, opened with limits that a lying header cannot lift."""

from __future__ import annotations

import math
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from motive.data.media import Media, media_of
from motive.errors import ClipError, OptionError
from motive.extras import require

# Only demuxers of ordinary video files. Playlists and concatenation scripts (hls, dash, concat, ...) are left
# out on purpose: a text file of that kind, renamed to .mp4, makes FFmpeg open other files and addresses.
_CONTAINERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,flv,asf,ogg,ivf,obu,gif,apng,nut,mxf,dv,yuv4mpegpipe"
)


@dataclass(frozen=True)
class DecodeLimits:
    """How much one file may cost; checked against its header and again while decoding.

    Attributes:
        max_pixels: height times width of a source frame; the default admits 8K.
        max_seconds: length of the source, and the latest time stamp that is decoded.
        max_frames: frames that the source claims, and frames that are decoded.
        timeout_s: wall-clock seconds for one file.
        threads: decoder threads; the pixels do not depend on it.
        memory_bytes: address space of the process that decodes, where it has one of its own (DecoderPool).
    """

    max_pixels: int = 36_000_000
    max_seconds: float = 3600.0
    max_frames: int = 250_000
    timeout_s: float = 120.0
    threads: int = 1
    memory_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_seconds", "max_frames", "timeout_s", "threads", "memory_bytes"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise OptionError(f"DecodeLimits: {name} must be positive, got {value}; give a finite limit")


DEFAULT_LIMITS = DecodeLimits()


@contextmanager
def open_video(path: Path, limits: DecodeLimits) -> Iterator[Video]:
    """Open a file for decoding; whatever FFmpeg raises inside becomes a ClipError."""
    av = require("av", "motive.data.video.video", extra="video")
    media = media_of(path)
    _check_file(path, media)
    options = {
        "format_whitelist": _CONTAINERS,
        "protocol_whitelist": "file",
        # While probing FFmpeg forgets the size of a picture that it refuses, so it may look a little further than
        # the limit; Video then refuses by the size and says so.
        "max_pixels": str(4 * limits.max_pixels),
        "max_streams": "64",
    }
    try:
        with (
            nullcontext(os.path.abspath(path)) if media.whole else media.open() as source,
            av.open(
                source,
                options=options,
                metadata_errors="replace",
                timeout=(limits.timeout_s, limits.timeout_s),
            ) as container,
        ):
            yield Video(av, path, container, limits)
    except av.error.ExitError as error:
        raise ClipError("timeout", f"{path.name} took more than {limits.timeout_s:g} s") from error
    except av.error.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise ClipError("out_of_memory", f"decoding {path.name} took more memory than it may") from error
        detail = f"FFmpeg cannot read {path.name}: {error.strerror or error}"
        raise _truncated_or(path, ClipError("unreadable", detail)) from error


def _check_file(path: Path, media: Media) -> None:
    try:
        status = os.stat(media.file)
    except (OSError, ValueError) as error:
        raise ClipError("missing_file", f"{path} cannot be opened: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ClipError("not_a_file", f"{path} is not a regular file")
    if media.end(status.st_size) > status.st_size:
        raise ClipError("truncated", f"{media.file.name} ends before the last byte of {path.name}")
    if media.size() == 0:
        raise ClipError("empty_file", f"{path.name} has no bytes")


def _truncated_or(path: Path, error: ClipError) -> ClipError:
    """The error, or that the file is cut off, which explains it better."""
    try:
        cut = _is_cut_mp4(path)
    except OSError:  # the file may not be read, or is gone by now; the first error says why
        return error
    if cut:
        return ClipError("truncated", f"{path.name} ends inside its data, as an interrupted download does")
    return error


def _is_cut_mp4(path: Path) -> bool:
    """Whether the top-level boxes of an MP4 file run past its end or lack the index (moov)."""
    names: list[bytes] = []
    with media_of(path).open() as file:
        at, size = 0, file.seek(0, os.SEEK_END)
        while at + 8 <= size and len(names) < 64:
            file.seek(at)
            head = file.read(16)
            length, name = int.from_bytes(head[:4], "big"), head[4:8]
            if not names and name != b"ftyp":
                return False
            names.append(name)
            if length == 1 and len(head) == 16:
                length = int.from_bytes(head[8:16], "big")
            at += length if length >= 8 else size - at
    return bool(names) and (at > size or b"moov" not in names)


class Video:
    """One open file: its stream's clock, limits and frames."""

    def __init__(self, av: Any, path: Path, container: Any, limits: DecodeLimits) -> None:
        self._av, self._path, self._container, self._limits = av, path, container, limits
        self.name = path.name
        self._deadline = time.monotonic() + limits.timeout_s
        attached = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & attached]
        if not streams:
            raise _truncated_or(path, ClipError("no_video_stream", f"{path.name} has no video stream"))
        self._stream = stream = streams[0]
        if stream.codec_context is None:
            raise _truncated_or(path, ClipError("unsupported_codec", f"no decoder for the video of {path.name}"))
        context = stream.codec_context
        context.options = {"max_pixels": str(limits.max_pixels)}
        context.thread_count = limits.threads
        self.decoder = (
            f"pyav {av.__version__} libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))} {context.name}"
        )
        self._header_fps = _first_rate(stream.average_rate, stream.guessed_rate, stream.base_rate)
        self.step_s = 1 / (_first_rate(stream.guessed_rate, stream.average_rate, stream.base_rate) or 25.0)
        self._tick_s = float(stream.time_base) if stream.time_base else 0.0
        self.tolerance_s = min(max(self._tick_s, 1e-6), 1e-3)
        self._header_seconds = _header_seconds(container, stream)
        self._first_packet_s, self._packets_end_s = math.inf, -math.inf
        self._reformatter = av.video.reformatter.VideoReformatter()
        self.check("pixels", context.width * context.height, limits.max_pixels)
        self.check("seconds", self._header_seconds, limits.max_seconds)
        self.check("frames", stream.frames, limits.max_frames)

    def check(self, what: str, value: float, limit: float) -> None:
        if value > limit:
            raise ClipError("too_large", f"{self.name} has {value:.10g} {what}, the limit is {limit:.10g}")

    def packets(self) -> Iterator[Any]:
        for packet in self._demux():
            if time.monotonic() > self._deadline:
                raise ClipError("timeout", f"{self.name} took more than {self._limits.timeout_s:g} s")
            if packet.size and packet.pts is not None and not packet.is_discard:
                start = packet.pts * self._tick_s
                self._first_packet_s = min(self._first_packet_s, start)
                end = start + ((packet.duration or 0) * self._tick_s or self.step_s)
                self._packets_end_s = max(self._packets_end_s, end)
            yield packet

    def _demux(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except IndexError as error:  # PyAV's, for a stream that the header does not announce
            raise ClipError("damaged", f"{self.name} gains a stream in its middle") from error

    @property
    def packet_seconds(self) -> float:
        """Time that the packets read so far cover, by their stamps; 0 without stamps."""
        return max(self._packets_end_s - self._first_packet_s, 0.0) if math.isfinite(self._first_packet_s) else 0.0

    def _frames(self) -> Iterator[Any]:
        """Frames in order of display; what comes before the first sound one is skipped, as players do."""
        started = False
        for packet in self.packets():
            try:
                frames = packet.decode()
            except self._av.error.EOFError:
                return
            except self._av.error.FFmpegError as error:
                if started:
                    raise self._broken(packet, error.strerror or str(error)) from error
                continue
            for frame in frames:
                if frame.is_corrupt:
                    if started:
                        raise self._broken(packet, "a frame is incomplete")
                    continue
                started = True
                yield frame

    def _broken(self, packet: Any, detail: str) -> ClipError:
        end = (packet.pos or 0) + packet.size
        if packet.is_corrupt and packet.pos is not None and end >= self._container.size:
            return ClipError("truncated", f"{self.name} ends inside a frame")
        return ClipError("damaged", f"{self.name} does not decode to the last frame needed: {detail}")

    def timeline(self) -> Iterator[tuple[float, Any]]:
        """Frames with their start in seconds from the first one, never descending.

        A frame without a time stamp follows its predecessor at the nominal rate; so does one whose stamp jumps
        back by more than a frame, as where two recordings were joined.
        """
        zero: float | None = None
        start, step = 0.0, 0.0
        for count, frame in enumerate(self._frames(), 1):
            self.check("frames", count, self._limits.max_frames)
            self.check("pixels", frame.width * frame.height, self._limits.max_pixels)
            expected = start + step
            if frame.pts is None:
                start = expected
            else:
                stamp = frame.pts * float(frame.time_base or self._stream.time_base)
                if zero is None or stamp - zero < start - self.step_s:
                    zero = stamp - expected
                start = max(stamp - zero, start)
            self.check("seconds", start, self._limits.max_seconds)
            yield start, frame
            step = self.display_seconds(frame)

    def display_seconds(self, frame: Any) -> float:
        """How long a frame says it is shown, or one nominal frame."""
        base = frame.time_base or self._stream.time_base
        duration = getattr(frame, "duration", 0)
        return duration * float(base) if duration and duration > 0 and base else self.step_s

    def rgb(self, frame: Any) -> np.ndarray:
        """The frame upright, as [H, W, 3] RGB uint8."""
        image = self._reformatter.reformat(frame, format="rgb24", interpolation="BILINEAR").to_ndarray()
        return np.rot90(image, _quarter_turns(frame))

    def upright_size(self, frame: Any) -> tuple[int, int]:
        return (frame.width, frame.height) if _quarter_turns(frame) % 2 else (frame.height, frame.width)

    def fps(self, count: int, last_start: float) -> float:
        """Mean rate of the decoded frames; the header's where they agree, since clocks round."""
        counted = (count - 1) / last_start if last_start > 0 else 1 / self.step_s
        return self._header_fps if abs(self._header_fps - counted) <= 0.01 * counted else counted

    def header(self, count: int, seconds: float) -> tuple[int, float, float]:
        """(frames, seconds, fps) as the header has them, at least what was decoded."""
        fps = self._header_fps or self.fps(count, seconds)
        whole = max(self._header_seconds, seconds)
        return max(self._stream.frames or round(whole * fps), count), whole, fps

    def check_complete(self, seconds: float) -> None:
        """Refuse a file whose frames end well before its header says."""
        slack = max(0.1 * self._header_seconds, 4 * self.step_s)
        if self._header_seconds - seconds <= slack:
            return
        detail = f"the frames of {self.name} end at {seconds:.3g} s, its header says {self._header_seconds:.10g} s"
        lost = self._header_seconds - self.packet_seconds > slack
        raise ClipError("truncated" if lost else "damaged", detail)


def _first_rate(*rates: Any) -> float:
    """The first believable frame rate, or 0."""
    return next((float(rate) for rate in rates if rate is not None and 0 < rate <= 1000), 0.0)


def _header_seconds(container: Any, stream: Any) -> float:
    """Length of the video by the header, or 0; a length shared with an audio stream says nothing of the video."""
    tick = float(stream.time_base) if stream.time_base else 0.0
    if stream.duration and stream.duration > 0:
        return stream.duration * tick
    if container.duration and len(container.streams) == 1:
        return max(container.duration / 1e6 - max((stream.start_time or 0) * tick, 0.0), 0.0)
    return 0.0


def _quarter_turns(frame: Any) -> int:
    """Counter-clockwise quarter turns that bring a frame upright; other angles are left as they are."""
    turns = frame.rotation / 90
    return round(turns) if abs(turns - round(turns)) < 0.02 else 0
