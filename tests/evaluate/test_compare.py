"""A comparison on small stores against brute force, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from motive.data import ClipSpec
from motive.errors import ClipError, DatasetError, OptionError, StoreError
from motive.evaluate import BASELINES, EvaluateConfig, compare, load, save
from motive.evaluate.compare import MAGNITUDE, MAGNITUDE_CLOSENESS, PIXELS
from motive.store import Store
from tests.reporting.world import MOTIONS, World, keep_top, make_world, write_scores

CONFIG = EvaluateConfig(top=7, resamples=400)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def frames_of(path: Path, clip_spec: object) -> np.ndarray:
    """Frames that differ from clip to clip; brightness patterns repeat every four clips, like the labels."""
    n = int(path.stem)
    frames = np.random.default_rng(n).integers(0, 60, (5, 32, 32, 3), np.uint8)
    frames[:, 8 * (n % 4) : 8 * (n % 4) + 8] += 150
    return frames


def brute_precision(scores: np.ndarray, clip_labels: list[str], query_label: str, top: int) -> float:
    order = np.argsort(-scores, kind="stable")[:top]
    return sum(clip_labels[row] == query_label for row in order) / top


def labels(count: int) -> list[str]:
    return [MOTIONS[n % len(MOTIONS)] for n in range(count)]


def test_precisions_chance_and_differences_equal_brute_force(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    weaker = np.random.default_rng(9).random(world.values.shape).astype(np.float32)
    write_scores(other, weaker, world.clip_ids, world.query_ids, world.folder / "clips", world.folder / "queries")
    found = compare({"ours": world.scores, "random": other}, CONFIG, frames_of=frames_of)
    assert [row.method for row in found.rows] == ["ours", "random", *BASELINES]
    assert [row.kind for row in found.rows] == ["attribution"] * 2 + ["baseline"] * 4
    mine, theirs = (
        np.array([brute_precision(v[:, q], labels(30), labels(4)[q], 7) for q in range(4)])
        for v in (world.values, weaker)
    )
    assert found.rows[0].precision == pytest.approx(mine.mean())
    assert found.rows[1].precision == pytest.approx(theirs.mean())
    assert found.rows[1].difference == pytest.approx((mine - theirs).mean())
    assert found.rows[0].difference == found.rows[0].difference_low == found.rows[0].difference_high == 0
    chance = np.mean([labels(30).count(label) / 30 for label in labels(4)])
    assert found.chance == pytest.approx(chance)
    assert found.rows[0].ratio == pytest.approx(mine.mean() / chance)
    for row in found.rows:
        assert row.low <= row.precision <= row.high
        assert set(row.per_label) == set(MOTIONS)
        assert np.mean(list(row.per_label.values())) == pytest.approx(row.precision), "one query a label here"
    assert {label.label: (label.clips, label.queries) for label in found.labels} == {
        name: (labels(30).count(name), 1) for name in MOTIONS
    }


def test_baselines_rank_by_what_they_say(world: World) -> None:
    found = {row.method: row for row in compare({"ours": world.scores}, CONFIG, frames_of=frames_of).rows}
    assert found[PIXELS].precision == 1.0, "clips of a label look alike here"
    clips, queries = (Store.open(world.folder / role) for role in ("clips", "queries"))
    sizes, asked = (s.columns(["magnitude_px_mean"]).column(0).to_numpy() for s in (clips, queries))
    close, most = (
        np.mean([brute_precision(score(q), labels(30), labels(4)[q], 7) for q in range(4)])
        for score in (lambda q: -np.abs(sizes - asked[q]), lambda q: sizes)
    )
    assert found[MAGNITUDE_CLOSENESS].precision == pytest.approx(close)
    assert found[MAGNITUDE].precision == pytest.approx(most)


def test_every_method_ranks_the_same_clips(world: World, tmp_path: Path) -> None:
    some = tmp_path / "some.parquet"
    kept = [n for n in range(30) if n % 5]
    write_scores(
        some,
        world.values[kept][:, 1:],
        [world.clip_ids[n] for n in kept],
        world.query_ids[1:],
        world.folder / "clips",
        world.folder / "queries",
    )
    found = compare({"all": world.scores, "some": some}, replace(CONFIG, baselines=()))
    assert (found.clips, found.clips_left_out, found.queries, found.queries_left_out) == (24, 6, 3, 1)
    assert found.rows[0].precision == found.rows[1].precision, "the same scores over the same clips and queries"
    alone = compare({"some": some}, replace(CONFIG, baselines=()))
    assert alone.rows[0].precision == found.rows[1].precision


def test_the_result_is_repeatable_and_survives_saving(world: World, tmp_path: Path) -> None:
    first = compare({"ours": world.scores}, CONFIG, frames_of=frames_of)
    assert first == compare({"ours": world.scores}, replace(CONFIG, workers=1), frames_of=frames_of)
    save(first, tmp_path / "evaluation.json")
    assert load(tmp_path / "evaluation.json") == first
    assert [p.name for p in tmp_path.iterdir()] == ["evaluation.json"]


def test_unreadable_clips_never_rank_and_unreadable_queries_stop(world: World) -> None:
    def broken(path: Path, clip_spec: object) -> np.ndarray:
        if path.stem == "5" and path.parent.name == "clips":
            raise ClipError("missing_file", "gone")
        return frames_of(path, clip_spec)

    def no_query(path: Path, clip_spec: object) -> np.ndarray:
        if path.parent.name == "queries":
            raise ClipError("missing_file", "gone")
        return frames_of(path, clip_spec)

    found = compare({"ours": world.scores}, replace(CONFIG, baselines=(PIXELS,)), frames_of=broken)
    assert found.unreadable == 1
    assert found.rows[1].precision == pytest.approx(1.0), "seven of the others still fill the places"
    with pytest.raises(DatasetError, match="query-00"):
        compare({"ours": world.scores}, CONFIG, frames_of=no_query)


def test_frames_are_those_of_the_stores_clip_spec(world: World) -> None:
    asked = []

    def spy(path: Path, spec: object) -> np.ndarray:
        asked.append(spec)
        return frames_of(path, spec)

    compare({"ours": world.scores}, replace(CONFIG, baselines=(PIXELS,)), frames_of=spy)
    assert len(asked) == 34, "each clip and query once"
    assert set(asked) == {ClipSpec(fps=16.0, frames=9, height=48, width=64)}


def test_what_cannot_be_compared_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="methods must hold at least one"):
        compare({})
    with pytest.raises(OptionError, match="label must be a column that is filled"):
        compare({"ours": world.scores}, replace(CONFIG, label="colour"))
    with pytest.raises(OptionError, match="scores must be a file"):
        compare({"ours": tmp_path / "absent.parquet"})
    text = tmp_path / "text.parquet"
    text.write_text("no scores")
    with pytest.raises(StoreError, match="scores must be a file"):
        compare({"ours": text})
    with pytest.raises(OptionError, match="baselines must be among"):
        EvaluateConfig(baselines=("v-jepa",))
    with pytest.raises(OptionError, match="path must be a file written by"):
        load(text)


def test_listed_scores_are_enough_up_to_what_is_listed(world: World, tmp_path: Path) -> None:
    """Scores of a query's best clips alone give the same precision, and too few of them are refused."""
    listed = tmp_path / "listed.parquet"
    write_scores(
        listed, world.values, world.clip_ids, world.query_ids, world.folder / "clips", world.folder / "queries"
    )
    keep_top(listed, 7)
    config = replace(CONFIG, baselines=())
    found = compare({"all": world.scores, "listed": listed}, config)
    assert found.rows[0].precision == found.rows[1].precision
    with pytest.raises(OptionError, match=r"top must be at most .* a query's top-k, got 8 with 7"):
        compare({"listed": listed}, replace(config, top=8))


def test_a_result_of_version_1_is_read_with_its_share_as_precision(tmp_path: Path) -> None:
    rows = [{"method": "a", "kind": "attribution", "share": 0.5, "low": 0.4, "high": 0.6, "ratio": 5.0}]
    rows[0] |= {"difference": 0.0, "difference_low": 0.0, "difference_high": 0.0, "per_label": {"spin": 0.5}}
    counts = dict.fromkeys(["top", "clips", "clips_left_out", "queries", "queries_left_out", "unreadable"], 1)
    data = {"format": "motive.evaluation", "version": 1, "label": "motion", **counts, "chance": 0.1, "confidence": 0.95}
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps({**data, "resamples": 10, "seed": 0, "labels": [], "rows": rows}))
    assert load(path).rows[0].precision == 0.5
    path.write_text(json.dumps({**data, "version": 3, "resamples": 10, "seed": 0, "labels": [], "rows": rows}))
    with pytest.raises(OptionError, match="of another format or version"):
        load(path)
