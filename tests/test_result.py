"""Every verb's result has text for a person and plain values for a program."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from motive.demo import DemoResult
from motive.doctor import DoctorReport, doctor
from motive.indexing.estimate import Estimate
from motive.indexing.index import IndexSummary
from motive.result import Result
from motive.store.compact import Compaction
from motive.store.info import StoreInfo
from motive.store.merge import Merge
from motive.store.repair import RepairReport
from motive.store.verify import VerifyReport

RESULTS = (Compaction, DemoResult, DoctorReport, Estimate, IndexSummary, Merge, RepairReport, StoreInfo, VerifyReport)


@pytest.mark.parametrize("kind", RESULTS, ids=lambda kind: kind.__name__)
def test_each_result_is_one(kind: type) -> None:
    assert issubclass(kind, Result)
    assert not getattr(kind, "__abstractmethods__", frozenset()), f"{kind.__name__} has no lines()"


def test_results_are_json_and_keep_their_fields() -> None:
    summary = IndexSummary(Path("store"), 3, 1, 2, {"too_short": 2}, rows=8)
    value = json.loads(json.dumps(summary.to_json()))
    assert value["store"] == "store"
    assert (value["stored"], value["already"], value["failed"], value["reasons"]) == (3, 1, 2, {"too_short": 2})
    assert summary.lines()[0] == "store: 3 clips stored, 1 were there, 2 left out"
    assert summary.lines()[1].startswith("left out: 2 of 8 clips (25.0%)")
    assert "too_short 2" in summary.lines()[2]


def test_the_doctor_reports_each_area_once() -> None:
    report = doctor()
    lines = report.lines()
    areas = list(dict.fromkeys(finding.area for finding in report))
    assert [line for line in lines if not line.startswith(" ")] == [f"{area}s" for area in areas]
    assert len(lines) == len(areas) + len(report.findings)
    assert json.loads(json.dumps(report.to_json()))["findings"][0]["area"] == "package"


def test_a_result_without_lines_cannot_be_made() -> None:
    @dataclass(frozen=True)
    class Silent(Result):
        value: int

    with pytest.raises(TypeError, match="lines"):
        Silent(3)  # type: ignore[abstract]
