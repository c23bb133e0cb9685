"""Frames are chosen by time stamp, whatever the container, the rate or the file's damage."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.error import PermissionError as AvPermissionError

from motive.data import ClipSpec, DecodeLimits, load_clip, write_video
from motive.data.video.decode import decode_at, measure_seconds
from motive.data.video.picture import Painter
from motive.errors import ClipError, OptionError
from tests.data.clipmaker import encode, encode_audio, numbered_frames, numbers_of, patched, remux

SMALL = ClipSpec(fps=16, frames=13, height=48, width=96)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames at 16 a second, index first."""
    folder = tmp_path_factory.mktemp("clip")
    return remux(encode(folder / "raw.mp4", numbered_frames(40)), folder / "clip.mp4", {"movflags": "faststart"})


@pytest.mark.parametrize(("fps", "step"), [(16, 1.0), (8, 2.0), (32, 0.5), (5, 3.2)])
def test_rate_is_resampled_by_time(clip: Path, fps: float, step: float) -> None:
    frames = load_clip(clip, ClipSpec(fps=fps, frames=9, height=48, width=96)).frames
    expected = [int(np.floor(j * step + 1e-9)) for j in range(9)]
    assert numbers_of(frames) == expected, f"{fps} fps of a 16 fps clip shows {numbers_of(frames)}"


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".ts", ".flv", ".h264"])
def test_containers_agree(tmp_path: Path, suffix: str) -> None:
    """Clocks of a millisecond, start offsets and missing stamps change nothing."""
    path = encode(tmp_path / f"clip{suffix}", numbered_frames(30), codec="mpeg4" if suffix == ".avi" else "libx264")
    loaded = load_clip(path, SMALL)
    assert numbers_of(loaded.frames) == list(range(13))
    assert (loaded.source_height, loaded.source_width) == (48, 96)
    if suffix != ".h264":  # a bare stream states no rate
        assert (loaded.source_fps, loaded.source_frames) == (pytest.approx(16), 30)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate(tmp_path: Path, suffix: str) -> None:
    """A frame is shown until the next one starts, however long that is."""
    stamps = [0, 40, 45, 200, 1000, 1010, 1500, 2000]
    path = encode(tmp_path / f"uneven{suffix}", numbered_frames(8), stamps=stamps, ticks=1000)
    loaded = load_clip(path, ClipSpec(fps=10, frames=17, height=48, width=96))
    shown = [max(i for i, stamp in enumerate(stamps) if stamp <= 100 * j) for j in range(17)]
    assert numbers_of(loaded.frames) == shown
    np.testing.assert_allclose(loaded.frame_times_s, [stamps[i] / 1000 for i in shown], atol=2e-3)


def test_joined_recordings_go_on(tmp_path: Path) -> None:
    """A clock that starts again in the middle does not hide what follows."""
    first, second = numbered_frames(20), numbered_frames(40)[20:]
    parts = [encode(tmp_path / name, part) for name, part in (("a.ts", first), ("b.ts", second))]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    loaded = load_clip(path, ClipSpec(fps=16, frames=33, height=48, width=96))
    assert numbers_of(loaded.frames)[:20] == list(range(20))
    assert max(numbers_of(loaded.frames)) > 25


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_is_applied(tmp_path: Path, turns: int) -> None:
    """A frame stored turned by 90 degrees, with the matrix that turns it back, loads upright."""
    upright = np.zeros((5, 48, 96, 3), dtype=np.uint8)
    upright[:, :16, :24] = 255
    stored = np.ascontiguousarray(np.rot90(upright, -turns, axes=(1, 2)))
    path = encode(tmp_path / "turned.mp4", stored, rotate=90.0 * turns)
    loaded = load_clip(path, ClipSpec(fps=16, frames=5, height=48, width=96))
    assert (loaded.source_height, loaded.source_width) == (48, 96)
    assert np.abs(loaded.frames.astype(int) - upright).mean() < 4, f"{turns} quarter turns load in the wrong direction"


