"""Video files that the tests make: frames that carry their own number, in any container, with any clock."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

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
) -> Path:
    """Write frames with PyAV; frame i is shown from stamps[i] / ticks seconds (default: i / fps)."""
    clock = Fraction(1, ticks or fps)
    with av.open(str(path), "w", options=MUXER_OPTIONS) as container:
        stream = container.add_stream(codec, rate=fps, options=encoder_options(codec))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixel_format
        stream.codec_context.time_base = clock
        if rotate:
            stream.set_display_rotation(rotate)
        for index, image in enumerate(frames):
            frame = to_pixels(image, pixel_format)
            frame.pts, frame.time_base = (stamps[index] if stamps else index), clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


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
