"""The plan on a Ray cluster: a pool of actors, each with its own worker process.

The process keeps the model loaded, and a clip that kills it is found and quarantined by its actor, as on one machine.
What Ray is left with is placing actors, and telling when one, or the machine under it, is gone: then its task goes to
another, and a new actor takes its place as soon as the cluster has room. An actor has one task at a time, so results
never pile up; actors that wait for a machine make Ray's autoscaler ask for one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from motive.data import Clip
from motive.errors import MotiveError, WorkerLost
from motive.extras import require
from motive.workers.launch import LaunchConfig
from motive.workers.plan import Task
from motive.workers.pool import Event, Pool
from motive.workers.process import WorkerSpec, portable

_WAIT_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """What an actor answers: the events of its task, the clips it quarantined, and an error that ends the run."""

    events: tuple[Event, ...]
    quarantined: Mapping[str, str]
    error: MotiveError | None = None


class Host:
    """The actor: a pool of one worker process, wherever Ray has put it.

    Args:
        spec: of the worker process.
        config: when to give up.
    """

    def __init__(self, spec: WorkerSpec, config: LaunchConfig) -> None:
        self._events: list[Event] = []
        self._pool = Pool(lambda _: spec, replace(config, workers=1), self._events.append)

    def run(self, task: Task, clips: Sequence[Clip]) -> Outcome:
        """Do one task."""
        self._events.clear()
        try:
            quarantined = self._pool.run([task], {clip.clip_id: clip for clip in clips})
        except MotiveError as error:
            return Outcome(tuple(self._events), {}, error)
        return Outcome(tuple(self._events), quarantined)


def run_ray(
    tasks: Sequence[Task],
    clips: Mapping[str, Clip],
    spec: WorkerSpec,
    config: LaunchConfig,
    on_event: Callable[[Event], None],
) -> dict[str, str]:
    """Do tasks on ``config.workers`` actors; arguments, result and errors are those of Pool.

    Raises:
        MissingExtra: Ray is not installed.
        WorkerLost: actors keep dying.
    """
    ray = require("ray", "launch", extra="ray")
    if not ray.is_initialized():
        ray.init(address=config.ray_address or None)
    gpus = config.gpus_per_worker
    if gpus < 0:
        gpus = 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0
    # Ray does not run a task again by itself: what was committed before a death must be looked for first.
    host = ray.remote(num_cpus=config.cpus_per_worker, num_gpus=gpus, max_restarts=0)(Host)
    pool = _Pool(ray, lambda: host.remote(spec, config), config, on_event)
    try:
        return pool.run(tasks, clips, min(max(1, config.workers), max(1, len(tasks))))
    finally:
        pool.close()


class _Pool:
    """Actors, and which task each has."""

    def __init__(
        self, ray: Any, make: Callable[[], Any], config: LaunchConfig, on_event: Callable[[Event], None]
    ) -> None:
        self._ray, self._make, self._config, self._on_event = ray, make, config, on_event
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, tuple[int, Task]] = {}
        self._deaths = 0

    def run(self, tasks: Sequence[Task], clips: Mapping[str, Clip], count: int) -> dict[str, str]:
        quarantined: dict[str, str] = {}
        queue, idle = deque(tasks), deque(range(count))
        while queue or self._pending:
            while queue and idle:
                self._submit(idle.popleft(), queue.popleft(), clips)
            ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=_WAIT_S)
            for future in ready:
                number, task = self._pending.pop(future)
                idle.append(number)
                outcome = self._outcome(future, number)
                if outcome is None:
                    queue.appendleft(replace(task, again=True))
                    continue
                for event in outcome.events:
                    self._on_event(replace(event, worker=number))
                if outcome.error is not None:
                    raise outcome.error
                quarantined.update(outcome.quarantined)
        return quarantined

    def close(self) -> None:
        for actor in self._actors.values():
            self._end(actor)
        self._actors = {}

    def _submit(self, number: int, task: Task, clips: Mapping[str, Clip]) -> None:
        actor = self._actors.get(number)
        if actor is None:
            actor = self._actors[number] = self._make()
        future = actor.run.remote(task, [portable(clips[clip_id]) for clip_id in task.needed])
        self._pending[future] = (number, task)

    def _outcome(self, future: Any, number: int) -> Outcome | None:
        """The answer to a task; None where the actor or its machine has gone."""
        try:
            outcome = self._ray.get(future)
        except self._ray.exceptions.RayError as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            self._on_event(Event("died", number, reason=reason))
            self._end(self._actors.pop(number))
            self._deaths += 1
            if self._deaths >= self._config.max_deaths:
                raise WorkerLost(
                    f"run: actors must stay alive, got {self._deaths} deaths in a row before anything was done "
                    f"({reason}); see Ray's logs"
                ) from error
            return None
        self._deaths = 0
        return outcome

    def _end(self, actor: Any) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(actor)