@pytest.mark.parametrize(("height", "width"), [(33, 47), (1, 1), (2, 64), (130, 17)])
def test_odd_sizes(tmp_path: Path, height: int, width: int) -> None:
    frames = np.full((6, height, width, 3), 90, dtype=np.uint8)
    path = encode(tmp_path / "odd.mkv", frames, codec="ffv1", pixel_format="bgr0")
    loaded = load_clip(path, ClipSpec(fps=16, frames=5, height=40, width=56))
    assert loaded.frames.shape == (5, 40, 56, 3)
    assert (loaded.source_height, loaded.source_width) == (height, width)
    assert np.abs(loaded.frames.astype(int) - 90).max() <= 1


def test_short_clips_follow_the_rule(tmp_path: Path) -> None:
    path = encode(tmp_path / "short.mp4", numbered_frames(6))
    nine = ClipSpec(fps=16, frames=9, height=48, width=96)
    with pytest.raises(ClipError, match="too_short"):
        load_clip(path, nine)
    assert numbers_of(load_clip(path, replace(nine, short="hold")).frames) == [0, 1, 2, 3, 4, 5, 5, 5, 5]
    looped = load_clip(path, replace(nine, short="loop"))
    assert numbers_of(looped.frames) == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    np.testing.assert_allclose(looped.frame_times_s * 16, [0, 1, 2, 3, 4, 5, 0, 1, 2], atol=1e-6)


def test_a_loop_keeps_its_phase(tmp_path: Path) -> None:
    """At a rate that does not divide the clip, the second round shows other source frames than the first."""
    path = encode(tmp_path / "short.mp4", numbered_frames(7))
    frames = load_clip(path, ClipSpec(fps=8, frames=9, height=48, width=96, short="loop")).frames
    assert numbers_of(frames) == [j * 2 % 7 for j in range(9)]


def test_the_shortest_clip_that_is_long_enough(tmp_path: Path) -> None:
    """(frames - 1) / fps seconds are enough: the last frame is on display up to that moment."""
    path = encode(tmp_path / "just.mp4", numbered_frames(8))
    assert numbers_of(load_clip(path, ClipSpec(fps=16, frames=9, height=48, width=96)).frames) == [*range(8), 7]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_centre_start(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"clip{suffix}", numbered_frames(41))
    frames = load_clip(path, ClipSpec(fps=16, frames=9, height=48, width=96, start="centre")).frames
    assert numbers_of(frames) == list(range(16, 25))
    assert measure_seconds(path, DecodeLimits()) == pytest.approx(41 / 16, abs=2e-3)


def test_decoding_stops_at_the_last_frame_needed(tmp_path: Path) -> None:
    """Damage after it is not met, damage before it is."""
    path = encode(tmp_path / "clip.mkv", numbered_frames(60), codec="ffv1", pixel_format="bgr0")
    data = bytearray(path.read_bytes())
    half = len(data) // 2
    data[half : half + 64] = os.urandom(64)
    damaged = tmp_path / "damaged.mkv"
    damaged.write_bytes(bytes(data))
    assert numbers_of(load_clip(damaged, SMALL).frames) == list(range(13))
    with pytest.raises(ClipError) as error:
        load_clip(damaged, ClipSpec(fps=16, frames=57, height=48, width=96))
    assert error.value.reason in {"damaged", "truncated"}


