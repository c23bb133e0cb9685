"""A worker that needs no model: it goes the real way through plan, supervision and store in milliseconds a clip.

A clip's vector is a function of its id and of the ids that share its batch, so that a plan which changed the
composition of a batch would show in the vectors.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from motive.data import Clip, Failure
from motive.store import Store, StoreRow
from motive.store.manifest import PlanConfig
from motive.workers.in_flight import InFlight
from motive.workers.launch import LaunchConfig
from motive.workers.plan import Task, TaskResult, make_tasks
from motive.workers.pool import Event, run_local
from motive.workers.process import WorkerSpec
from tests.faults.points import Point, arm, reached

WORKER = "tests.faults.synthetic:make_worker"
COLUMNS = {"path": "string", "loss": "float32"}


@dataclass(frozen=True)
class Synthetic:
    """What a synthetic worker must know.

    Attributes:
        dim: k.
        clip_s: seconds that a clip takes, for measurements.
        bad: clips that fail with a reason.
        poison: clips that kill their worker.
        silent: clips during which their worker never says another word.
        buckets: how many there are; every eleventh clip has none. 0: none at all.
        points: where workers end, in turn; the next one for each ticket that is taken.
    """

    dim: int = 32
    clip_s: float = 0.0
    bad: frozenset[str] = frozenset()
    poison: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    buckets: int = 0
    points: tuple[Point, ...] = ()


def identity(dim: int) -> dict[str, dict[str, object]]:
    """Of a store of synthetic vectors."""
    return {"projection": {"kind": "synthetic", "dim": dim}, "gradient": {"family": "synthetic"}}


def clip_ids(count: int) -> list[str]:
    """Ids that are not in the order of their numbers."""
    return [
        f"{hashlib.blake2b(str(number).encode(), digest_size=4).hexdigest()}/{number}.mp4" for number in range(count)
    ]


def bucket_of(ids: Iterable[str], buckets: int) -> dict[str, str]:
    """The bucket of each clip that has one."""
    digits = {clip_id: hashlib.blake2b(clip_id.encode(), digest_size=2).digest() for clip_id in ids}
    return {clip_id: f"b{one[0] % buckets}" for clip_id, one in digits.items() if buckets and one[1] % 11}


def vector(clip_id: str, batch: Iterable[str], dim: int) -> NDArray[np.float32]:
    """The clip's vector in that batch."""
    seed = hashlib.blake2b("\0".join([clip_id, "", *batch]).encode(), digest_size=16).digest()
    bits = np.frombuffer(hashlib.shake_128(seed).digest(4 * dim), "<u4")
    return (bits / 2**31 - 1).astype(np.float32)


class SyntheticWorker:
    """Does tasks as motive.indexing.worker.Worker does."""

    def __init__(self, spec: WorkerSpec, in_flight: InFlight) -> None:
        self._config = cast(Synthetic, spec.config)
        self._store, self._in_flight = Store.open(spec.store), in_flight

    def close(self) -> None:
        """Nothing is held."""

    def run_task(self, task: Task, clips: Mapping[str, Clip]) -> TaskResult:
        """One unit: failures first, then rows."""
        began = time.perf_counter()
        reached("unit")
        if task.again:
            self._store.refresh()
            task = replace(task, wanted=task.wanted - self._store.done_ids())
        rows: list[StoreRow] = []
        failures: list[Failure] = []
        task = task.grouped(bucket_of(clips, self._config.buckets))
        for batch in task.batches:
            for clip_id in batch:
                if clip_id not in task.skip:
                    self._clip(clip_id, batch, task, rows, failures)
        if failures:
            self._store.append_failures(failures)
        self._store.append(rows)
        return TaskResult(len(rows), len(failures), time.perf_counter() - began)

    def _clip(
        self, clip_id: str, batch: Sequence[str], task: Task, rows: list[StoreRow], failures: list[Failure]
    ) -> None:
        config = self._config
        self._in_flight.enter([clip_id])
        reached("clip")
        if clip_id in config.poison:
            os.kill(os.getpid(), signal.SIGKILL)
        if clip_id in config.silent:
            signal.pause()
        if config.clip_s:
            time.sleep(config.clip_s)
        if clip_id in task.wanted and clip_id in config.bad:
            failures.append(Failure(clip_id, clip_id, "decode", "damaged", "made so"))
        elif clip_id in task.wanted:
            found = vector(clip_id, batch, config.dim)
            rows.append(StoreRow(clip_id, found, {"path": clip_id, "loss": float(found[0])}))
        self._in_flight.leave([clip_id])


