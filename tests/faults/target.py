"""The program that is killed: a synthetic run into a store, with or without worker processes.

python -m tests.faults.target STORE CLIPS WORKERS [POINT]
"""

from __future__ import annotations

import sys
from pathlib import Path

from motive.data import Clip
from motive.errors import MotiveError
from motive.store.manifest import PlanConfig
from motive.workers.in_flight import InFlight
from motive.workers.launch import LaunchConfig
from motive.workers.plan import make_tasks
from motive.workers.process import WorkerSpec
from tests.faults.points import Point, arm
from tests.faults.synthetic import Synthetic, SyntheticJob, SyntheticWorker, clip_ids


def job(count: int, workers: int, points: tuple[Point, ...] = ()) -> SyntheticJob:
    """The run that the arguments stand for."""
    bad = frozenset(clip_ids(count)[3::17])
    return SyntheticJob(count, 12, 3, Synthetic(bad=bad, points=points), LaunchConfig(workers=workers, max_deaths=100))


def run_here(asked: SyntheticJob, location: str) -> None:
    """The tasks one after another in this process."""
    ids, store = clip_ids(asked.count), asked.begin(location)
    spec = WorkerSpec(asked.work, location, "", "")  # type: ignore[arg-type]
    worker = SyntheticWorker(spec, InFlight())
    clips = {clip_id: Clip(clip_id, Path("/none")) for clip_id in ids}
    plan = PlanConfig.of(ids, asked.unit_clips, asked.batch_size)
    for task in make_tasks(ids, plan, store.done_ids()):
        worker.run_task(task, clips)


def main() -> int:
    location, count, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    points = tuple(map(Point.parse, sys.argv[4:]))
    asked = job(count, workers, points)
    try:
        if workers:
            asked.run(location)
        else:
            for point in points:
                arm(point)
            run_here(asked, location)
    except MotiveError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
