"""Every verb's result has text for a person and plain values for a program."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from motive.curate import Selection
from motive.demo import DemoResult
from motive.doctor import DoctorReport, doctor
from motive.evaluate import EvaluationResult, MethodResult
from motive.indexing.estimate import Estimate
from motive.indexing.index import IndexSummary
from motive.reporting import Report
from motive.result import Result
from motive.scoring import Exported, ScoreSummary
from motive.store.compact import Compaction
from motive.store.info import StoreInfo
from motive.store.merge import Merge
from motive.store.repair import RepairReport
from motive.store.verify import VerifyReport

RESULTS = (
    Compaction, DemoResult, DoctorReport, Estimate, EvaluationResult, Exported, IndexSummary, Merge, RepairReport,
    Report, ScoreSummary, Selection, StoreInfo, VerifyReport,
)  # fmt: skip


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


def test_an_evaluation_is_a_line_for_each_method() -> None:
    row = MethodResult("ours", "attribution", 0.5, 0.4, 0.625, 2.0, 0.0, 0.0, 0.0, {"roll": 0.5})
    found = EvaluationResult("motion", 10, 24, 0, 3, 0, 0, 0.25, 0.95, 100, 0, (), (row,))
    assert found.lines() == ["precision@10 by motion: 24 clips, 3 queries, chance 0.250", "ours  0.500 [0.400, 0.625]"]
    assert json.loads(json.dumps(found.to_json()))["rows"][0]["method"] == "ours"


def test_an_export_is_one_line() -> None:
    done = Exported(Path("a.faiss"), Path("a.faiss.ids.jsonl"), 3)
    assert done.lines() == ["a.faiss: 3 vectors; their clip ids are in a.faiss.ids.jsonl"]
    assert done.to_json() == {"path": "a.faiss", "ids": "a.faiss.ids.jsonl", "clips": 3}
