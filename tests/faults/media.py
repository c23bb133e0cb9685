"""Hostile video files, made here: each is refused with a reason or read within its limits, and the next one is read."""

from __future__ import annotations

import resource
import wave
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from motive.data import ClipSpec, DecodeLimits, DecoderPool, write_video
from motive.data.video.encode import MUXER_OPTIONS, encoder_options, to_pixels
from motive.errors import ClipError
from motive.extras import require as package
from tests.faults.rows import Row, require

STANDARD = ClipSpec(fps=12.0, frames=9, height=32, width=32, short="hold")
LIMITS = DecodeLimits(timeout_s=10.0, memory_bytes=2 << 30)
_MEAN_S = 2.0
"""Most processor time of a file on average, twenty times what it takes; a decoder that hangs is ended by its limit."""


def run(quick: bool, folder: Path) -> list[Row]:
    """Decode the corpus, a sound file after each hostile one now and then."""
    sound = folder / "sound.mp4"
    write_video(sound, _moving(24, 64, 64), 12.0)
    files = list(corpus(folder, sound, 40 if quick else 360))
    outcomes: Counter[str] = Counter()
    before_s = _children_s()
    with DecoderPool(STANDARD, LIMITS) as pool:
        right = pool.load_clip(sound).frames
        for number, file in enumerate(files):
            try:
                clip = pool.load_clip(file)
                require(clip.frames.shape == (9, 32, 32, 3), f"{file.name}: frames of another shape")
                outcomes["read"] += 1
            except ClipError as error:
                outcomes[error.reason] += 1
            if number % 20 == 0:
                require(bool((pool.load_clip(sound).frames == right).all()), f"after {file.name}: other frames")
        started = pool.started
    mean_s = (_children_s() - before_s) / len(files)
    require(mean_s < _MEAN_S, f"a file took {mean_s:.1f} s of processor time on average")
    child_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    kinds = ", ".join(f"{kind} {count}" for kind, count in outcomes.most_common())
    note = f"{kinds}; {1e3 * mean_s:.0f} ms of processor time a file, {started} decoder processes, at most {child_mb:.0f} MB"
    return [Row("hostile media files", len(files), "each read within limits or refused with a reason", note)]


