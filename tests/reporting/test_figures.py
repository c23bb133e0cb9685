"""Tallies against brute force, and charts whose marks are where their numbers say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive.errors import OptionError
from motive.reporting import figures, tally
from motive.reporting.build import build_report
from motive.reporting.config import ReportConfig
from motive.reporting.selection import composition, read_selection
from motive.reporting.tally import BINS, evenly, take_tally
from motive.reporting.text import compact, count, decimal, percent, plural, signed
from motive.scores.file import ScoreFile
from tests.reporting.markup import Markup
from tests.reporting.world import World, keep_top, make_world, write_scores


@given(st.integers(0, 60), st.integers(1, 20))
def test_evenly_spaced_indices(size: int, wanted: int) -> None:
    found = evenly(size, wanted)
    assert len(found) == min(size, wanted)
    assert found == sorted(set(found))
    assert all(0 <= index < size for index in found)


def test_tally_of_thousands_equals_brute_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    clips, queries = 5003, 3
    values = rng.integers(-20, 21, (clips, queries)).astype(np.float32) / 10  # many ties
    ids, names = [f"{n:05d}" for n in range(clips)], [f"q{n}" for n in range(queries)]
    path = tmp_path / "scores.parquet"
    write_scores(path, values, ids, names, tmp_path, tmp_path)
    monkeypatch.setattr(tally, "SAMPLE", 500)
    file = ScoreFile(path, "test")
    in_small_batches = file.batches
    monkeypatch.setattr(file, "batches", lambda columns, rows=0: in_small_batches(columns, 700))
    found = take_tally(file, names[::-1], 4, 6, 100)
    for query, column in zip(found.queries, values.T[::-1], strict=True):
        order = np.argsort(-column, kind="stable")
        assert query.top.tolist() == order[:4].tolist()
        assert query.bottom.tolist() == np.argsort(column, kind="stable")[:6].tolist()
        assert query.leaders.tolist() == order[:100].tolist()
        assert query.counts.tolist() == np.histogram(column, BINS, (column.min(), column.max()))[0].tolist()
    assert found.votes.sum() == clips
    shown = {row for query in found.queries for row in [*query.top, *query.bottom]}
    assert set(found.shown) == shown
    assert all(record["clip_id"] == ids[row] for row, record in found.shown.items())
    assert found.sample_ids.to_pylist() == ids[::11]
    np.testing.assert_array_equal(found.sample_means, values.mean(axis=1)[::11])


def test_the_page_of_a_large_store_stays_small(tmp_path: Path) -> None:
    small = make_world(tmp_path / "small", clips=100)
    large = make_world(tmp_path / "large", clips=6000)
    config = ReportConfig(top=1, bottom=1)
    sizes = [len(world.build(world.folder / "out", config)) for world in (small, large)]
    dot = 60  # characters of one dot of the scatter
    assert sizes[1] < sizes[0] + figures.DOTS * dot + 10_000
    assert "1\u202f200 dots are drawn" in (large.folder / "out" / "index.html").read_text("utf-8")


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_are_inside_and_few(low: float, span: float, wanted: int) -> None:
    found = figures.ticks(low, low + span, wanted)
    slack = 1e-6 * max(abs(low), span)
    assert all(low - slack <= value <= low + span + slack for value in found)
    assert len(found) <= 2 * wanted + 1


def test_histogram_marks_the_votes(world: World) -> None:
    counts = np.arange(BINS)
    chart = figures.histogram(counts, -1.0, 1.0, 0.5, "q", int(counts.sum()))
    voting = [bar for bar in chart.bars if bar.kind == "on"]
    mark = chart.marks[0][0]
    assert mark == pytest.approx(chart.left + 0.75 * (chart.right - chart.left))
    assert all(bar.x + bar.width / 2 >= mark for bar in voting)
    assert all(bar.x + bar.width / 2 < mark for bar in chart.bars if bar.kind != "on")
    assert max(bar.height for bar in chart.bars) == chart.bottom - chart.top


def test_one_value_makes_one_bar() -> None:
    counts = np.zeros(BINS, np.int64)
    counts[BINS // 2] = 7
    chart = figures.histogram(counts, 0.25, 0.25, 0.25, "q", 7)
    assert len(chart.bars) == 1


def test_overlap_counts_common_clips(world: World) -> None:
    file = ScoreFile(world.scores, "test")
    found = take_tally(file, world.query_ids, 1, 1, 100)
    assert found.leaders == 10, "at least ten, at most a tenth"
    heat = figures.overlap_map(found, world.query_ids)
    assert heat is not None
    leaders = [set(np.argsort(-column, kind="stable")[:10]) for column in world.values.T]
    largest = max(len(leaders[a] & leaders[b]) for a in range(4) for b in range(4) if a != b)
    for cell, (a, b) in zip(heat.cells, [(a, b) for a in range(4) for b in range(4)], strict=True):
        assert cell.own == (a == b)
        if a != b:
            assert cell.shade == pytest.approx(len(leaders[a] & leaders[b]) / largest, abs=1e-3)


def test_scatter_sees_a_rank_correlation() -> None:
    x = np.linspace(0.1, 5, 200)
    chart = figures.scatter(x, np.log(x), 200, None)
    assert chart is not None
    assert "Spearman 1.00" in chart.caption
    assert figures.scatter(np.full(3, np.nan), np.ones(3), 3, None) is None


def write_selection(world: World, folder: Path, **changes: object) -> list[int]:
    votes = (world.values >= np.quantile(world.values, 0.9, axis=0)).sum(axis=1)
    mean = world.values.mean(axis=1).astype(np.float32)
    order = [row for row in np.lexsort([-mean, -votes]) if votes[row] >= 1][:3]
    record = {
        "format": "motive.selection",
        "version": 1,
        "scores": "scores.parquet",
        "store_version": "v",
        "config": {"min_votes": 1},
        "clips": {"scored": len(votes), "selected": 3},
        "ranked_by": ["votes", "mean"],
        "last_score": float(votes[order[-1]]),
        "ties": {"count": 3, "tied": 4, "tied_above": 2, "undecided": 0},
    }
    folder.mkdir(exist_ok=True)
    (folder / "selection.json").write_text(json.dumps({**record, **changes}))
    return order


def test_selected_clips_are_found_again(world: World, tmp_path: Path) -> None:
    rows = write_selection(world, tmp_path / "selected")
    chosen = read_selection(tmp_path / "selected", ScoreFile(world.scores, "test"))
    assert np.flatnonzero(chosen.mask).tolist() == sorted(rows)
    assert chosen.sample_ids.to_pylist() == [world.clip_ids[row] for row in sorted(rows)]


def test_the_selection_is_on_the_page(world: World, tmp_path: Path) -> None:
    write_selection(world, tmp_path / "selected")
    config = ReportConfig(selection=tmp_path / "selected", label="motion")
    page = Markup.of(world.build(tmp_path / "out", config))
    assert "10.0 % of 30" in page.text
    assert "4 clips equal in votes" in page.text
    assert sum("dot on" in (e.get("class") or "") for e in page.all("circle")) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"clips": {"scored": 31, "selected": 3}},
        {"last_score": 77},
        {"store_version": "other"},
        {"ranked_by": "votes"},
        {"format": "else"},
        {"config": {}},
    ],
)
def test_a_selection_of_other_scores_is_refused(world: World, tmp_path: Path, changes: dict[str, object]) -> None:
    write_selection(world, tmp_path / "selected", **changes)
    with pytest.raises(OptionError, match="selection must be"):
        world.build(tmp_path / "out", ReportConfig(selection=tmp_path / "selected"))


def test_composition_lists_gains_first() -> None:
    from collections import Counter

    rows = composition(Counter(a=5, b=5, c=10), Counter(a=3, c=1))
    assert [row["name"] for row in rows] == ["a", "b", "c"] or [row["name"] for row in rows] == ["a", "c", "b"]
    assert rows[0]["chosen"] == "75.0 %"


def test_numbers_read_well() -> None:
    assert [signed(v) for v in (0.41321, -0.0204, -0.0001, float("nan"), None)] == [
        "+0.413",
        "−0.020",
        "0.000",
        "–",
        "–",
    ]
    assert count(1234567) == "1\u202f234\u202f567"
    assert [plural(n, "query") for n in (0, 1, 2)] == ["0 queries", "1 query", "2 queries"]
    assert decimal(-0.001) == "0.00"
    assert percent(0.0833) == "8.3 %"
    assert [compact(v) for v in (0.0, 0.2, 1500.0, -2.5e-7, 3e9)] == ["0", "0.2", "1500", "−2.5e−7", "3e9"]


def test_scores_of_listed_clips_alone_show_the_best_and_no_worst(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world", clips=60)
    listed = 12
    keep_top(world.scores, listed)
    file = ScoreFile(world.scores, "test")
    found = take_tally(file, world.query_ids, 8, 5, 40)
    assert (file.top_k, found.top_k, found.leaders) == (listed, listed, 10)
    for q, query in enumerate(found.queries):
        order = np.argsort(-world.values[:, q], kind="stable")
        assert query.top.tolist() == order[:8].tolist()
        assert query.bottom.size == 0, "which clips are worst is not in the scores"
        assert (query.unscored, query.counts.sum()) == (60 - listed, listed)
    page = build_report(world.scores, tmp_path / "page", ReportConfig(bottom=5), world.source)
    assert "best 12 clips of 60" in Path(page).read_text(encoding="utf-8")
