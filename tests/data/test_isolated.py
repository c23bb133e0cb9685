"""Decoding in a separate process: the same frames, and a process that dies, hangs or fills memory costs one clip."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from motive.data import ClipSpec, DecodeLimits, DecoderPool, load_clip, write_video
from motive.errors import ClipError

STANDARD = ClipSpec(fps=12.0, frames=5, height=32, width=32, short="hold")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "ä b.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), np.uint8)
    write_video(path, frames, 12.0)
    return path


def decoders() -> list[int]:
    """Process ids of the decoders that this process has started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
            if len(fields) > 1 and fields[1] == str(os.getpid()) and fields[0] != "Z":
                command = (entry / "cmdline").read_bytes()
                found += [int(entry.name)] if b"motive.data.video.decoder" in command else []
        except OSError:
            continue
    return found


def test_the_frames_are_those_of_decoding_here(clip: Path) -> None:
    here = load_clip(clip, STANDARD)
    with DecoderPool(STANDARD) as pool, ThreadPoolExecutor(2) as threads:
        for there in threads.map(pool.load_clip, [clip] * 6):
            np.testing.assert_array_equal(there.frames, here.frames)
            np.testing.assert_array_equal(there.frame_times_s, here.frame_times_s)
            assert (there.decoder, there.source_fps, there.source_frames) == (
                here.decoder,
                here.source_fps,
                here.source_frames,
            )
        assert pool.started <= 2
    assert not decoders()


def test_a_bad_file_does_not_cost_the_process(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with DecoderPool(STANDARD) as pool:
        for _ in range(2):
            with pytest.raises(ClipError) as here:
                load_clip(tmp_path / "text.mp4", STANDARD)
            with pytest.raises(ClipError) as there:
                pool.load_clip(tmp_path / "text.mp4")
            assert str(there.value) == str(here.value)
            pool.load_clip(clip)
        assert pool.started == 1


def test_a_decoder_that_is_killed_costs_its_clip_and_is_replaced(clip: Path) -> None:
    with DecoderPool(STANDARD) as pool:
        pool.load_clip(clip)
        os.kill(decoders()[0], signal.SIGKILL)
        with pytest.raises(ClipError, match="decoder_died: the decoder ended with signal 9"):
            pool.load_clip(clip)
        assert pool.load_clip(clip).frames.any()
        assert pool.started == 2


def test_a_decoder_that_hangs_is_ended(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped, it can never answer; the pool gives up by itself."""
    monkeypatch.setattr("motive.data.video.isolated._GRACE_S", 0.5)
    with DecoderPool(STANDARD, DecodeLimits(timeout_s=600.0)) as pool:
        pool.load_clip(clip)
        os.kill(decoders()[0], signal.SIGSTOP)
        pool._idle[0]._limits = DecodeLimits(timeout_s=0.5)
        with pytest.raises(ClipError, match="timeout"):
            pool.load_clip(clip)
        assert not decoders()


def test_memory_is_limited(tmp_path: Path) -> None:
    """A picture of 64 MB, decoded by a process that may have little more than its libraries."""
    path = tmp_path / "large.mp4"
    write_video(path, np.zeros((3, 4096, 4096, 3), np.uint8), 12.0)
    with DecoderPool(STANDARD, DecodeLimits(memory_bytes=500 << 20)) as pool:
        with pytest.raises(ClipError) as refused:
            pool.load_clip(path)
        assert refused.value.reason in ("out_of_memory", "decoder_died", "unreadable", "damaged"), str(refused.value)
    with DecoderPool(STANDARD) as pool:
        assert pool.load_clip(path).source_width == 4096


def test_a_module_in_the_current_folder_is_not_imported(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(tmp_path)
    with DecoderPool(STANDARD) as pool:
        assert pool.load_clip(clip).frames.any()


def test_closing_while_a_clip_is_decoded_waits_for_nobody(clip: Path) -> None:
    pool = DecoderPool(STANDARD)
    thread = threading.Thread(target=lambda: pool.load_clip(clip))
    thread.start()
    thread.join()
    pool.close()
    pool.close()
    assert not decoders()
