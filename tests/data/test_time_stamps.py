"""Time stamps of every kind that files have: rates, offsets, equal ones, and ones that jump back."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest

from motive.data import ClipSpec, DecodeLimits, load_clip
from motive.data.video.clock import MAX_JUMPS, Clock
from motive.data.video.decode import measure_seconds
from motive.errors import ClipError
from tests.data.clipmaker import encode, numbered_frames, numbers_of

SMALL = ClipSpec(fps=16, frames=13, height=48, width=96)


@pytest.mark.parametrize(
    ("rate", "spec_fps", "shown"),
    [
        (1000, 100.0, [0, 10, 20, 30, 40]),
        (5, 16.0, [0, 0, 0, 0, 1]),
        (25, 25.0, [0, 1, 2, 3, 4]),
    ],
)
def test_rates(tmp_path: Path, rate: int, spec_fps: float, shown: list[int]) -> None:
    path = encode(tmp_path / "rate.mp4", numbered_frames(60), fps=rate)
    loaded = load_clip(path, ClipSpec(fps=spec_fps, frames=5, height=48, width=96))
    assert numbers_of(loaded.frames) == shown
    assert loaded.source_fps == pytest.approx(rate)
    assert loaded.notes == ()


def test_film_rate_in_a_container_of_25_frames_a_second(tmp_path: Path) -> None:
    """The stamps count, not the rate that the header states."""
    stamps = [round(index * 1001 / 24000 * 90000) for index in range(60)]
    path = encode(tmp_path / "film.mp4", numbered_frames(60), fps=25, stamps=stamps, ticks=90000)
    loaded = load_clip(path, ClipSpec(fps=16, frames=33, height=48, width=96))
    expected = [int(np.floor(j / 16 * 24000 / 1001 + 1e-4)) for j in range(33)]
    assert numbers_of(loaded.frames) == expected
    assert loaded.source_fps == pytest.approx(24000 / 1001, rel=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_start_offset_changes_nothing(tmp_path: Path, suffix: str) -> None:
    stamps = [160 + index for index in range(20)]
    path = encode(tmp_path / f"late{suffix}", numbered_frames(20), stamps=stamps)
    loaded = load_clip(path, SMALL)
    assert numbers_of(loaded.frames) == list(range(13))
    assert loaded.used_start_s == 0.0


def test_frames_that_an_edit_list_cuts_are_not_shown(tmp_path: Path) -> None:
    """A cut without re-encoding keeps the frames from the last key frame on, and an edit list hides them."""
    whole = encode(tmp_path / "whole.mp4", numbered_frames(30), options={"bf": "0"})
    path = tmp_path / "cut.mp4"
    with av.open(str(whole)) as old, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        tick = old.streams.video[0].time_base
        for packet in old.demux(video=0):
            if packet.dts is None or packet.pts is None:
                continue
            shift = round(5 / 16 / tick)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
            new.mux(packet)
    loaded = load_clip(path, SMALL)
    assert numbers_of(loaded.frames) == list(range(5, 18))


def test_of_frames_with_equal_stamps_the_last_is_shown(tmp_path: Path) -> None:
    stamps = [0, 100, 200, 200, 300, 400]
    path = encode(
        tmp_path / "equal.mkv", numbered_frames(6), codec="ffv1", pixel_format="bgr0", stamps=stamps, ticks=1000
    )
    loaded = load_clip(path, ClipSpec(fps=10, frames=5, height=48, width=96))
    assert numbers_of(loaded.frames) == [0, 1, 3, 4, 5]
    assert loaded.notes == ()


def joined(folder: Path, lengths: list[int]) -> Path:
    """Recordings of these numbers of frames, one after another; each has a clock that starts anew."""
    frames, at, data = numbered_frames(sum(lengths)), 0, b""
    for number, length in enumerate(lengths):
        part = encode(folder / f"{number}.ts", frames[at : at + length], options={"bf": "0"})
        data, at = data + part.read_bytes(), at + length
    path = folder / "joined.ts"
    path.write_bytes(data)
    return path


def test_a_jump_back_is_noted_with_file_frame_and_both_stamps(tmp_path: Path) -> None:
    loaded = load_clip(joined(tmp_path, [10, 20]), ClipSpec(fps=16, frames=25, height=48, width=96))
    assert numbers_of(loaded.frames) == list(range(25))
    ((kind, text),) = loaded.notes
    assert kind == "time_stamps"
    assert text.startswith("the time stamp of frame 10 of joined.ts jumps back from ")
    before, after = map(float, re.findall(r"([0-9.]+) s\b", text))
    assert before - after == pytest.approx(9 / 16, abs=1e-3)


def test_too_many_jumps_are_a_failure(tmp_path: Path) -> None:
    path = joined(tmp_path, [4] * (MAX_JUMPS + 2))
    with pytest.raises(ClipError, match="jumps back") as refused:
        load_clip(path, ClipSpec(fps=16, frames=4 * MAX_JUMPS + 8, height=48, width=96))
    assert refused.value.reason == "bad_time_stamps"
    enough = load_clip(path, ClipSpec(fps=16, frames=20, height=48, width=96))
    assert numbers_of(enough.frames) == list(range(20)), "jumps after the last frame needed do not count"


def test_the_length_of_joined_recordings_is_their_sum(tmp_path: Path) -> None:
    path = joined(tmp_path, [10, 20])
    assert measure_seconds(path, DecodeLimits()) == pytest.approx(30 / 16, abs=2e-3)
    centre = load_clip(path, ClipSpec(fps=16, frames=8, height=48, width=96, start="centre"))
    assert numbers_of(centre.frames) == list(range(11, 19))


def test_the_rule_of_the_clock() -> None:
    notes: list[str] = []
    clock = Clock("a.mp4", 0.1, notes.append)
    stamps = [5.0, 5.1, 5.05, None, 5.2, 1.0, 1.1]
    placed, end = [], 0.0
    for number, stamp in enumerate(stamps):
        placed.append(clock.place(number, stamp, end))
        end = placed[-1] + 0.1
    assert placed == pytest.approx([0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.4])
    assert notes == [
        "the time stamp of frame 2 of a.mp4 jumps back from 5.1 s to 5.05 s",
        "the time stamp of frame 5 of a.mp4 jumps back from 5.2 s to 1 s",
    ]
