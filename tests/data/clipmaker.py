"""Video files that the tests make: frames that carry their own number, in any container, with any clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from motive.data.video.encode import MUXER_OPTIONS, encoder_options, to_pixels

BITS = 6


def numbered_frames(count: int, height: int = 48, width: int = 96) -> np.ndarray:
    """[count, H, W, 3] uint8 frames whose BITS vertical bands spell their index in black and white."""
    frames = np.empty((count, height, width, 3), dtype=np.uint8)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for index in range(count):
        for bit in range(BITS):
            frames[index, :, edges[bit] : edges[bit + 1]] = 255 if index >> bit & 1 else 0
    return frames


def numbers_of(frames: np.ndarray) -> list[int]:
    """The index that each frame spells."""
    centres = (np.linspace(0, frames.shape[2], BITS + 1)[:-1] + frames.shape[2] / BITS / 2).astype(int)
    lit = frames[:, frames.shape[1] // 2, centres].mean(-1) > 127
    return [sum(int(on) << bit for bit, on in enumerate(row)) for row in lit]


@dataclass(frozen=True)
class Stated:
    """What a file states beside its frames.

    Attributes:
        mirror: the display matrix mirrors.
        options: of the encoder.
        aspect: sample aspect ratio.
        colour: fields of the codec's context, such as color_trc.
    """

    mirror: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    aspect: Fraction | None = None
    colour: Mapping[str, int] = field(default_factory=dict)


def encode(
    path: Path,
    frames: np.ndarray,
    fps: int = 16,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    stamps: Sequence[int] | None = None,
    ticks: int | None = None,
    rotate: float = 0.0,
    **stated: Any,
) -> Path:
    """Write frames with PyAV; frame i is shown from stamps[i] / ticks seconds (default: i / fps).

    Args:
        frames: [n, H, W, 3] RGB, or [n, H, W, 4] with alpha.
        stated: fields of Stated.
    """
    more = Stated(**stated)
    clock = Fraction(1, ticks or fps)
    with av.open(str(path), "w", options=MUXER_OPTIONS) as container:
        stream = container.add_stream(codec, rate=fps, options=_merged(encoder_options(codec), more.options))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixel_format
        stream.codec_context.time_base = clock
        if more.aspect:
            stream.codec_context.sample_aspect_ratio = more.aspect
        for name, value in more.colour.items():
            setattr(stream.codec_context, name, value)
        if rotate or more.mirror:
            stream.set_display_rotation(rotate, hflip=more.mirror)
        for index, image in enumerate(frames):
            frame = _with_alpha(image) if frames.shape[-1] == 4 else to_pixels(image, pixel_format)
            frame.pts, frame.time_base = (stamps[index] if stamps else index), clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _merged(base: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Options of an encoder: flags add up, and so do x264's parameters."""
    joints = {"flags": "", "x264-params": ":"}
    return {**base, **more, **{k: joints[k].join((base[k], more[k])) for k in joints if k in base and k in more}}


def _with_alpha(image: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgba")


def encode_audio(path: Path, seconds: float = 1.0) -> Path:
    """Write a file with a tone and no picture."""
    rate = 16000
    with av.open(str(path), "w", options=MUXER_OPTIONS) as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        samples = np.sin(np.arange(int(rate * seconds)) * 0.2).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def remux(source: Path, target: Path, options: dict[str, str] | None = None) -> Path:
    """The same packets in another container, or with other muxer options."""
    with av.open(str(source)) as old, av.open(str(target), "w", options={**MUXER_OPTIONS, **(options or {})}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


def patched(source: Path, target: Path, box: bytes, offset: int, value: bytes) -> Path:
    """A copy of an MP4 file with bytes changed at an offset after each box's name."""
    data = bytearray(source.read_bytes())
    at = data.find(box)
    assert at >= 0, f"{source} has no {box!r} box"
    while at >= 0:
        data[at + 4 + offset : at + 4 + offset + len(value)] = value
        at = data.find(box, at + 4)
    target.write_bytes(bytes(data))
    return target


def discs(
    count: int, step: float, *, height: int = 96, width: int = 160, radius: float = 16.0, aspect: float = 1.0
) -> np.ndarray:
    """[count, H, W, 3] uint8: a white disc on grey moves to the right by ``step`` stored pixels a frame.

    It is a circle where a stored pixel is ``aspect`` times as wide as high, with its edges blended over a pixel.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    frames = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        centre = 2 + radius / aspect + index * step
        distance = np.hypot((x - centre) * aspect, y - height / 2)
        frames[index] = (64 + 191 * np.clip(radius - distance + 0.5, 0, 1))[..., None].round()
    return frames


def extent(frame: np.ndarray) -> tuple[float, float, float]:
    """(x of the centre, width, height) in pixels of the bright disc in a frame [H, W, 3]."""
    light = np.clip((frame[..., 1].astype(np.float64) - 64) / 191, 0, 1)
    rows, columns = light.max(1).sum(), light.max(0).sum()
    centre = (light.sum(0) * np.arange(light.shape[1])).sum() / light.sum()
    return float(centre), float(columns), float(rows)


def woven(progressive: np.ndarray, top_first: bool = True) -> np.ndarray:
    """Frames of two fields each, from twice as many progressive frames; the first field is the top one, or the bottom."""
    frames = progressive[0::2].copy()
    second = 1 if top_first else 0
    frames[:, second::2] = progressive[1::2, second::2]
    return frames


def write_two_streams(path: Path, first: np.ndarray, second: np.ndarray, default: int | None, fps: int = 16) -> Path:
    """A file with two H.264 streams; ``default`` is the one with that disposition, None for none."""
    with av.open(str(path), "w", options=MUXER_OPTIONS) as container:
        streams = [container.add_stream("libx264", rate=fps, options=encoder_options("libx264")) for _ in range(2)]
        for number, (stream, frames) in enumerate(zip(streams, (first, second), strict=True)):
            stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
            stream.disposition = av.stream.Disposition.default if number == default else 0
        for images in zip(first, second, strict=True):
            for stream, image in zip(streams, images, strict=True):
                container.mux(stream.encode(to_pixels(image, "yuv420p")))
        for stream in streams:
            container.mux(stream.encode(None))
    return path
