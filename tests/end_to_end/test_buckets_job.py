"""A dataset of several shapes and lengths through every verb, with buckets, as a user would."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import motive
from motive.cli.main import main
from motive.data import write_video
from motive.data.video.buckets import Bucket, BucketConfig, choose_bucket, in_order
from motive.data.video.decode import measure_shape
from motive.data.video.video import DEFAULT_LIMITS
from motive.gradients.draws import DrawConfig
from motive.indexing.estimate import estimate
from motive.scores.file import ScoreFile
from motive.toy.render import render_clip

BUCKETS = ("64x32x9,32x64x9", "48x48x5")
SETTINGS = (
    "--buckets", *BUCKETS, "--noise-strategy", "single", "--clip-short", "error", "--batch-size", "2",
    "--shard-rows", "6", "--quiet",
)  # fmt: skip
SHAPES = {"wide": (64, 128, 24), "tall": (128, 64, 24), "square": (96, 96, 24), "brief": (64, 128, 12)}
"""Height, width and frames at 24 a second; brief is too short for 9 frames at 12."""

MOVES = ("slide", "spin", "swing")
"""Motions that show in half a second."""


def film(path: Path, kind: str, number: int) -> None:
    height, width, frames = SHAPES[kind]
    clip = render_clip(MOVES[number % 3], number).frames[:frames]
    top, left = (128 - height) // 2, (128 - width) // 2
    write_video(path, clip[:, top : top + height, left : left + width], 24)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number, kind in enumerate([*SHAPES] * 3):
        film(folder / f"{kind}{number}.mp4", kind, number)
    height, width, _ = SHAPES["wide"]
    write_video(folder / "tiny.mp4", render_clip("slide", 50).frames[:4, :height, :width], 24)
    return folder


@pytest.fixture(scope="module")
def job(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole job: store, queries, scores.parquet, selected and report."""
    out = tmp_path_factory.mktemp("job")
    assert main(["index", str(clips), "--out", str(out / "store"), *SETTINGS]) == 3, "tiny.mp4 fits no bucket"
    asked = out / "asked"
    asked.mkdir()
    for number, kind in ((20, "tall"), (21, "wide")):
        film(asked / f"{kind}.mp4", kind, number)
    assert main(["query", str(asked), "--like", str(out / "store"), "--out", str(out / "queries"), "--quiet"]) == 0
    scores = str(out / "scores.parquet")
    assert main(["score", str(out / "store"), str(out / "queries"), "--out", scores, "--quiet"]) == 0
    assert main(["select", scores, "--top", "3", "--out", str(out / "selected")]) == 0
    assert main(["report", scores, "--selection", str(out / "selected"), "--out", str(out / "report")]) == 0
    return out


def buckets_of(store: motive.Store) -> dict[str, str]:
    return dict(zip(store.clip_ids, store.columns(["bucket"]).column("bucket").to_pylist(), strict=True))


def same_vectors(one: Path, other: Path) -> bool:
    a, b = motive.Store.open(one), motive.Store.open(other)
    return a.clip_ids == b.clip_ids and np.array_equal(a.vectors(), b.vectors())


def test_buckets_of_a_trainers_configuration(clips: Path, tmp_path: Path) -> None:
    """They are those of the configuration, whatever the clip spec, and queries take them from the store."""
    shapes = [[9, 32, 64], [9, 64, 32], [5, 48, 48]]  # frames, height, width
    entry = {"data_root": "clips", "dataset_type": "video", "video_resolution_buckets": shapes}
    for name in ("wide0", "tall1", "square2"):
        (tmp_path / "clips").mkdir(exist_ok=True)
        shutil.copy(clips / f"{name}.mp4", tmp_path / "clips")
        (tmp_path / "clips" / f"{name}.txt").write_text("a ball")
    config = tmp_path / "set.json"
    config.write_text(json.dumps({"datasets": [entry]}))
    store = tmp_path / "store"
    assert main(["index", str(config), "--out", str(store), "--buckets", "dataset", *SETTINGS[3:]]) == 0
    found = buckets_of(motive.Store.open(store))
    assert {Path(name).stem: bucket for name, bucket in found.items()} == {
        "wide0": "64x32x9", "tall1": "32x64x9", "square2": "48x48x5",
    }  # fmt: skip
    queries = tmp_path / "queries"
    one = ["query", str(tmp_path / "clips"), "--like", str(store), "--out", str(queries), "--quiet"]
    assert main(one) == 0
    assert set(buckets_of(motive.Store.open(queries)).values()) == {"64x32x9", "32x64x9", "48x48x5"}
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"datasets": [{**entry, "video_resolution_buckets": [[9, 48, 48]]}]}))
    own = ["--buckets", "dataset", "--like", str(store), "--out", str(tmp_path / "own"), "--quiet"]
    assert main(["query", str(other), *own]) == 0
    assert set(buckets_of(motive.Store.open(tmp_path / "own")).values()) == {"48x48x9"}


def test_every_clip_lies_in_the_bucket_that_the_rule_gives(job: Path, clips: Path) -> None:
    store = motive.Store.open(job / "store")
    known = store.identity.known
    assert known is not None
    listed = in_order([Bucket.parse(text) for text in ",".join(BUCKETS).split(",")])
    expected = {
        name: choose_bucket(listed, measure_shape(clips / name, DEFAULT_LIMITS), known.clip_spec, name).name
        for name in store.clip_ids
    }
    assert buckets_of(store) == expected
    assert set(expected.values()) == {"64x32x9", "32x64x9", "48x48x5"}
    assert {name for name, bucket in expected.items() if bucket == "32x64x9"} == {"tall1.mp4", "tall5.mp4", "tall9.mp4"}
    assert [(failure.clip_id, failure.reason) for failure in store.failures()] == [("tiny.mp4", "too_short")]
    assert store.vectors().shape == (12, 512)
    assert np.isfinite(store.vectors()).all()
    assert main(["verify", str(job / "store")]) == 0


