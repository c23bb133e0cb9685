"""The pool as files."""

from __future__ import annotations

import csv
from collections import Counter
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest

from motive.errors import OptionError
from motive.toy.pool import COLUMNS, SPLITS, clip_seed, training_clips, write_pool, write_queries
from motive.toy.render import CONTROLS, FPS, FRAMES, MOTIONS, SIZE, render_clip


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("pool") / "a" / "b", clips_per_motion=2)


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_the_pool_is_a_video_folder_with_every_type(pool: Path) -> None:
    table = rows(pool)
    assert tuple(table[0]) == COLUMNS
    assert Counter(row["motion"] for row in table) == dict.fromkeys(MOTIONS + CONTROLS, 2)
    assert sorted(p.name for p in pool.glob("*.mp4")) == sorted(row["file_name"] for row in table)
    assert len({row["seed"] for row in table}) == len(table)


def test_files_are_real_h264_and_show_what_was_rendered(pool: Path) -> None:
    for row in rows(pool)[:5]:
        path = pool / row["file_name"]
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.codec_context.pix_fmt == "yuv420p"
            assert float(stream.average_rate or 0) == FPS
        frames = decode(path)
        clip = render_clip(row["motion"], int(row["seed"]))
        assert frames.shape == clip.frames.shape == (FRAMES, SIZE, SIZE, 3)
        assert np.abs(frames.astype(int) - clip.frames).mean() < 6
        assert row["text"] == clip.caption


def test_file_names_and_their_order_say_nothing_of_the_motion(pool: Path) -> None:
    table = rows(pool)
    motions = [row["motion"] for row in sorted(table, key=lambda row: row["file_name"])]
    assert motions != sorted(motions, key=(MOTIONS + CONTROLS).index)
    assert not any(motion in row["file_name"] for row in table for motion in MOTIONS + CONTROLS)


def test_a_pool_can_be_made_again_byte_for_byte(pool: Path, tmp_path: Path) -> None:
    again = write_pool(tmp_path / "again", clips_per_motion=2)
    for path in sorted(pool.iterdir()):
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_queries_are_the_ten_types_from_other_seeds(pool: Path, tmp_path: Path) -> None:
    table = rows(write_queries(tmp_path / "queries", clips_per_motion=1))
    assert sorted(row["motion"] for row in table) == sorted(MOTIONS)
    assert not {row["seed"] for row in table} & {row["seed"] for row in rows(pool)}
    assert not {row["text"] for row in table} & {row["text"] for row in rows(pool)}


def test_no_two_splits_share_a_seed() -> None:
    corners = (0, 1, (1 << 24) - 1)
    seeds = [clip_seed(split, seed, index) for split, seed, index in product(SPLITS, corners, corners)]
    assert len(set(seeds)) == len(seeds)
    low, high = ({s: clip_seed(s, v, v) for s in SPLITS} for v in (0, (1 << 24) - 1))
    ranges = sorted((low[s], high[s]) for s in SPLITS)
    assert all(a[1] < b[0] for a, b in zip(ranges, ranges[1:], strict=False)), "the ranges of two splits overlap"


def test_training_clips_come_from_their_own_range_in_turn() -> None:
    clips = list(training_clips(4, 0, ("spin", "roll"), size=16, frames=3, fps=12))
    assert [clip.motion for clip in clips] == ["spin", "roll", "spin", "roll"]
    assert [clip.seed for clip in clips] == [clip_seed("train", 0, i) for i in range(4)]
    assert clips[0].frames.shape == (3, 16, 16, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda out: write_pool(out, clips_per_motion=0), "clips_per_motion must be at least 1"),
        (lambda out: write_pool(out, split="holdout"), "split must be one of"),
        (lambda out: write_pool(out, seed=1 << 24), "seed must be 0 to"),
        (lambda out: write_pool(out, motions=("dance",)), "motion must be one of"),
        (lambda out: clip_seed("train", 0, -1), "index must be 0 to"),
    ],
)
def test_wrong_options_are_refused(call: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=message):
        call(tmp_path / "out")  # type: ignore[operator]
