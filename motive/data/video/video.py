"""One video file, opened with limits that a lying header cannot lift."""

from __future__ import annotations

import math
import os
import stat
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motive.data.media import Media, media_of
from motive.data.video.clock import Clock
from motive.data.video.facts import MAX_NOTES
from motive.data.video.streams import (
    alpha_decoder,
    choose_stream,
    first_rate,
    has_dolby_vision,
    hdr_of,
    header_seconds,
    pixel_aspect,
    stated_order,
)
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
        memory_bytes: address space of the process that decodes, where that is a separate one (DecoderPool).
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


@dataclass(frozen=True)
class Shot:
    """A frame with its place in time.

    Attributes:
        number: from 0, in order of display.
        start_s: seconds from the first frame.
        shown_s: how long the frame says it is shown, or one nominal frame.
        frame: PyAV's.
    """

    number: int
    start_s: float
    shown_s: float
    frame: Any


class Video:
    """One open file: its stream's clock, limits and frames.

    Attributes:
        name: of the file.
        stream: index of the video stream.
        decoder: library, version and codec.
        aspect: width to height of a stored pixel.
        stated_order: the field that the header calls first; empty if it calls the stream progressive.
        notes: (kind, text) of what a person should know (facts.NOTES).
    """

    def __init__(self, av: Any, path: Path, container: Any, limits: DecodeLimits) -> None:
        self._av, self._path, self._container, self._limits = av, path, container, limits
        self.name = path.name
        self.notes: list[tuple[str, str]] = []
        self._deadline = time.monotonic() + limits.timeout_s
        try:
            stream, several = choose_stream(av, container, self.name)
        except ClipError as error:
            raise _truncated_or(path, error) from error
        self.note("streams", several)
        self._stream = stream
        if stream.codec_context is None:
            raise _truncated_or(path, ClipError("unsupported_codec", f"no decoder for the video of {path.name}"))
        self.check("pixels", stream.codec_context.width * stream.codec_context.height, limits.max_pixels)
        self._separate = alpha_decoder(av, stream, self.name)
        context = self._separate or stream.codec_context
        context.options = {"max_pixels": str(limits.max_pixels)}
        context.thread_count = limits.threads
        self.stream = int(stream.index)
        self.decoder = (
            f"pyav {av.__version__} libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))} {context.name}"
        )
        self.aspect, doubt = pixel_aspect(stream, self.name)
        self.note("aspect", doubt)
        self.stated_order = stated_order(stream.codec_context)
        self._header_fps = first_rate(stream.average_rate, stream.guessed_rate, stream.base_rate)
        self.step_s = 1 / (first_rate(stream.guessed_rate, stream.average_rate, stream.base_rate) or 25.0)
        self._tick_s = float(stream.time_base) if stream.time_base else 0.0
        self.tolerance_s = min(max(self._tick_s, 1e-6), 1e-3)
        self._header_seconds = header_seconds(container, stream)
        self._spans = _Spans(self.step_s)
        self.check("seconds", self._header_seconds, limits.max_seconds)
        self.check("frames", stream.frames, limits.max_frames)

    def note(self, kind: str, text: str) -> None:
        """Keep a note, unless the text is empty or there are many already."""
        if text and len(self.notes) < MAX_NOTES:
            self.notes.append((kind, text))

    @property
    def hdr(self) -> str:
        """``pq``, ``hlg`` or empty, as far as decoded."""
        return hdr_of(self._stream.codec_context)

    @property
    def seconds_left(self) -> float:
        """Of the time that the file may take."""
        return self._deadline - time.monotonic()

    def check(self, what: str, value: float, limit: float) -> None:
        if value > limit:
            raise ClipError("too_large", f"{self.name} has {value:.10g} {what}, the limit is {limit:.10g}")

    def packets(self) -> Iterator[Any]:
        for packet in self._demux():
            if self.seconds_left < 0:
                raise ClipError("timeout", f"{self.name} took more than {self._limits.timeout_s:g} s")
            if packet.size and packet.pts is not None and not packet.is_discard:
                dts = None if packet.dts is None else packet.dts * self._tick_s
                self._spans.add(packet.pts * self._tick_s, dts, (packet.duration or 0) * self._tick_s)
            yield packet

    def _demux(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except IndexError as error:  # PyAV's, for a stream that the header does not announce
            raise ClipError("damaged", f"{self.name} gains a stream in its middle") from error

    @property
    def packet_seconds(self) -> float:
        """Time that the packets read so far cover, by their stamps; 0 without stamps."""
        return self._spans.seconds

    def _decode(self, packet: Any) -> list[Any]:
        if self._separate is None:
            return packet.decode()
        return self._separate.decode(packet if packet.size else None)

    def _frames(self) -> Iterator[Any]:
        """Frames in order of display; what comes before the first sound one is skipped, as players do."""
        started = False
        for packet in self.packets():
            try:
                frames = self._decode(packet)
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

    def timeline(self) -> Generator[Shot, None, None]:
        """Frames in order of display, by the rules of Clock."""
        clock = Clock(self.name, self.step_s, lambda text: self.note("time_stamps", text))
        end, size = 0.0, (0, 0)
        for number, frame in enumerate(self._frames()):
            self.check("frames", number + 1, self._limits.max_frames)
            self.check("pixels", frame.width * frame.height, self._limits.max_pixels)
            if number and (frame.height, frame.width) != size:
                was, now = f"{size[1]}x{size[0]}", f"{frame.width}x{frame.height}"
                self.note("frame_size", f"{self.name} changes from {was} to {now} pixels at frame {number}")
            if not number and has_dolby_vision(frame):
                self.note("dolby_vision", f"{self.name} carries Dolby Vision metadata, which was not applied")
            size = (frame.height, frame.width)
            base = float(frame.time_base or self._stream.time_base or 0)
            start = clock.place(number, None if frame.pts is None else frame.pts * base, end)
            self.check("seconds", start, self._limits.max_seconds)
            duration = getattr(frame, "duration", 0)
            shown = duration * base if duration and duration > 0 and base else self.step_s
            yield Shot(number, start, shown, frame)
            end = start + shown

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


class _Spans:
    """Seconds that packets cover; where their clock starts again, a further span begins."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._before = 0.0
        self._first, self._end, self._dts = math.inf, -math.inf, -math.inf

    def add(self, pts_s: float, dts_s: float | None, duration_s: float) -> None:
        """Take in a packet, in order of decoding, where only the clock of decoding rises."""
        if dts_s is not None:
            if dts_s < self._dts - self._step_s:
                self._before = self.seconds
                self._first, self._end = math.inf, -math.inf
            self._dts = dts_s
        self._first = min(self._first, pts_s)
        self._end = max(self._end, pts_s + (duration_s or self._step_s))

    @property
    def seconds(self) -> float:
        return self._before + (max(self._end - self._first, 0.0) if math.isfinite(self._first) else 0.0)