def make_worker(spec: WorkerSpec, in_flight: InFlight) -> SyntheticWorker:
    """The worker factory of the process pool."""
    points = cast(Synthetic, spec.config).points
    if points:
        tickets = points[0].tickets
        arm(points[(len(os.listdir(tickets)) if tickets else 0) % len(points)])
    return SyntheticWorker(spec, in_flight)


@dataclass(frozen=True)
class SyntheticJob:
    """A run over synthetic clips, as motive.indexing.index.Job is one over real clips.

    Attributes:
        count: clips.
        unit_clips, batch_size: of the plan.
        work: what the worker must know.
        launch: who does it.
    """

    count: int
    unit_clips: int = 16
    batch_size: int = 3
    work: Synthetic = Synthetic()
    launch: LaunchConfig = field(default_factory=lambda: LaunchConfig(workers=1))

    def run(self, out: Path | str, on_event: list[Event] | None = None) -> Store:
        """Create the store or resume it; returns it as it is afterwards."""
        ids = clip_ids(self.count)
        plan = PlanConfig.of(ids, self.unit_clips, self.batch_size)
        store = self.begin(out)
        poison = {failure.clip_id for failure in store.failures() if failure.reason == "killed_worker"}
        tasks = make_tasks(ids, plan, store.done_ids(), poison, buckets=bool(self.work.buckets))
        spec = WorkerSpec(self.work, str(out), "", WORKER)  # type: ignore[arg-type]
        clips = {clip_id: Clip(clip_id, Path("/none") / clip_id) for clip_id in ids}
        events = on_event if on_event is not None else []
        quarantined = run_local(tasks, clips, lambda _: spec, self.launch, events.append)
        store.refresh()
        store.append_failures([Failure(c, c, "worker", "killed_worker", why) for c, why in sorted(quarantined.items())])
        return Store.open(out)

    def begin(self, out: Path | str) -> Store:
        """The store, made if absent."""
        try:
            return Store.create(out, identity=identity(self.work.dim), columns_schema=COLUMNS)
        except ValueError:
            return Store.open(out)

    def expected(self) -> dict[str, NDArray[np.float32]]:
        """What an undisturbed run stores: id -> vector."""
        ids = clip_ids(self.count)
        found = {}
        plan, work = PlanConfig.of(ids, self.unit_clips, self.batch_size), self.work
        for task in make_tasks(ids, plan, buckets=bool(work.buckets)):
            for batch in task.grouped(bucket_of(ids, work.buckets)).batches:
                for clip_id in batch:
                    if clip_id not in work.bad and clip_id not in work.poison:
                        found[clip_id] = vector(clip_id, batch, work.dim)
        return found


def run_on_ray(job: SyntheticJob, out: Path, events: list[Event]) -> Store:
    """The job's tasks on a Ray cluster that this process has joined."""
    from motive.workers.ray_pool import run_ray

    store, ids = job.begin(out), clip_ids(job.count)
    tasks = make_tasks(ids, PlanConfig.of(ids, job.unit_clips, job.batch_size), store.done_ids())
    spec = WorkerSpec(job.work, str(out), "", WORKER)  # type: ignore[arg-type]
    clips = {clip_id: Clip(clip_id, Path("/none") / clip_id) for clip_id in ids}
    run_ray(tasks, clips, spec, job.launch, events.append)
    return Store.open(out)
