"""Reading tables of many rows: the benchmark's quick form runs, and rows are read in bounded memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness.rows import read_rows
from benchmarks.pipeline import datasets

ROWS = 20_000


QUICK = "jsonl"


def kinds() -> list[object]:
    """One format is for every run; the others take a process and some seconds each as well."""
    assert QUICK in datasets.FORMATS
    long = pytest.mark.long("reads two tables of thousands of rows in two further processes")
    return [pytest.param(kind, marks=() if kind == QUICK else long) for kind in datasets.FORMATS]


@pytest.mark.parametrize("kind", kinds())
def test_rows_are_read_in_bounded_memory(tmp_path: Path, kind: str) -> None:
    """The captions of the further 10,000 rows are 4 MB; holding clips takes over 12 MB, which the last pass shows."""
    assert datasets.main(["--rows", str(ROWS), "--kinds", kind, "--out", str(tmp_path)]) == 0
    rows, clips, held = read_rows(tmp_path / "results.jsonl")
    assert (rows["op"], clips["op"], held["op"]) == ("dataset_rows", "dataset_read", "dataset_list")
    assert rows["shape"] == [ROWS]
    assert rows["growth_bytes"] < 6 << 20, "memory grows with the rows, though none is kept"
    assert clips["growth_bytes"] < 4 << 20, "a dataset keeps more than the place of each clip's record"
    assert held["growth_bytes"] > 2 * max(rows["growth_bytes"], 4 << 20), "this measure of memory sees what is kept"


@pytest.mark.long("reads a table of 100,000 rows")
def test_parquet_of_many_row_groups_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """Ten times the row groups of the table before take no more memory."""
    given = ["--rows", "100000", "--kinds", "parquet", "--passes", "rows", "--out", str(tmp_path)]
    assert datasets.main(given) == 0
    (rows,) = read_rows(tmp_path / "results.jsonl")
    assert rows["growth_bytes"] < 4 << 20, f"{rows['growth_bytes']} bytes for a file of {rows['bytes']}"
