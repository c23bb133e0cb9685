"""Runs the tasks of an index run in this process, in worker processes, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from motive.data import Clip, Failure
from motive.indexing.setup import Setup
from motive.indexing.worker import Worker
from motive.store import Store
from motive.workers.launch import LaunchConfig, Rank
from motive.workers.plan import Task
from motive.workers.pool import run_local
from motive.workers.process import WorkerSpec
from motive.workers.reporter import RunReporter

QUARANTINED = "killed_worker"
"""Reason of a failure of a clip that ended its worker's process; a later run skips it unless it is asked to retry."""


def in_processes(launch: LaunchConfig) -> bool:
    """Whether other processes than this one do the work."""
    return launch.workers > 0 or launch.launcher != "local"


def work(
    tasks: Sequence[Task],
    clips: Mapping[str, Clip],
    setup: Setup,
    store: Store,
    launch: LaunchConfig,
    rank: Rank,
    reporter: RunReporter,
    show_progress: bool,
) -> None:
    """Run the tasks, and list the clips that killed their workers as failures."""
    if not in_processes(launch):
        with torch_threads(setup.config.threads), Worker(setup, store, show_progress) as worker:
            worker.run(tasks, clips, on_commit=reporter.committed)
        return
    devices = _Devices(setup.config.device, rank.local * max(1, launch.workers))

    def spec_of(number: int) -> WorkerSpec:
        config = replace(setup.config, device=devices.of(number))
        return WorkerSpec(config, store.location, setup.vectors_digest, "motive.indexing.worker:index_worker")

    if launch.launcher == "ray":
        from motive.workers.ray_pool import run_ray

        # Ray gives each actor its own GPU, which its process sees as the only one.
        spec = replace(spec_of(0), config=setup.config)
        quarantined = run_ray(tasks, clips, spec, launch, reporter.event)
    else:
        quarantined = run_local(tasks, clips, spec_of, launch, reporter.event)
    store.refresh()
    store.append_failures(
        [
            Failure(clip_id, str(clips[clip_id].path), "worker", QUARANTINED, reason)
            for clip_id, reason in sorted(quarantined.items())
        ]
    )
    reporter.failed += len(quarantined)


class _Devices:
    """The device of each worker of this machine: one GPU after another, or the requested device."""

    def __init__(self, requested: str, first: int) -> None:
        self._requested, self._first = requested, first
        spread = requested in ("auto", "cuda")
        self._gpus = torch.cuda.device_count() if spread else 0

    def of(self, worker: int) -> str:
        return f"cuda:{(self._first + worker) % self._gpus}" if self._gpus else self._requested


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Give torch ``count`` CPU threads inside; restore its own number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