def test_people_see_the_buckets(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    main(["info", str(job / "store"), "--clip", "tall1.mp4"])
    assert "bucket  32x64x9" in capsys.readouterr().out
    main(["info", str(job / "store")])
    assert "buckets      48x48x5 6, 32x64x9 3, 64x32x9 3" in capsys.readouterr().out
    sizes = json.loads((job / "store" / "summary.json").read_text())["sizes"]
    assert {size: found["clips"] for size, found in sizes.items()} == {"48x48x5": 6, "32x64x9": 3, "64x32x9": 3}
    page = (job / "report" / "index.html").read_text(encoding="utf-8")
    assert "3 buckets" in page
    assert "buckets on one level" in page


def test_scores_are_levelled_and_reach_the_selection(job: Path) -> None:
    file = ScoreFile(job / "scores.parquet", "test")
    assert file.metadata["buckets"] == {"32x64x9": 3, "48x48x5": 6, "64x32x9": 3}
    with (job / "selected" / "metadata.csv").open(newline="", encoding="utf-8") as table:
        assert len(list(csv.DictReader(table))) == 3
    assert main(["score", str(job / "store"), str(job / "queries"), "--out", str(job / "i.parquet"), "--precision",
                 "int8", "--quiet"]) == 0  # fmt: skip
    by_int8 = ScoreFile(job / "i.parquet", "test")
    assert (by_int8.metadata["bucket_means"], by_int8.metadata["buckets"]) == ("remove", file.metadata["buckets"])
    for name in (f"query/{query}" for query in file.query_ids):  # few clips, so the lists hold all of them
        found, expected = (each.column(name).to_numpy() for each in (by_int8, file))
        assert found == pytest.approx(expected, abs=1e-3)


def test_neither_processes_nor_a_resume_change_a_bit(job: Path, clips: Path, tmp_path: Path) -> None:
    """A store whose last unit is lost is filled again, by another process."""
    again = tmp_path / "again"
    shutil.copytree(job / "store", again)
    shutil.rmtree(again / "cache")
    records = sorted((again / "commits").glob("*.json"))
    vectors = [path for path in records if json.loads(path.read_text())["kind"] == "vectors"]
    assert len(vectors) >= 2
    vectors[-1].unlink()
    assert 0 < len(motive.Store.open(again).clip_ids) < 12
    assert main(["index", str(clips), "--out", str(again), *SETTINGS, "--workers", "1"]) in (0, 3)
    assert same_vectors(job / "store", again)
    assert buckets_of(motive.Store.open(again)) == buckets_of(motive.Store.open(job / "store"))


def test_replays_merges_and_additions_keep_buckets(job: Path, clips: Path, tmp_path: Path) -> None:
    main(["replay", str(job / "store" / "run.json"), "--out", str(tmp_path / "replayed"), "--quiet"])
    assert same_vectors(job / "store", tmp_path / "replayed")
    assert main(["merge", str(job / "store"), str(tmp_path / "replayed"), "--out", str(tmp_path / "merged")]) == 0
    assert same_vectors(job / "store", tmp_path / "merged")
    grown = tmp_path / "clips"
    shutil.copytree(clips, grown)
    film(grown / "tall30.mp4", "tall", 30)
    moved = tmp_path / "grown"
    assert main(["index", str(grown), "--out", str(moved), *SETTINGS]) == 3
    assert buckets_of(motive.Store.open(moved))["tall30.mp4"] == "32x64x9"


def test_queries_may_have_buckets_of_their_own(job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["query", str(job / "asked"), "--like", str(job / "store"), "--quiet"]
    assert main([*arguments, "--out", str(tmp_path / "own"), "--buckets", "48x96x5"]) == 0
    own = motive.Store.open(tmp_path / "own")
    assert set(buckets_of(own).values()) == {"48x96x5"}
    assert main(["score", str(job / "store"), str(tmp_path / "own"), "--out", str(tmp_path / "s.parquet")]) == 0
    capsys.readouterr()
    assert main(["merge", str(job / "store"), str(tmp_path / "own"), "--out", str(tmp_path / "merged")]) == 1
    assert "gradient.buckets" in capsys.readouterr().err


def test_an_estimate_counts_buckets(clips: Path) -> None:
    config = motive.IndexConfig(
        draws=DrawConfig("single"), buckets=BucketConfig(sizes=("64x32x9", "32x64x9", "48x48x5"))
    )
    found = estimate(clips, config=config, clips=2)
    assert sum(found.buckets.values()) == 13, "the model's rule for short clips holds them"
    assert found.buckets["32x64x9"] == 3
    assert any(line.startswith("bucket    48x48x5: 7 clips") for line in found.lines())


def test_one_clip_spec_says_what_it_throws_away(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = ("--clip-width", "64", "--clip-height", "32", "--clip-frames", "9", "--clip-short", "error")
    main(["index", str(clips), "--out", str(tmp_path / "one"), *spec, "--noise-strategy", "single", "--quiet"])
    shown = capsys.readouterr().out
    assert re.search(
        r"one clip spec for all clips \(64x32x9\): 4 of 13 clips are too short; of those stored, [34]\d\.\d% of the picture",
        shown,
    )
    assert "--buckets keeps more (docs/buckets.md)" in shown
    assert "bucket" not in motive.Store.open(tmp_path / "one").manifest.columns
    arguments = ["index", str(clips), "--out", str(tmp_path / "two"), "--buckets", "64x32x9", "--clip-width", "64"]
    assert main(arguments) == 2
    assert "--clip-width must be left out with --buckets" in capsys.readouterr().err
