"""A run's figures as gauges, in a file for Prometheus' textfile collector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from motive.errors import OptionError
from motive.extras import require

_RUN = {
    "motive_clips": ("clips", "Clips in the dataset."),
    "motive_clips_stored": ("stored", "Clips stored by this run."),
    "motive_clips_failed": ("failed", "Clips left out by this run."),
    "motive_clips_left": ("left", "Clips still to process."),
    "motive_clips_per_second": ("clips_per_second", "Clips stored or left out per second since the start."),
    "motive_worker_deaths": ("worker_deaths", "Workers that died and were replaced."),
}
"""Name of a gauge -> its key in a run's summary, and its help text."""

_WORKER = {
    "motive_worker_clips": ("clips", "Clips stored or left out by a worker."),
    "motive_worker_seconds": ("seconds", "Seconds a worker has spent on tasks."),
    "motive_worker_gpu_bytes": ("gpu_bytes", "Peak GPU memory of a worker."),
}
"""The same of one worker."""


class Gauges:
    """The gauges of one run, named motive_*, written by prometheus_client.

    Args:
        path: the file; its folder must exist.

    Raises:
        MissingExtra: prometheus_client is not installed.
    """

    def __init__(self, path: Path) -> None:
        client = require("prometheus_client", "metrics", "metrics")
        self._path, self._write = path, client.write_to_textfile
        self._registry = registry = client.CollectorRegistry()
        self._run = {key: client.Gauge(name, text, registry=registry) for name, (key, text) in _RUN.items()}
        self._worker = {
            key: client.Gauge(name, text, ["worker"], registry=registry) for name, (key, text) in _WORKER.items()
        }
        self._left = client.Gauge("motive_seconds_left", "Predicted seconds to the end.", registry=registry)
        self._last = client.Gauge("motive_last_commit_time_seconds", "Time of the last commit.", registry=registry)

    def write(self, summary: Mapping[str, Any], committed: float) -> None:
        """Replace the file.

        Args:
            summary: as RunReporter.summary gives it.
            committed: seconds since the epoch of the last commit.

        Raises:
            OptionError: the file cannot be written.
        """
        for key, gauge in self._run.items():
            gauge.set(summary[key])
        for worker in summary["workers"]:
            for key, gauge in self._worker.items():
                gauge.labels(worker["worker"]).set(worker[key])
        rate = summary["clips_per_second"]
        self._left.set(summary["left"] / rate if rate else 0.0)
        self._last.set(committed)
        try:
            self._write(str(self._path), self._registry)
        except OSError as error:
            raise OptionError(
                f"cannot write the metrics file {self._path}: {error.strerror or error}; give another path"
            ) from error
