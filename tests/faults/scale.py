"""Scaling of a run: one and two workers measured, and the real supervisor simulated over a thousand."""

from __future__ import annotations

import heapq
import random
import time
from dataclasses import dataclass
from pathlib import Path

from motive.workers.launch import LaunchConfig
from motive.workers.plan import Task
from motive.workers.pool import Event
from motive.workers.supervisor import Supervisor
from tests.faults.rows import Row, check_equal, require
from tests.faults.synthetic import Synthetic, SyntheticJob


@dataclass(frozen=True)
class Cluster:
    """What a simulated run is made of.

    Attributes:
        clips: of the dataset.
        workers: of the run.
        clip_s: seconds of a clip on a sound worker.
        unit_clips: clips of a unit.
        spread: standard deviation of the logarithm of a unit's time.
        slow_share, slow_factor: workers that are stragglers for the whole run, and how much slower they are.
        failure_h: mean hours between failures of one worker.
        restart_s: seconds from a death until its replacement works.
        dispatch_s: seconds of the supervisor for handing out a unit.
    """

    clips: int = 100_000_000
    workers: int = 1000
    clip_s: float = 54.0
    unit_clips: int = 256
    spread: float = 0.1
    slow_share: float = 0.02
    slow_factor: float = 2.0
    failure_h: float = 200.0
    restart_s: float = 300.0
    dispatch_s: float = 0.002


def run(quick: bool, folder: Path) -> list[Row]:
    """Measured, then simulated."""
    rows = [_measured(quick, folder)]
    clusters = (
        [Cluster(clips=20_000_000)]
        if quick
        else [Cluster(), Cluster(clip_s=1.0), Cluster(failure_h=24.0, unit_clips=64)]
    )
    for cluster in clusters:
        efficiency, deaths, ideal_h = simulate(cluster)
        require(efficiency >= 0.95, f"{cluster}: efficiency {efficiency:.3f}")
        rows.append(
            Row(
                "simulated plan: the real supervisor, 1,000 workers",
                cluster.clips,
                f"predicted efficiency {efficiency:.3f} (at least 0.95)",
                f"{cluster.clip_s:g} s a clip, units of {cluster.unit_clips}, {deaths:,} deaths (one in "
                f"{cluster.failure_h:g} h a worker, {cluster.restart_s:g} s to replace, half a unit lost), "
                f"{100 * cluster.slow_share:g} % of workers {cluster.slow_factor:g} times slower, units vary by "
                f"{100 * cluster.spread:g} %, {1e3 * cluster.dispatch_s:g} ms to hand out a unit; ideal {ideal_h:,.0f} h",
            )
        )
    return rows


def simulate(cluster: Cluster, seed: int = 0) -> tuple[float, int, float]:
    """(efficiency, deaths, ideal hours): the work done at the workers' own speeds, over the time that it took."""
    rng = random.Random(seed)
    units = -(-cluster.clips // cluster.unit_clips)
    nothing: frozenset[str] = frozenset()
    supervisor = Supervisor((Task(unit, (), nothing) for unit in range(units)), max_deaths=1 << 30)
    slowness = [cluster.slow_factor if rng.random() < cluster.slow_share else 1.0 for _ in range(cluster.workers)]
    ideal_s = units * cluster.unit_clips * cluster.clip_s / sum(1 / slow for slow in slowness)
    free = [(0.0, worker, "free") for worker in range(cluster.workers)]
    heapq.heapify(free)
    dispatcher_s, deaths, end_s = 0.0, 0, 0.0
    while free:
        now, worker, what = heapq.heappop(free)
        if what == "done":
            supervisor.finished(worker)
            end_s = now
        elif what == "died":
            supervisor.died(worker, "simulated")
            deaths += 1
            heapq.heappush(free, (now + cluster.restart_s, worker, "free"))
            continue
        task = supervisor.next(worker)
        if task is None:
            if not supervisor.done:  # a unit may come back from a worker that dies
                heapq.heappush(free, (now + 60.0, worker, "free"))
            continue
        dispatcher_s = max(dispatcher_s, now) + cluster.dispatch_s
        unit_s = cluster.unit_clips * cluster.clip_s * slowness[worker] * rng.lognormvariate(0.0, cluster.spread)
        fails_s = rng.expovariate(1 / (3600 * cluster.failure_h))
        what = "died" if fails_s < unit_s else "done"
        heapq.heappush(free, (dispatcher_s + min(fails_s, unit_s), worker, what))
    return ideal_s / end_s, deaths, ideal_s / 3600


class _Timed(list[Event]):
    """Events, and when the last worker was ready."""

    ready_s = 0.0

    def append(self, event: Event) -> None:
        if event.kind == "ready":
            self.ready_s = time.monotonic()
        super().append(event)


def _measured(quick: bool, folder: Path) -> Row:
    """Clips that take time and no processor: what the supervision itself costs, whatever else the machine does."""
    rates = {}
    for workers in (1, 2):
        job = SyntheticJob(200 if quick else 1200, 40, 3, Synthetic(clip_s=0.02), LaunchConfig(workers=workers))
        events = _Timed()
        job.run(folder / f"scale-{workers}", events)
        rates[workers] = job.count / (time.monotonic() - events.ready_s)
        check_equal(str(folder / f"scale-{workers}"), job.expected(), f"{workers} workers")
    return Row(
        "scaling: 1 and 2 worker processes, measured",
        2,
        f"2 workers are {rates[2] / rates[1]:.2f} times as fast as 1",
        f"{rates[1]:.1f} and {rates[2]:.1f} clips a second once all are ready, of at most 50 and 100 (20 ms a clip that "
        "need no processor)",
    )