def _children_s() -> float:
    """Processor time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def corpus(folder: Path, sound: Path, count: int) -> Iterator[Path]:
    """Files of many kinds; the same for the same count."""
    rng, number = np.random.default_rng(0), 0
    bases = [sound, *_containers(folder)]
    special = list(_special(folder, sound))
    yield from special
    while len(special) + number < count:
        base = bases[number % len(bases)]
        data = bytearray(base.read_bytes())
        kind = ("cut", "flips", "header", "swap", "zeros")[number // len(bases) % 5]
        if kind == "cut":
            data = data[: int(rng.integers(1, len(data)))]
        elif kind == "flips":
            for place in rng.integers(0, len(data), int(rng.integers(1, 60))):
                data[place] ^= int(rng.integers(1, 256))
        elif kind == "header":  # a big-endian number near the front becomes another
            place = int(rng.integers(0, min(len(data) - 4, 1200)))
            data[place : place + 4] = int(rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 10**9])).to_bytes(4, "big")
        elif kind == "swap":
            a, b = sorted(int(place) for place in rng.integers(0, len(data), 2))
            data = data[:a] + data[b:] + data[a:b]
        else:
            a = int(rng.integers(0, len(data)))
            data[a : a + 256] = bytes(len(data[a : a + 256]))
        path = folder / f"{kind}-{number}{base.suffix}"
        path.write_bytes(data)
        number += 1
        yield path


def _special(folder: Path, sound: Path) -> Iterator[Path]:
    data = sound.read_bytes()
    for name, changed in (
        ("ten-hours.mp4", _boxes(data, {b"mvhd": (16, 36_000 * 1000), b"mdhd": (16, 36_000 * 12_288)})),
        ("billion-frames.mp4", _boxes(data, {b"stts": (8, 10**9), b"stsz": (8, 10**9)})),
        ("samples-of-2GB.mp4", _boxes(data, {b"stsz": (4, 0x7FFFFFFF)})),
        ("many-chunks.mp4", _boxes(data, {b"stco": (4, 0x7FFFFFFF)})),
        ("wide.mp4", _boxes(data, {b"avc1": (24, 0x40004000), b"tkhd": (76, 16384 << 16)})),
        ("no-time.mp4", _boxes(data, {b"mdhd": (12, 0), b"mvhd": (12, 0)})),
        ("empty.mp4", b""),
        ("one-byte.mp4", b"\0"),
        ("text.mp4", b"not a video\n" * 100),
        ("zeros.mp4", bytes(1 << 16)),
        ("playlist.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        ("concat.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        ("16k.y4m", b"YUV4MPEG2 W16384 H16384 F25:1 Ip A1:1 C420\nFRAME\n" + bytes(1 << 16)),
        ("huge.y4m", b"YUV4MPEG2 W2000000000 H2000000000 F25:1 Ip A1:1 C420\nFRAME\n"),
        ("script.svg.mp4", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"),
        ("gif-65535.gif", b"GIF89a\xff\xff\xff\xff\xf7\0\0" + bytes(1000)),
    ):
        (folder / name).write_bytes(changed)
        yield folder / name
    yield _sound_only(folder / "sound-only.wav")
    yield from _odd_sizes(folder)
    yield _variable_rate(folder / "variable.mkv")
    (folder / "folder.mp4").mkdir()
    yield folder / "folder.mp4"
    (folder / "loop.mp4").symlink_to("loop.mp4")
    yield folder / "loop.mp4"
    (folder / "device.mp4").symlink_to("/dev/zero")
    yield folder / "device.mp4"
    yield folder / "missing.mp4"


def _boxes(data: bytes, changes: dict[bytes, tuple[int, int]]) -> bytes:
    """The MP4 with 32-bit fields overwritten: box name -> (bytes after the name, value)."""
    changed = bytearray(data)
    for name, (offset, value) in changes.items():
        place = changed.find(name)
        require(place > 0, f"the MP4 has no box {name!r}")
        at = place + 4 + offset
        changed[at : at + 4] = value.to_bytes(4, "big")
    return bytes(changed)


def _containers(folder: Path) -> Iterator[Path]:
    for name, codec, pixels in (
        ("base.mkv", "libx264", "yuv420p"),
        ("base.avi", "mjpeg", "yuvj420p"),
        ("base.ts", "mpeg2video", "yuv420p"),
        ("base.webm", "libvpx-vp9", "yuv420p"),
        ("base.gif", "gif", "rgb8"),
    ):
        yield _encode(folder / name, codec, pixels, _moving(16, 48, 64))


def _odd_sizes(folder: Path) -> Iterator[Path]:
    for height, width in ((1, 1), (1, 640), (2, 2), (3, 5), (2160, 2)):
        yield _encode(folder / f"{height}x{width}.mov", "png", "rgb24", _moving(9, height, width))


def _encode(path: Path, codec: str, pixels: str, frames: np.ndarray, times: list[int] | None = None) -> Path:
    av: Any = package("av", "media", "video")
    with av.open(str(path), "w", options=MUXER_OPTIONS) as container:
        stream = container.add_stream(codec, rate=12, options=encoder_options(codec))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, frame in enumerate(frames):
            picture = to_pixels(frame, pixels)
            if times is not None:
                picture.pts, picture.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def _variable_rate(path: Path) -> Path:
    return _encode(path, "libx264", "yuv420p", _moving(8, 48, 64), [0, 1, 500, 501, 3000, 3001, 3002, 9000])


def _sound_only(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return path


def _moving(count: int, height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width + count, 3), dtype=np.uint8)
    return np.stack([np.ascontiguousarray(noise[:, t : t + width]) for t in range(count)])
