"""What a run tells while it goes on and when it is over: a bar, a log of events, a Prometheus file, a summary."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motive.errors import OptionError
from motive.extras import require
from motive.workers.local import Event
from motive.workers.plan import TaskResult

_METRICS_EVERY_S = 5.0

_METRICS = {
    "motive_clips": "Clips of the dataset.",
    "motive_clips_stored": "Clips that this run has stored.",
    "motive_clips_failed": "Clips that this run has left out.",
    "motive_clips_left": "Clips that this run has still to do.",
    "motive_clips_per_second": "Clips a second, stored or left out, since the start.",
    "motive_seconds_left": "Predicted seconds to the end.",
    "motive_worker_deaths": "Workers that died and were replaced.",
    "motive_worker_clips": "Clips that a worker has stored or left out.",
    "motive_worker_seconds": "Seconds that a worker has spent on tasks.",
    "motive_worker_gpu_bytes": "Peak memory of a worker's GPU.",
    "motive_last_commit_time_seconds": "When something was last committed.",
}


@dataclass
class _WorkerTally:
    clips: int = 0
    seconds: float = 0.0
    gpu_bytes: int = 0
    deaths: int = 0


@dataclass
class Observer:
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
    _workers: dict[int, _WorkerTally] = field(default_factory=dict)
    _began: float = field(default_factory=time.time)
    _written: float = 0.0
    _committed: float = 0.0
    _bar: Any = None

    def __post_init__(self) -> None:
        if self.shown:
            tqdm = require("tqdm", "progress", "video").tqdm
            self._bar = tqdm(total=self.todo, desc="clips", unit="clip", smoothing=0.05, dynamic_ncols=True)
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
        self._committed = time.time()
        self.note(
            "committed",
            worker=worker,
            stored=result.stored,
            failed=result.failed,
            seconds=round(result.seconds, 3),
            **facts,
        )
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self.failed} left out" if self.failed else "", refresh=False)
            self._bar.update(clips)
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
        if self._bar is not None:
            self._bar.close()
            self._bar = None
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
        if self.metrics is None:
            return
        temporary = self.metrics.with_name(f".{self.metrics.name}.{os.getpid()}")
        try:
            temporary.write_text(self._metrics_text(), encoding="ascii")
            os.replace(temporary, self.metrics)
        except OSError as error:
            raise OptionError(
                f"LaunchConfig: metrics must be a file that can be written, got {self.metrics} ({error.strerror}); "
                "give another"
            ) from error

    def _metrics_text(self) -> str:
        found = self.summary()
        rate, left = found["clips_per_second"], found["left"]
        values: dict[str, list[tuple[str, float]]] = {
            "motive_clips": [("", self.clips)],
            "motive_clips_stored": [("", self.stored)],
            "motive_clips_failed": [("", self.failed)],
            "motive_clips_left": [("", left)],
            "motive_clips_per_second": [("", rate)],
            "motive_seconds_left": [("", left / rate if rate else 0.0)],
            "motive_worker_deaths": [("", self.deaths)],
            "motive_last_commit_time_seconds": [("", self._committed)],
        }
        for name, key in (("clips", "clips"), ("seconds", "seconds"), ("gpu_bytes", "gpu_bytes")):
            rows = [(f'{{worker="{worker["worker"]}"}}', worker[key]) for worker in found["workers"]]
            values[f"motive_worker_{name}"] = rows
        lines = []
        for name, text in _METRICS.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
            lines += [f"{name}{label} {value}" for label, value in values[name]]
        return "\n".join(lines) + "\n"

    def _tally(self, worker: int) -> _WorkerTally:
        return self._workers.setdefault(worker, _WorkerTally())
