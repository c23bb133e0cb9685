"""The plan is a pure function, and the supervisor loses nothing whatever happens to its workers."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motive.config import from_json, to_json
from motive.errors import OptionError, WorkerLost
from motive.store import PlanConfig
from motive.workers.launch import LaunchConfig, Rank, rank_of
from motive.workers.plan import make_tasks, share, unit_of
from motive.workers.supervisor import Supervisor

IDS = [f"clip-{number:03d}" for number in range(57)]
UNITS = {"a": 928, "b/c.mp4": 158, "é": 963}
DIGEST = "391c95e7f81fc92f90c674e2a535a3d6"
PLAN = PlanConfig.of(IDS, unit_clips=10, batch_size=3)


def mates(tasks) -> dict[str, tuple[str, ...]]:
    """Clip -> the clips that share its pass, for clips that are wanted."""
    return {clip: batch for task in tasks for batch in task.batches for clip in batch if clip in task.wanted}


def test_every_clip_is_wanted_once_whatever_the_order_of_the_dataset() -> None:
    tasks = make_tasks(IDS, PLAN)
    assert sorted(clip for task in tasks for clip in task.wanted) == IDS
    assert len(tasks) == 6
    shuffled = random.Random(0).sample(IDS, len(IDS))
    assert make_tasks(shuffled, PlanConfig.of(shuffled, 10, 3)) == tasks
    assert all(len(batch) <= 3 for task in tasks for batch in task.batches)
    assert sorted(clip for rank in range(4) for task in share(tasks, rank, 4) for clip in task.wanted) == IDS


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(IDS)), st.sets(st.sampled_from(IDS), max_size=4))
def test_a_resume_keeps_every_batch_as_it_was(done: set[str], poison: set[str]) -> None:
    whole, poison = mates(make_tasks(IDS, PLAN)), poison - done
    tasks = make_tasks(IDS, PLAN, done, poison)
    left = mates(tasks)
    assert set(left) == set(IDS) - done - poison
    assert all(whole[clip] == batch for clip, batch in left.items())
    assert all(task.skip == poison & {clip for batch in task.batches for clip in batch} for task in tasks)


BUCKETS = {clip: f"{80 - 16 * (number % 3)}x80x17" for number, clip in enumerate(IDS) if number % 11}
"""Every eleventh clip has none."""


def test_with_buckets_only_clips_of_one_bucket_share_a_batch() -> None:
    tasks = [task.grouped(BUCKETS) for task in make_tasks(IDS, PLAN, buckets=True)]
    assert sorted(clip for task in tasks for clip in task.wanted) == IDS == sorted(c for t in tasks for c in t.members)
    for task, flat in zip(tasks, make_tasks(IDS, PLAN), strict=True):
        assert (task.unit, task.wanted, task.group_size) == (flat.unit, flat.wanted, 0)
        for batch in task.batches:
            buckets = {BUCKETS.get(clip) for clip in batch}
            assert len(buckets) == 1
            assert len(batch) == 1 if buckets == {None} else len(batch) <= 3
        full = [batch for batch in task.batches if len(batch) == 3]
        assert len(task.batches) - len(full) <= 3 + sum(clip not in BUCKETS for clip in task.members)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(IDS)), st.sets(st.sampled_from(IDS), max_size=4), st.randoms(use_true_random=False))
def test_with_buckets_a_resume_keeps_every_batch_as_it_was(
    done: set[str], poison: set[str], rng: random.Random
) -> None:
    whole, poison = mates([task.grouped(BUCKETS) for task in make_tasks(IDS, PLAN, buckets=True)]), poison - done
    tasks = make_tasks(rng.sample(IDS, len(IDS)), PLAN, done, poison, buckets=True)
    assert all(set(task.needed) == set(task.members) for task in tasks), "a worker must learn the bucket of each clip"
    left = mates([task.grouped(dict(rng.sample(sorted(BUCKETS.items()), len(BUCKETS)))) for task in tasks])
    assert set(left) == set(IDS) - done - poison
    assert all(whole[clip] == batch for clip, batch in left.items())


def test_a_grown_dataset_leaves_stored_clips_alone() -> None:
    more = [*IDS, *(f"new-{number}" for number in range(30))]
    tasks = make_tasks(more, PLAN, done=IDS)
    assert {clip for task in tasks for batch in task.batches for clip in batch} == set(more) - set(IDS)
    grown = mates(tasks)
    rest = mates(make_tasks(more, PLAN, done={*IDS, *[c for t in tasks[:1] for c in t.wanted]}))
    assert all(grown[clip] == batch for clip, batch in rest.items()), "units of a grown dataset are stable too"


def test_units_and_plans_are_pinned() -> None:
    """Stores refer to these: they must never change."""
    assert [unit_of(name, 1000) for name in ("a", "b/c.mp4", "é")] == list(UNITS.values())
    assert PLAN.digest == DIGEST
    assert from_json(PlanConfig, to_json(PLAN), "plan") == PLAN
    for bad in (None, {}, {**to_json(PLAN), "unit_clips": 0}, {**to_json(PLAN), "clips": "3"}):
        with pytest.raises(OptionError, match="plan: "):
            from_json(PlanConfig, bad, "plan")


def test_the_plan_needs_no_torch() -> None:
    code = "import sys, motive.workers.plan, motive.workers.supervisor, motive.workers.launch; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 5), st.sets(st.sampled_from(IDS), max_size=3))
def test_whatever_happens_each_clip_is_done_or_quarantined(rng: random.Random, workers: int, poison: set[str]) -> None:
    supervisor = Supervisor(make_tasks(IDS, PLAN), max_deaths=1000)
    doing = dict.fromkeys(range(workers))
    stored: list[str] = []
    for _ in range(5000):
        if supervisor.done:
            break
        worker = rng.randrange(workers)
        task = doing[worker] or supervisor.next(worker)
        doing[worker] = task
        if task is None:
            continue
        killed = False
        for clip in task.clips:
            supervisor.enter(worker, [clip])
            if clip in poison or rng.random() < 0.01:
                killed = True
                break
            supervisor.leave(worker, [clip])
        doing[worker] = None
        if killed:
            supervisor.died(worker, "signal 9")
        else:
            supervisor.finished(worker)
            stored += task.wanted
    assert supervisor.done
    assert len(stored) == len(set(stored))
    assert set(stored) | set(supervisor.quarantined) == set(IDS)
    assert poison <= set(supervisor.quarantined)


def test_workers_that_never_do_anything_end_the_run() -> None:
    supervisor = Supervisor(make_tasks(IDS, PLAN), max_deaths=3)
    supervisor.died(0, "exit code 1")
    supervisor.died(1, "exit code 1")
    with pytest.raises(WorkerLost, match="3 deaths in a row before anything was done \\(exit code 1\\)"):
        supervisor.died(0, "exit code 1")


def test_a_batch_that_only_dies_together_ends_the_run() -> None:
    supervisor = Supervisor(make_tasks(IDS, PLAN)[:1], max_deaths=3)

    def until_it_gives_up() -> None:
        while True:
            task = supervisor.next(0)
            assert task is not None
            supervisor.enter(0, task.batches[0])
            supervisor.finished(0) if task.trial else supervisor.died(0, "signal 9")

    with pytest.raises(WorkerLost, match="fewer clips into a pass"):
        until_it_gives_up()


@pytest.mark.parametrize(
    ("launcher", "environment", "expected"),
    [
        ("local", {}, Rank()),
        ("torchrun", {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, Rank(5, 8, 1)),
        ("slurm", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_MAX": "9"}, Rank(3, 6)),
        ("slurm", {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}, Rank(3, 4, 1)),
        (
            "slurm",
            {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "1",
             "SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_LOCALID": "2"},
            Rank(6, 8, 2),
        ),
    ],
)  # fmt: skip
def test_the_environment_of_a_launcher_gives_the_rank(launcher, environment, expected) -> None:
    assert rank_of(launcher, environment) == expected


@pytest.mark.parametrize(
    ("launcher", "environment", "says"),
    [
        ("torchrun", {}, "RANK must be a number, got None"),
        ("torchrun", {"RANK": "8", "WORLD_SIZE": "8", "LOCAL_RANK": "0"}, "rank must be below"),
        ("slurm", {}, "SLURM_ARRAY_TASK_ID or SLURM_PROCID must be set"),
        ("slurm", {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "4",
                   "SLURM_ARRAY_TASK_COUNT": "3"}, "step 1"),
    ],
)  # fmt: skip
def test_an_environment_that_cannot_be_is_refused(launcher, environment, says) -> None:
    with pytest.raises(OptionError, match=says):
        rank_of(launcher, environment)


@pytest.mark.parametrize("change", [{"launcher": "cloud"}, {"workers": -1}, {"max_deaths": 0}, {"stall_s": 0.0}])
def test_a_launch_that_cannot_be_is_refused(change: dict) -> None:
    with pytest.raises(OptionError, match="LaunchConfig"):
        LaunchConfig(**change)
