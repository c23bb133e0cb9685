"""Run reporting: a summary, a log of events, a file for Prometheus."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from motive.errors import OptionError
from motive.indexing.worker import peak_gpu_bytes
from motive.workers.plan import Task, TaskResult
from motive.workers.pool import Event
from motive.workers.reporter import RunReporter


def test_counts_reach_summary_log_and_metrics(tmp_path: Path) -> None:
    log, metrics = tmp_path / "log.jsonl", tmp_path / "motive.prom"
    reporter = RunReporter(clips=12, todo=10, log=log, metrics=metrics)
    task = Task(3, (("a",),), frozenset(["a"]))
    reporter.event(Event("ready", 1))
    reporter.event(Event("done", 1, task, TaskResult(4, 1, 2.0, gpu_bytes=7)))
    reporter.event(Event("died", 1, reason="signal 9"))
    reporter.event(Event("done", 0, task, TaskResult(3, 0, 1.0)))
    reporter.close()
    found = reporter.summary()
    assert (found["stored"], found["failed"], found["left"], found["worker_deaths"]) == (7, 1, 2, 1)
    assert found["workers"][1] == {
        "worker": 1, "clips": 5, "seconds": 2.0, "clips_per_second": 2.5, "gpu_bytes": 7, "deaths": 1,
    }  # fmt: skip
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["event"] for event in events] == [
        "started", "worker_ready", "committed", "worker_died", "committed", "ended",
    ]  # fmt: skip
    assert events[3]["reason"] == "signal 9"
    text = metrics.read_text()
    assert re.search(r"^motive_clips_stored 7(\.0)?$", text, re.MULTILINE)
    assert re.search(r'^motive_worker_clips\{worker="1"\} 5(\.0)?$', text, re.MULTILINE)
    names = re.findall(r"^# TYPE (\S+) gauge$", text, re.MULTILINE)
    for line in text.splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z_]+(\{worker=\"\d+\"\})? [0-9.e+-]+", line), line
        assert line.startswith("#") or re.split(r"[{ ]", line)[0] in names
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_memory_of_a_worker_is_that_of_its_own_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert peak_gpu_bytes() == 0, "no GPU was touched"
    peaks = [0, 0, 7 << 30]  # a worker on cuda:2, whose current device is still cuda:0
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(peaks))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=0: peaks[device])
    reporter = RunReporter(clips=1, todo=1, metrics=tmp_path / "m")
    reporter.committed(TaskResult(1, 0, 1.0, peak_gpu_bytes()), worker=2)
    reporter.close()
    assert reporter.summary()["workers"][0]["gpu_bytes"] == 7 << 30
    found = re.search(r'^motive_worker_gpu_bytes{worker="2"} (\S+)$', (tmp_path / "m").read_text(), re.MULTILINE)
    assert found is not None
    assert float(found[1]) == 7 << 30


def test_the_bar_shows_rate_time_left_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = RunReporter(clips=10, todo=10, shown=True)
    reporter.committed(TaskResult(3, 0, 1.0))
    assert "left out" not in capsys.readouterr().err
    reporter.committed(TaskResult(2, 2, 1.0))
    reporter.close()
    shown = capsys.readouterr().err
    assert re.search(r"7/10 \[\d\d:\d\d<\S+, +\S+clip/s, 2 left out\]", shown), shown


def test_a_metrics_file_that_cannot_be_written_is_an_error_and_a_log_is_not(tmp_path: Path) -> None:
    reporter = RunReporter(clips=1, todo=1, log=tmp_path / "none" / "log", metrics=tmp_path / "none" / "m")
    with pytest.raises(OptionError, match="cannot write the metrics file"):
        reporter.close()
