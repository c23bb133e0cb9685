"""The tie rule has one home: everything that ranks clips orders equal ones alike, and follows when the rule changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from motive.curate import SelectConfig
from motive.curate.ranking import Ranking
from motive.reporting.tally import take_tally
from motive.scores import ranking as tie_home
from motive.scores.file import ScoreFile
from motive.scores.selection import selected_rows
from motive.scores.top import TopRows
from motive.scoring import ScoreConfig, score, topk
from motive.store import Store, StoreRow

CLIPS, TOP = 40, 9


@pytest.fixture
def tied(tmp_path: Path) -> tuple[Store, Store]:
    """Forty clips of four directions: ten tie in every score."""
    identity = {"projection": {"dim": 4}, "gradient": {}}
    made = []
    for name, vectors in (("s", np.eye(4)[np.arange(CLIPS) % 4]), ("q", np.eye(4)[:1] + 0.1)):
        store = Store.create(tmp_path / name, identity=identity)
        store.append([StoreRow(f"{name}-{n:02d}", np.float32(vector)) for n, vector in enumerate(vectors)])
        made.append(Store.open(store.path))
    return made[0], made[1]


def orders(tied: tuple[Store, Store], folder: Path) -> dict[str, list[int]]:
    """User of the ranking -> the rows that it takes as the first TOP of the one query."""
    store, queries = tied
    summary = score(store, queries, folder / "s.parquet", ScoreConfig(rank_by="mean"))
    quick = score(store, queries, folder / "b.parquet", ScoreConfig(precision="int8", top_k=CLIPS, rank_by="mean"))
    query = queries.clip_ids[0]
    file = ScoreFile(summary.path, "test")
    rows_of = {clip_id: row for row, clip_id in enumerate(store.clip_ids)}
    cut = Ranking(summary.path, SelectConfig(top=str(TOP), by=f"query:{query}"), "test").cut()
    record = {
        "ranked_by": [f"query/{query}"],
        "clips": {"scored": CLIPS, "selected": TOP},
        "config": {"min_votes": 0},
        "store_version": file.metadata["store_version"],
        "last_score": cut.last,
    }
    found = selected_rows(record, file)
    assert found is not None
    best = TopRows(1, TOP)
    for start, scores in file.scores([query], rows=7):
        best.update(np.arange(start, start + len(scores)), scores)
    ranks = {name: np.array(pq.read_table(one.path)["rank"]) for name, one in (("float32", summary), ("int8", quick))}
    return {
        **{f"rank of {name}": np.argsort(rank)[:TOP].tolist() for name, rank in ranks.items()},
        "summary": [rows_of[clip_id] for clip_id in summary.queries[0].top[:TOP]],
        "summary of int8": [rows_of[clip_id] for clip_id in quick.queries[0].top[:TOP]],
        "select": cut.rows.tolist(),
        "report, selection": found.tolist(),
        "report, best clips": take_tally(file, [query], TOP, 0, TOP).queries[0].top.tolist(),
        "evaluate": best.rows(0).tolist(),
        "topk": topk(store, queries, CLIPS).rows[0, :TOP].tolist(),
    }


def test_equal_clips_are_ordered_alike_by_all(tied, tmp_path) -> None:
    expected = list(range(0, 4 * TOP, 4))
    found = orders(tied, tmp_path)
    assert found == dict.fromkeys(found, expected)


def test_changing_the_rule_is_one_edit(tied, tmp_path, monkeypatch) -> None:
    """With the higher row first, every user's order turns round."""
    monkeypatch.setattr(tie_home, "tie_break", lambda rows: -rows)
    expected = list(range(36, 36 - 4 * TOP, -4))
    found = orders(tied, tmp_path)
    assert found == dict.fromkeys(found, expected)
