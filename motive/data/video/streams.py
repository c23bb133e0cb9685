"""Choice of the video stream and its decoder, and the pixel format in its header."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from motive.errors import ClipError

SQUARE = Fraction(1)
_ASPECT_LIMIT = 4
"""Pixels more than this times as wide as high, or as high as wide, are not believed. The most extreme ratio in use is
about 2.9 (32:11, half-width PAL shown as 16:9)."""

_HDR = {16: "pq", 18: "hlg"}
"""AVColorTransferCharacteristic of SMPTE ST 2084 and of ARIB STD-B67."""

_INTERLACED_ORDERS = {2: "top first", 3: "bottom first", 4: "bottom first", 5: "top first"}
"""AVFieldOrder -> the field that is displayed first."""

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these drop the alpha plane."""


def choose_stream(av: Any, container: Any, name: str) -> tuple[Any, str]:
    """The stream to decode, and a note where there were several.

    The stream with the disposition ``default``; of several such or without one, the one that FFmpeg calls best. Cover
    art does not count.

    Raises:
        ClipError: no_video_stream.
    """
    disposition = av.stream.Disposition
    streams = [s for s in container.streams.video if not s.disposition & disposition.attached_pic]
    if not streams:
        raise ClipError("no_video_stream", f"{name} has no video stream")
    default = [s for s in streams if s.disposition & disposition.default]
    candidates = default or streams
    best = container.streams.best("video")
    chosen = next((s for s in candidates if best is not None and s.index == best.index), candidates[0])
    if len(streams) == 1:
        return chosen, ""
    why = "its default" if len(default) == 1 else "the one that FFmpeg calls best"
    listed = ", ".join(str(s.index) for s in streams)
    return chosen, f"{name} has the video streams {listed}; took {chosen.index}, {why}"


def alpha_decoder(av: Any, stream: Any, name: str) -> Any | None:
    """A decoder that keeps the alpha plane of VP8 or VP9; None where the stream's own decoder does.

    Raises:
        ClipError: unsupported_codec: this build of FFmpeg lacks libvpx.
    """
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    decoder = _ALPHA_DECODERS.get(stream.codec_context.name)
    if decoder is None or tags.get("alpha_mode") != "1":
        return None
    if decoder not in av.codecs_available:
        raise ClipError(
            "unsupported_codec", f"{name} has an alpha plane, and this FFmpeg has no {decoder} to decode it"
        )
    context = av.CodecContext.create(decoder, "r")
    context.extradata = stream.codec_context.extradata
    return context


def pixel_aspect(stream: Any, name: str) -> tuple[Fraction, str]:
    """Width to height of a stored pixel, and a note where the header's is not believed."""
    ratio = stream.sample_aspect_ratio
    if not ratio or ratio < 0:
        return SQUARE, ""
    ratio = Fraction(ratio)
    if not Fraction(1, _ASPECT_LIMIT) <= ratio <= _ASPECT_LIMIT:
        stated = f"{ratio.numerator}:{ratio.denominator}"
        return SQUARE, f"{name} states a sample aspect ratio of {stated}; its pixels count as square"
    return ratio, ""


def hdr_of(context: Any) -> str:
    """``pq``, ``hlg`` or empty, by the stream's transfer function."""
    return _HDR.get(int(context.color_trc), "")


def has_dolby_vision(frame: Any) -> bool:
    """Whether a decoded frame carries Dolby Vision metadata, which FFmpeg hands on and does not apply."""
    return any(item.type.name in ("DOVI_METADATA", "DOVI_RPU_BUFFER") for item in frame.side_data)


def stated_order(context: Any) -> str:
    """The field that the header calls first, empty for progressive; PyAV older than 18 does not tell."""
    return _INTERLACED_ORDERS.get(int(getattr(context, "field_order", 0)), "")


def first_rate(*rates: Any) -> float:
    """The first believable frame rate, or 0."""
    return next((float(rate) for rate in rates if rate is not None and 0 < rate <= 1000), 0.0)


def header_seconds(container: Any, stream: Any) -> float:
    """Length of the video by the header, or 0; a length shared with another stream says nothing of this one."""
    tick = float(stream.time_base) if stream.time_base else 0.0
    if stream.duration and stream.duration > 0:
        return stream.duration * tick
    if container.duration and len(container.streams) == 1:
        return max(container.duration / 1e6 - max((stream.start_time or 0) * tick, 0.0), 0.0)
    return 0.0
