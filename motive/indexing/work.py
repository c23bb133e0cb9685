"""Doing a run's tasks with whatever was asked for: this process, worker processes, or a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from motive.data import Clip, Failure
from motive.indexing.setup import Setup
from motive.indexing.worker import Worker
from motive.store import Store
from motive.workers.launch import LaunchConfig, Rank
from motive.workers.local import run_local
from motive.workers.member import Membership
from motive.workers.observe import Observer
from motive.workers.plan import Task

if TYPE_CHECKING:
    from motive.indexing.index import Job

QUARANTINED = "killed_worker"
"""Reason of a failure of a clip that ended its worker's process; a later run leaves it alone unless told otherwise."""


def in_processes(launch: LaunchConfig) -> bool:
    """Whether the work is done in other processes than this one."""
    return launch.workers > 0 or launch.launcher != "local"


def work(
    tasks: Sequence[Task],
    clips: Mapping[str, Clip],
    setup: Setup,
    store: Store,
    job: Job,
    rank: Rank,
    observer: Observer,
) -> None:
    """Do the tasks and take note of clips that killed their workers."""
    if not in_processes(job.launch):
        with torch_threads(setup.config.threads), Worker(setup, store, job.show_progress) as worker:
            worker.run(tasks, clips, on_commit=observer.committed)
        return
    devices = _Devices(setup.config.device, rank.local * max(1, job.launch.workers))

    def member(number: int) -> Membership:
        config = replace(setup.config, device=devices.of(number))
        return Membership(
            config, store.location, store.manifest["identity_digest"], "motive.indexing.worker:index_worker"
        )

    if job.launch.launcher == "ray":
        from motive.workers.ray_pool import run_ray

        # Ray gives each actor its own GPU, which its process sees as the only one.
        told = replace(member(0), config=setup.config)
        quarantined = run_ray(tasks, clips, told, job.launch, observer.event)
    else:
        quarantined = run_local(tasks, clips, member, job.launch, observer.event)
    store.refresh()
    store.append_failures(
        [
            Failure(clip_id, str(clips[clip_id].path), "worker", QUARANTINED, reason)
            for clip_id, reason in sorted(quarantined.items())
        ]
    )
    observer.failed += len(quarantined)


class _Devices:
    """Which device each worker of this machine has: one GPU after another, or what was asked for."""

    def __init__(self, asked: str, first: int) -> None:
        self._asked, self._first = asked, first
        spread = asked in ("auto", "cuda")
        self._gpus = torch.cuda.device_count() if spread else 0

    def of(self, worker: int) -> str:
        return f"cuda:{(self._first + worker) % self._gpus}" if self._gpus else self._asked


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Give torch so many CPU threads inside, and those it had afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
