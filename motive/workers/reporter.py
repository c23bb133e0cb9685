"""Run reporting: progress bar, event log, Prometheus file, summary."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motive.data.video.facts import count_notes
from motive.data.video.use import Use, count_use, use_json
from motive.progress import Bar
from motive.workers.metrics import Gauges
from motive.workers.plan import TaskResult
from motive.workers.pool import Event

_METRICS_EVERY_S = 5.0


@dataclass
class _WorkerTally:
    clips: int = 0
    seconds: float = 0.0
    gpu_bytes: int = 0
    deaths: int = 0


@dataclass
class RunReporter:
    """Counts what happens in a run and makes it visible.

    Attributes:
        clips: of the dataset.
        todo: clips that this run is to do.
        log: file that a JSON object a line is appended to for each event; None for none.
        metrics: file for Prometheus' textfile collector; None for none.
        shown: draw a bar on stderr.
    """

    clips: int
    todo: int
    log: Path | None = None
    metrics: Path | None = None
    shown: bool = False
    stored: int = 0
    failed: int = 0
    deaths: int = 0
    routes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: dict[str, tuple[int, str]] = field(default_factory=dict)
    used: dict[str, Use] = field(default_factory=dict)
    _workers: dict[int, _WorkerTally] = field(default_factory=dict)
    _began: float = field(default_factory=time.time)
    _written: float = 0.0
    _committed: float = 0.0
    _bar: Bar = field(init=False)
    _gauges: Gauges | None = None

    def __post_init__(self) -> None:
        self._bar = Bar(self.todo, "clips", shown=self.shown)
        if self.metrics is not None:
            self._gauges = Gauges(self.metrics)
        self.note("started", clips=self.clips, todo=self.todo)

    def event(self, event: Event) -> None:
        """Take in what happened to a worker."""
        if event.kind == "done" and event.result is not None and event.task is not None:
            self.committed(event.result, event.worker, unit=event.task.unit, trial=event.task.trial)
        elif event.kind == "died":
            self.deaths += 1
            self._tally(event.worker).deaths += 1
            self.note("worker_died", worker=event.worker, reason=event.reason)
        else:
            self.note(f"worker_{event.kind}", worker=event.worker)

    def committed(self, result: TaskResult, worker: int = 0, **facts: Any) -> None:
        """Take in clips that a worker has committed."""
        tally, clips = self._tally(worker), result.stored + result.failed
        tally.clips += clips
        tally.seconds += result.seconds
        tally.gpu_bytes = max(tally.gpu_bytes, result.gpu_bytes)
        self.routes = result.routes or self.routes
        self.stored += result.stored
        self.failed += result.failed
        count_notes(self.notes, result.notes)
        count_use(self.used, result.used)
        self._committed = time.time()
        self.note(
            "committed",
            worker=worker,
            stored=result.stored,
            failed=result.failed,
            seconds=round(result.seconds, 3),
            **facts,
        )
        self._bar.advance(clips, f"{self.failed} left out" if self.failed else "")
        if self._committed - self._written > _METRICS_EVERY_S:
            self.write_metrics()

    def note(self, event: str, **facts: Any) -> None:
        """Append an event to the log; a log that cannot be written does not end the run."""
        if self.log is None:
            return
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}, ensure_ascii=True)
        with suppress(OSError), self.log.open("a", encoding="ascii") as file:
            file.write(line + "\n")

    def close(self, **facts: Any) -> None:
        """The run is over."""
        self._bar.close()
        self.write_metrics()
        self.note("ended", stored=self.stored, failed=self.failed, **facts)

    def summary(self) -> dict[str, Any]:
        """The run in figures."""
        seconds = time.time() - self._began
        done = self.stored + self.failed
        return {
            "clips": self.clips,
            "todo": self.todo,
            "stored": self.stored,
            "failed": self.failed,
            "left": max(0, self.todo - done),
            "seconds": round(seconds, 3),
            "clips_per_second": round(done / seconds, 6) if seconds else 0.0,
            "worker_deaths": self.deaths,
            "notes": {kind: {"clips": n, "example": text} for kind, (n, text) in sorted(self.notes.items())},
            "sizes": use_json(self.used),
            "workers": [
                {
                    "worker": number,
                    "clips": tally.clips,
                    "seconds": round(tally.seconds, 3),
                    "clips_per_second": round(tally.clips / tally.seconds, 6) if tally.seconds else 0.0,
                    "gpu_bytes": tally.gpu_bytes,
                    "deaths": tally.deaths,
                }
                for number, tally in sorted(self._workers.items())
            ],
        }

    def write_metrics(self) -> None:
        """Replace the file for Prometheus.

        Raises:
            OptionError: it cannot be written.
        """
        self._written = time.time()
        if self._gauges is not None:
            self._gauges.write(self.summary(), self._committed)

    def _tally(self, worker: int) -> _WorkerTally:
        return self._workers.setdefault(worker, _WorkerTally())