def test_memory_is_the_standardised_clip(tmp_path: Path) -> None:
    """A long source of large frames costs one of them at a time."""
    big = np.repeat(np.repeat(numbered_frames(50), 10, axis=1), 10, axis=2)
    path = encode(tmp_path / "big.mp4", big)
    frame_bytes = big[0].nbytes
    del big
    tracemalloc.start()
    load_clip(path, ClipSpec(fps=16, frames=49, height=32, width=64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * frame_bytes, f"peak {peak / 1e6:.1f} MB for frames of {frame_bytes / 1e6:.1f} MB"


def test_threads_do_not_change_pixels(clip: Path) -> None:
    one, four = (load_clip(clip, SMALL, DecodeLimits(threads=n)).frames for n in (1, 4))
    assert np.array_equal(one, four)


def test_limits_are_checked(clip: Path, tmp_path: Path) -> None:
    mkv = remux(clip, tmp_path / "clip.mkv")  # whose header counts no frames
    for path in (clip, mkv):
        for limits in (DecodeLimits(max_pixels=4000), DecodeLimits(max_seconds=0.5), DecodeLimits(max_frames=5)):
            with pytest.raises(ClipError) as error:
                load_clip(path, SMALL, limits)
            assert error.value.reason == "too_large", f"{limits} on {path.name}: {error.value}"
        with pytest.raises(ClipError, match="timeout"):
            load_clip(path, SMALL, DecodeLimits(timeout_s=1e-9))
    with pytest.raises(OptionError, match="max_frames"):
        DecodeLimits(max_frames=0)


def test_times_need_not_be_regular(clip: Path) -> None:
    out = np.zeros((4, 48, 96, 3), dtype=np.uint8)
    decoded = decode_at(clip, [0.0, 0.0, 1.0, 99.0], lambda frame, aspect: frame, out, DecodeLimits())
    assert decoded.filled == 3
    assert decoded.ended
    assert decoded.source.source_frames == 40
    assert numbers_of(out[:3]) == [0, 0, 16]


def _le(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _hostile(folder: Path, clip: Path) -> dict[str, tuple[Path, set[str]]]:
    """name -> (file, reasons that are right)."""
    whole = clip.read_bytes()
    raw = remux(clip, folder / "moov_last.mp4").read_bytes()
    long = remux(clip, folder / "long.mkv")
    one = encode(folder / "one.mp4", numbered_frames(1))
    raw_avi = encode(folder / "raw.avi", numbered_frames(4), codec="rawvideo")
    mkv = long.read_bytes()
    duration = mkv.index(b"\x44\x89\x88") + 3  # milliseconds, a double
    ten_hours = mkv[:duration] + struct.pack(">d", 36e6) + mkv[duration + 8 :]

    def made(name: str, data: bytes, *reasons: str) -> tuple[Path, set[str]]:
        path = folder / name
        path.write_bytes(data)
        return path, set(reasons)

    os.mkfifo(folder / "pipe.mp4")
    return {
        "zero bytes": made("zero.mp4", b"", "empty_file"),
        "one byte": made("one_byte.mp4", b"\0", "unreadable"),
        "no such file": (folder / "none.mp4", {"missing_file"}),
        "a folder": (folder, {"not_a_file"}),
        "a pipe": (folder / "pipe.mp4", {"not_a_file"}),
        "a device": (Path("/dev/zero"), {"not_a_file"}),
        "text": made("text.mp4", b"the cat sat on the mat\n" * 100, "unreadable"),
        "random": made("random.mp4", np.random.default_rng(0).bytes(50_000), "unreadable"),
        "playlist": made("list.mp4", f"#EXTM3U\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n".encode(), "unreadable"),
        "script": made("script.mp4", f"ffconcat version 1.0\nfile {clip}\n".encode(), "unreadable"),
        "cut before its index": made("cut.mp4", raw[: len(raw) // 2], "truncated"),
        "cut in its index": made("cut_index.mp4", whole[:400], "truncated"),
        "cut in its data": made("cut_data.mp4", whole[: -len(whole) // 2], "truncated"),
        "cut matroska": made("cut.mkv", long.read_bytes()[: len(whole) // 2], "truncated"),
        "only a header": made("header.mp4", whole[:32], "truncated"),
        "one frame": (one, {"one_frame"}),
        "audio only": (encode_audio(folder / "sound.mp4"), {"no_video_stream"}),
        "audio named mkv": (encode_audio(folder / "sound.mkv"), {"no_video_stream"}),
        "unknown codec": (patched(clip, folder / "codec.mp4", b"avc1", -4, b"zzzz"), {"unsupported_codec"}),
        "huge picture": made("huge.y4m", b"YUV4MPEG2 W30000 H30000 F16:1 C420\nFRAME\n" * 2, "too_large", "unreadable"),
        "large picture": (patched(raw_avi, folder / "large.avi", b"strf", 8, _le(10000) * 2), {"too_large"}),
        "huge AVI": (patched(raw_avi, folder / "huge.avi", b"strf", 8, _le(30000) * 2), {"too_large", "unreadable"}),
        "ten hours": made("hours.mkv", ten_hours, "too_large"),
        "a frame lasts a quarter of an hour": (
            patched(clip, folder / "slow.mp4", b"stts", 12, (900 * 16384).to_bytes(4, "big")),
            {"one_frame", "too_large"},  # the edit list may end before the second frame
        ),
        "a billion frames": (
            patched(clip, folder / "billion.mp4", b"stts", 8, (10**9).to_bytes(4, "big")),
            {"too_large", "unreadable", "truncated"},
        ),
    }  # fmt: skip


def test_hostile_files_are_refused_with_little_work(
    tmp_path: Path, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, (path, reasons) in _hostile(tmp_path, clip).items():
        capfd.readouterr()
        before = time.process_time()
        with pytest.raises(ClipError) as error:
            load_clip(path, ClipSpec(fps=16, frames=37, height=48, width=96))
        seconds = time.process_time() - before
        assert error.value.reason in reasons, f"{name}: {error.value}, expected {reasons}"
        assert seconds < 5, f"{name} took {seconds:.1f} s of processor time"
        noise = "".join(capfd.readouterr())
        assert not noise, f"{name} makes the decoder print {noise!r}"


def test_a_file_that_may_not_be_read(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AvPermissionError(13, "Permission denied", str(clip))

    monkeypatch.setattr(av, "open", refused)
    monkeypatch.setattr(os.path, "getsize", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(ClipError, match=r"unreadable: .*Permission denied"):
        load_clip(clip, SMALL)


def test_a_stream_from_nowhere(tmp_path: Path) -> None:
    """Damaged FLV tags announce another track in the middle of the file."""
    path = encode(tmp_path / "clip.flv", numbered_frames(24))
    data, tags, at = bytearray(path.read_bytes()), [], 13
    while at < len(data):
        tags.append((data[at], at + 11))
        at += 11 + int.from_bytes(data[at + 1 : at + 4], "big") + 4
    pictures = [start for kind, start in tags if kind == 9]
    data[pictures[0]], data[pictures[3]] = 0xE9, 0xF8
    path.write_bytes(bytes(data))
    with pytest.raises(ClipError):
        load_clip(path, SMALL)


def test_no_flipped_byte_crashes(tmp_path: Path, clip: Path) -> None:
    """Every answer is a clip of the right shape or a ClipError."""
    whole, rng = clip.read_bytes(), np.random.default_rng(1)
    path, refused = tmp_path / "flipped.mp4", 0
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data))
        try:
            assert load_clip(path, SMALL, DecodeLimits(timeout_s=10)).frames.shape == (13, 48, 96, 3)
        except ClipError:
            refused += 1
    assert 0 < refused < 150, f"{refused} of 150 damaged files were refused"


def test_no_truncation_crashes(tmp_path: Path, clip: Path) -> None:
    whole, path = clip.read_bytes(), tmp_path / "cut.mp4"
    for size in np.linspace(0, len(whole) - 1, 60).astype(int):
        path.write_bytes(whole[:size])
        reason = "whole"
        try:
            load_clip(path, ClipSpec(fps=16, frames=37, height=48, width=96))
        except ClipError as error:
            reason = error.reason
        assert reason in {"whole", "empty_file", "truncated", "unreadable"}, f"{size} bytes of it are {reason}"


_PLAIN_PROCESSOR = """
import ctypes, sys
import av
import numpy as np
from motive.data.video.picture import Painter
library = next(line.split()[-1] for line in open("/proc/self/maps") if "libavutil" in line)
ctypes.CDLL(library).av_force_cpu_flags(0)
with av.open(sys.argv[1]) as container:
    painter = Painter(av)
    np.save(sys.argv[2], np.stack([painter.rgb(frame) for frame in container.decode(video=0)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds FFmpeg's library in /proc")
def test_pixels_do_not_depend_on_the_processor(tmp_path: Path) -> None:
    """The same pixels as in a process in which FFmpeg may use none of the processor's vector code."""
    frames = np.random.default_rng(0).integers(0, 256, (4, 48, 80, 3), dtype=np.uint8)
    write_video(tmp_path / "noise.mp4", frames, 8.0)
    program = [sys.executable, "-c", _PLAIN_PROCESSOR, str(tmp_path / "noise.mp4"), str(tmp_path / "plain.npy")]
    done = subprocess.run(program, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "noise.mp4")) as container:
        painter = Painter(av)
        here = np.stack([painter.rgb(frame) for frame in container.decode(video=0)])
    assert np.array_equal(here, np.load(tmp_path / "plain.npy"))
