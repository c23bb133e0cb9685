"""The plan on Ray: through the real package where it is installed, and through a stand-in for its faults anywhere."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from motive.errors import MissingExtra, StoreError, WorkerLost
from motive.store import Store, verify_store
from motive.workers.launch import LaunchConfig
from motive.workers.pool import Event
from motive.workers.ray_pool import Outcome
from tests.faults.points import Point
from tests.faults.synthetic import Synthetic, SyntheticJob, run_on_ray

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")


def run(job: SyntheticJob, out: Path, events: list[Event] | None = None) -> Store:
    """A run of the job on Ray."""
    return run_on_ray(job, out, events if events is not None else [])


def check(store: Store, job: SyntheticJob) -> None:
    expected = job.expected()
    assert store.clip_ids == sorted(expected)
    np.testing.assert_array_equal(store.vectors(), np.stack([expected[clip_id] for clip_id in sorted(expected)]))
    assert not [note for note in verify_store(store.path).notes if "committed" in note.reason], "a clip was doubled"


class StandIn(types.ModuleType):
    """Enough of Ray for the pool: actors in this process, some of which die with their task, before or after it."""

    def __init__(self, deaths: set[int]) -> None:
        super().__init__("ray")
        self.exceptions = types.SimpleNamespace(RayError=type("RayError", (Exception,), {}))
        self.deaths, self.calls, self.made, self.killed = deaths, itertools.count(), 0, 0
        self._futures: dict[int, object] = {}
        self.busiest = 0

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, **options: object):
        assert options["num_gpus"] == 0
        assert options["max_restarts"] == 0
        return lambda kind: types.SimpleNamespace(remote=lambda *args: self._actor(kind, args))

    def _actor(self, kind: type, args: tuple) -> object:
        self.made += 1
        host = kind(*args)

        def call(*given: object) -> int:
            number = next(self.calls)
            outcome = self.exceptions.RayError("the actor died") if number in self.deaths else None
            if number not in self.deaths or number % 2:  # half of them die after they committed
                done = host.run(*given)
                outcome = outcome or done
            self._futures[number] = outcome
            self.busiest = max(self.busiest, len(self._futures))
            return number

        return types.SimpleNamespace(run=types.SimpleNamespace(remote=call), host=host)

    def wait(self, futures: list[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        return futures[:1], futures[1:]

    def get(self, future: int) -> Outcome:
        outcome = self._futures.pop(future)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome  # type: ignore[return-value]

    def kill(self, actor: object) -> None:
        self.killed += 1
        actor.host._pool.__exit__(None, None, None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("deaths", [set(), {0, 3, 4}, {1, 2, 3, 4, 5, 6}])
def test_actors_that_die_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: set[int]) -> None:
    ray = StandIn(deaths)
    monkeypatch.setitem(sys.modules, "ray", ray)
    job = SyntheticJob(60, launch=LaunchConfig("ray", workers=2))
    events: list[Event] = []
    check(run(job, tmp_path / "s", events), job)
    assert sum(event.kind == "died" for event in events) == len(deaths)
    assert ray.made == ray.killed == 2 + len(deaths)
    assert ray.busiest == 2, "an actor is given a task when it has none, so that nothing piles up"
    loaded = sum(event.kind == "ready" for event in events)
    assert loaded <= ray.made, "a worker is loaded once an actor, not once a task"
    assert deaths or loaded == 2


def test_too_many_deaths_and_errors_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", StandIn(set(range(100))))
    job = SyntheticJob(20, launch=LaunchConfig("ray", workers=1, max_deaths=3))
    with pytest.raises(WorkerLost, match="3 deaths in a row"):
        run(job, tmp_path / "s")
    monkeypatch.setitem(sys.modules, "ray", StandIn(set()))
    (tmp_path / "s" / "commits").mkdir(exist_ok=True)
    for record in (tmp_path / "s" / "commits").iterdir():
        record.write_text("{")
    job.begin(tmp_path / "t")
    (tmp_path / "t" / "commits").write_text("in the way")
    with pytest.raises(StoreError, match="commits"):
        run(job, tmp_path / "t")


def test_without_ray_it_says_which_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'motive\[ray\]'"):
        run(SyntheticJob(3, launch=LaunchConfig("ray", workers=1)), tmp_path / "s")


@needs_ray
def test_a_real_cluster_whose_actors_are_killed(tmp_path: Path) -> None:
    ray = importlib.import_module("ray")
    (tmp_path / "tickets").mkdir()
    point = Point("clip", 3, alone=True, tickets=str(tmp_path / "tickets"), kills=3)
    job = SyntheticJob(60, work=Synthetic(points=(point,)), launch=LaunchConfig("ray", workers=2, max_deaths=50))
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    events: list[Event] = []
    try:
        check(run(job, tmp_path / "s", events), job)
    finally:
        ray.shutdown()
    assert len(list((tmp_path / "tickets").iterdir())) == 3
    assert [event for event in events if event.kind == "died"]
