"""Memory of a selection does not grow with the captions and columns of what is selected."""

from __future__ import annotations

import gc
import itertools
from pathlib import Path

import pytest

from benchmarks.harness.rows import read_rows
from benchmarks.scoring import selecting
from motive.curate import SelectConfig, rows, select
from motive.data import Export, SubsetRow

BATCH = 16
EVERY = 17
"""Rows between two counts of what is in memory: no multiple of a batch."""


@pytest.mark.parametrize("name", ["jsonl", "musubi", "list"])
def test_a_writer_holds_a_batch_of_rows_at_most(
    tmp_path: Path, scored, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    made = scored("videofolder", count=200)
    monkeypatch.setattr(rows, "_BATCH", BATCH)
    found: list[int] = []
    inner, rows_seen = Export.original, itertools.count()

    def counting(export: Export, row: SubsetRow) -> str:
        if next(rows_seen) % EVERY == 0:
            found.append(sum(type(item) is SubsetRow for item in gc.get_objects()))
        return inner(export, row)

    monkeypatch.setattr(Export, "original", counting)
    select(made.scores, tmp_path / "out", SelectConfig(top="100%", format=name, scores_only=True))
    assert len(found) >= 200 // EVERY
    # One batch for reading by number, one or two that iteration is at, and each row's copy with finite scores.
    assert max(found) <= 4 * BATCH, f"{max(found)} of 200 rows in memory"


def test_the_benchmark_in_small(tmp_path: Path) -> None:
    """What measures a million clips runs whole on 600, and checks what was selected."""
    assert selecting.main(["--clips", "600", "--cases", "jsonl, 10%", "--out", str(tmp_path)]) == 0
    (row,) = read_rows(tmp_path / "results.jsonl")
    assert row["shape"] == [600, 60]
    assert 0 < row["growth_bytes"] < row["peak_bytes"]
