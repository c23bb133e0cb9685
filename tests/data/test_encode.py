"""Encoding repeats: the bytes of a file depend on its frames, not on the processor, the threads or the time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from motive.data import write_video
from motive.data.video.encode import MUXER_OPTIONS, encoder_options
from tests.data.clipmaker import encode, encode_audio

ROOT = Path(__file__).resolve().parents[2]


def moving(count: int, height: int, width: int) -> np.ndarray:
    """[T, H, W, 3]: noise over a ramp that slides, so that x264 has motion and a lookahead to work on."""
    noise = np.random.default_rng(0).integers(0, 64, (height, width + count, 3), dtype=np.uint8)
    ramp = np.linspace(0, 190, width).astype(np.uint8)[None, :, None]
    return np.stack([noise[:, t : t + width] + ramp for t in range(count)])


def test_a_thousand_encodes_from_two_threads_are_equal(tmp_path: Path) -> None:
    frames = moving(6, 48, 48)

    def digest(number: int) -> str:
        path = tmp_path / f"{number}.mp4"
        write_video(path, frames, 12.0)
        data = path.read_bytes()
        path.unlink()
        return hashlib.sha256(data).hexdigest()

    with ThreadPoolExecutor(2) as pool:
        digests = Counter(pool.map(digest, range(1000)))
    assert len(digests) == 1, f"{len(digests)} different files of the same frames: {sorted(digests.values())}"


_PLAIN_PROCESSOR = """
import ctypes, sys
import av
import motive.data.video.encode as encode
from tests.data.test_encode import moving
library = next(line.split()[-1] for line in open("/proc/self/maps") if "libavutil" in line)
ctypes.CDLL(library).av_force_cpu_flags(0)
options = encode.encoder_options
encode.encoder_options = lambda codec: {**options(codec), "x264-params": options(codec)["x264-params"] + ":asm=0"}
encode.write_video(sys.argv[1], moving(24, 64, 96), 12.0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds FFmpeg's library in /proc")
def test_bytes_do_not_depend_on_the_processor(tmp_path: Path) -> None:
    """The same file as from a process in which FFmpeg and x264 may use none of the processor's vector code."""
    write_video(tmp_path / "here.mp4", moving(24, 64, 96), 12.0)
    program = [sys.executable, "-c", _PLAIN_PROCESSOR, str(tmp_path / "plain.mp4")]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here.mp4").read_bytes() == (tmp_path / "plain.mp4").read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".flv"])
def test_containers_hold_no_time_and_no_chance(tmp_path: Path, suffix: str) -> None:
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(suffix, "libx264")
    paths = [encode(tmp_path / f"{name}{suffix}", moving(6, 48, 48), codec=codec) for name in "ab"]
    data = paths[0].read_bytes()
    assert data == paths[1].read_bytes()
    version = ".".join(map(str, av.library_versions["libavformat"]))
    assert version.encode() not in data, "the file names the library that wrote it"
    with av.open(str(paths[0])) as container:
        assert "creation_time" not in {key.lower() for key in container.metadata}


def test_sound_repeats(tmp_path: Path) -> None:
    assert encode_audio(tmp_path / "a.mp4").read_bytes() == encode_audio(tmp_path / "b.mp4").read_bytes()


def test_x264_is_kept_to_what_all_processors_share() -> None:
    assert encoder_options("libx264")["x264-params"] == "cpu-independent=1"
    assert {encoder_options(codec)["threads"] for codec in ("libx264", "mpeg4", "libvpx-vp9")} == {"1"}
    assert MUXER_OPTIONS["fflags"] == "+bitexact"
