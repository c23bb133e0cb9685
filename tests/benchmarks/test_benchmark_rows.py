"""Every row of a benchmark has one schema, and its ratio is ours divided by the baseline's."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.rows import REQUIRED, SUITES, Record, Sink, append, check, read_lines

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted((ROOT / "benchmarks" / "results").rglob("*.jsonl"))
GOOD: Record = {
    "suite": "kernels", "op": "sum", "impl": "cpp", "device": "cpu, 2 threads", "commit": None,
    "versions": {"torch": "2"}, "shape": [3], "ms_min": 1.0, "ms_median": 2, "ms_max": 3.0, "baseline": "torch",
    "ratio": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_rows_have_the_schema(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows
    for row in rows:
        check(row)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_ratios_are_ours_over_the_baseline(path: Path) -> None:
    """Compared with each baseline's own row; a ratio of pairs in turns may differ a little from that of the medians."""
    rows, compared = list(read_lines(path)), 0
    for row in rows:
        if row.get("ratio") is None or "ms_median" not in row:
            continue
        same = [other for other in rows if other.get("impl") == row["baseline"] and alike(other, row)]
        if same:
            expected = [row["ms_median"] / other["ms_median"] for other in same]
            nearest = min(abs(math.log(row["ratio"] / value)) for value in expected)
            assert nearest < math.log(1.3), f"{row} says {row['ratio']}, its times say {expected}"
            compared += 1
    assert compared >= 40 or path.name != "results.jsonl", f"only {compared} ratios could be compared"


def alike(a: Record, b: Record) -> bool:
    return all(a.get(key) == b.get(key) for key in ("suite", "shape", "dtype", "device"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suite": None}, "suite must be str, got None"),
        ({"suite": "speed"}, "suite must be one of capture, "),
        ({"route": "flat"}, "route must be one of materialized, factorized, auto, None, got 'flat'"),
        ({"versions": "2.13"}, "versions must be dict"),
        ({"shape": [1.5]}, "shape must hold integers"),
        ({"ms_min": 2.5}, "ms_min <= ms_median <= ms_max must all be given"),
        ({"ms_max": True}, "ms_max must be int or float, got True"),
        ({"ratio": 0.0}, "ratio must be positive and finite"),
        ({"ratio": "2 x"}, "ratio must be int or float or NoneType"),
        ({"GB/s": 3.0}, "a field's name must be in lower case"),
    ],
)
def test_other_rows_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check({**GOOD, **change})


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_field_is_missed(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is missing"):
        check({key: value for key, value in GOOD.items() if key != name})


def test_a_ratio_names_its_baseline() -> None:
    with pytest.raises(ValueError, match="ratio must come with its baseline"):
        check({key: value for key, value in GOOD.items() if key != "baseline"})


def test_both_writers_hold_the_schema(tmp_path: Path) -> None:
    append(tmp_path, GOOD)
    append(None, GOOD)
    assert list(read_lines(tmp_path / "results.jsonl")) == [GOOD]
    with pytest.raises(ValueError, match="impl is missing"):
        append(tmp_path, {"suite": "kernels", "op": "sum"})
    with pytest.raises(ValueError, match="impl is missing"):
        Sink(tmp_path, {"suite": "kernels"}).take("case", [{"op": "sum"}])
    assert len(list(read_lines(tmp_path / "results.jsonl"))) == 1, "a row that does not fit was written"


def test_no_program_writes_rows_in_its_own_way() -> None:
    """results.jsonl is written by rows.py alone, so that no row escapes the schema."""
    own = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "benchmarks").rglob("*.py")
        if path.name != "rows.py" and "json.dumps" in path.read_text() and "results.jsonl" in path.read_text()
        and re.search(r"open\(.*results\.jsonl", path.read_text())
    ]  # fmt: skip
    assert not own
    assert set(SUITES) == {"capture", "ceilings", "counters", "faults", "kernels", "peers", "pipeline", "quality",
                           "sanitizer", "scoring"}  # fmt: skip
