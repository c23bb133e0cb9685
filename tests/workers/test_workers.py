"""Worker processes: the same vectors for any number of them, whoever dies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from motive.errors import StoreError, WorkerLost
from motive.store import Store, verify_store
from motive.workers.launch import LaunchConfig
from motive.workers.pool import Event
from tests.faults.points import Point
from tests.faults.synthetic import Synthetic, SyntheticJob, clip_ids

BAD = frozenset(clip_ids(80)[5:9])
POISON = frozenset([clip_ids(80)[11], clip_ids(80)[40]])


def check(store: Store, job: SyntheticJob) -> None:
    """What the store holds is what an undisturbed run would have stored, once."""
    expected = job.expected()
    assert store.clip_ids == sorted(expected)
    np.testing.assert_array_equal(store.vectors(), np.stack([expected[clip_id] for clip_id in sorted(expected)]))
    report = verify_store(store.location)
    assert report.ok, str(report)
    assert not [note for note in report.notes if "committed" in note.reason], "a clip was doubled"


@pytest.mark.parametrize("workers", [1, 3])
def test_bad_clips_keep_their_place_and_poison_is_quarantined(tmp_path: Path, workers: int) -> None:
    job = SyntheticJob(80, work=Synthetic(bad=BAD, poison=POISON), launch=LaunchConfig(workers=workers))
    events: list[Event] = []
    store = job.run(tmp_path / "s", events)
    check(store, job)
    reasons = {failure.clip_id: failure.reason for failure in store.failures()}
    assert reasons == {**dict.fromkeys(BAD, "damaged"), **dict.fromkeys(POISON, "killed_worker")}
    assert "signal 9" in next(f.detail for f in store.failures() if f.clip_id in POISON)
    deaths = sum(event.kind == "died" for event in events)
    assert deaths == 3 * len(POISON), "once in its unit, twice alone"
    events.clear()
    assert job.run(tmp_path / "s", events).version == store.version
    assert not [event for event in events if event.kind == "died"], "a later run leaves quarantined clips alone"


def test_with_buckets_neither_kills_nor_poison_nor_resumes_change_a_batch(tmp_path: Path) -> None:
    """A worker dies at its third clip, twice; a run that is cut short is continued by one with other workers."""
    tickets = tmp_path / "tickets"
    tickets.mkdir()
    point = Point("clip", 3, alone=True, tickets=str(tickets), kills=2)
    work = Synthetic(bad=BAD, poison=POISON, buckets=3, points=(point,))
    job = SyntheticJob(80, work=work, launch=LaunchConfig(workers=2, max_deaths=50))
    check(job.run(tmp_path / "s"), job)
    record = max((tmp_path / "s" / "commits").glob("*.json"))
    record.unlink()
    check(replace(job, work=replace(work, points=()), launch=LaunchConfig(workers=1)).run(tmp_path / "s"), job)
    flat = replace(job, work=replace(work, buckets=0))
    assert any(not np.array_equal(job.expected()[name], row) for name, row in flat.expected().items())


@pytest.mark.parametrize(("kind", "number"), [("unit", 2), ("clip", 3), ("commit", 1), ("write", 2)])
def test_workers_that_are_killed_are_replaced(tmp_path: Path, kind: str, number: int) -> None:
    """Each worker is killed at the point until there were four kills; none gets past its second unit before."""
    tickets = tmp_path / "tickets"
    tickets.mkdir()
    point = Point(kind, number, alone=True, tickets=str(tickets), kills=4)
    job = SyntheticJob(60, unit_clips=5, work=Synthetic(points=(point,)), launch=LaunchConfig(workers=2, max_deaths=50))
    events: list[Event] = []
    check(job.run(tmp_path / "s", events), job)
    assert len(list(tickets.iterdir())) == 4
    assert sum(event.kind == "died" for event in events) == 4


def test_an_error_of_a_worker_ends_the_run_and_keeps_what_is_committed(tmp_path: Path) -> None:
    job = SyntheticJob(60)
    store = job.begin(tmp_path / "s")
    (store.path / "commits").write_text("in the way")
    with pytest.raises(StoreError, match="commits"):
        job.run(tmp_path / "s")
    (store.path / "commits").unlink()
    check(job.run(tmp_path / "s"), job)


def test_a_silent_worker_is_replaced(tmp_path: Path) -> None:
    silent = Synthetic(silent=frozenset(clip_ids(6)))
    job = SyntheticJob(6, unit_clips=3, work=silent, launch=LaunchConfig(stall_s=2.0, max_deaths=2))
    events: list[Event] = []
    with pytest.raises(WorkerLost, match="no word for 2 s"):
        job.run(tmp_path / "s", events)
    assert [event.reason for event in events if event.kind == "died"] == ["no word for 2 s"] * 2
