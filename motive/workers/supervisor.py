"""Task scheduling and crash recovery. No I/O, so every failure sequence can be tested.

A worker reports the clips in flight. When it dies, those are tried one at a time, storing nothing: a clip that kills a
worker twice on its own is quarantined, and the task runs again without it. A death that no clip explains, such as a
process killed by hand, costs a retry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from motive.errors import WorkerLost
from motive.workers.plan import Task

DEATHS_ALONE = 2
"""How often a clip must kill a worker on its own before it is quarantined."""


@dataclass
class _Suspended:
    """A task that waits while the clips its worker died on are tried alone."""

    task: Task
    waiting: set[str]
    poison: set[str] = field(default_factory=set)


class Supervisor:
    """Hands out tasks to workers.

    Args:
        tasks: to be done, in order of preference.
        max_deaths: deaths within one task that no clip explains, and deaths in a row without anything being done, after
            which the run is given up.

    Attributes:
        quarantined: clip id -> reason.
    """

    def __init__(self, tasks: Iterable[Task], max_deaths: int = 10) -> None:
        self.quarantined: dict[str, str] = {}
        self._queue = deque(tasks)
        self._max_deaths = max_deaths
        self._doing: dict[int, Task] = {}
        self._at: dict[int, list[str]] = {}
        self._suspended: dict[int, _Suspended] = {}
        self._alone: dict[str, int] = {}
        self._deaths: dict[int, int] = {}
        self._idle_deaths = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left, in the queue or with a worker."""
        return not (self._queue or self._doing or self._suspended)

    @property
    def waiting(self) -> int:
        """Tasks that a worker could take now."""
        return len(self._queue)

    def next(self, worker: int) -> Task | None:
        """The next task of an idle worker; None while there is none."""
        if not self._queue:
            return None
        task = self._queue.popleft()
        self._doing[worker] = task
        self._at[worker] = []
        return task

    def enter(self, worker: int, clip_ids: Iterable[str]) -> None:
        """The worker starts processing these clips."""
        self._at[worker].extend(clip_ids)

    def leave(self, worker: int, clip_ids: Iterable[str]) -> None:
        """The worker has finished these clips."""
        for clip_id in clip_ids:
            if clip_id in self._at[worker]:
                self._at[worker].remove(clip_id)

    def finished(self, worker: int) -> Task:
        """The worker has finished its task, which is returned."""
        task = self._doing.pop(worker)
        self._at.pop(worker)
        self._idle_deaths = 0
        if task.trial:
            self._settle(task.unit, task.clips[0], poison=False)
        return task

    def died(self, worker: int, reason: str) -> None:
        """The worker is gone.

        Raises:
            WorkerLost: too many deaths that no clip explains.
        """
        task = self._doing.pop(worker, None)
        at = list(dict.fromkeys(self._at.pop(worker, [])))
        self._idle_deaths += 1
        if task is not None and task.trial:
            self._died_alone(task, reason)
        elif task is not None:
            task = replace(task, again=True)
            self._deaths[task.unit] = self._deaths.get(task.unit, 0) + 1
            suspects = [clip_id for clip_id in at if clip_id not in task.skip]
            if suspects:
                self._suspended[task.unit] = _Suspended(task, set(suspects))
                self._queue.extendleft(task.alone(clip_id) for clip_id in reversed(suspects))
            else:
                self._queue.appendleft(task)
        self._give_up_after(task, reason)

    def _died_alone(self, task: Task, reason: str) -> None:
        clip_id = task.clips[0]
        self._alone[clip_id] = self._alone.get(clip_id, 0) + 1
        if self._alone[clip_id] < DEATHS_ALONE:
            self._queue.appendleft(task)
            return
        self.quarantined[clip_id] = f"its worker died {DEATHS_ALONE} times on this clip alone: {reason}"
        self._idle_deaths = 0
        self._settle(task.unit, clip_id, poison=True)

    def _settle(self, unit: int, clip_id: str, *, poison: bool) -> None:
        """A trial is over; with the last one, the task continues."""
        suspended = self._suspended[unit]
        suspended.waiting.discard(clip_id)
        if poison:
            suspended.poison.add(clip_id)
        if suspended.waiting:
            return
        del self._suspended[unit]
        if suspended.poison:
            self._deaths[unit] = 0
        task = suspended.task.without(suspended.poison)
        if task.wanted:
            self._queue.appendleft(task)

    def _give_up_after(self, task: Task | None, reason: str) -> None:
        if self._idle_deaths >= self._max_deaths:
            raise WorkerLost(
                f"run: workers must stay alive, got {self._idle_deaths} deaths in a row before anything was done "
                f"({reason}); see the lines above for the cause"
            )
        if task is not None and self._deaths.get(task.unit, 0) >= self._max_deaths:
            raise WorkerLost(
                f"run: a batch must leave its worker alive, got {self._max_deaths} deaths in unit {task.unit} though each "
                f"clip alone is fine ({reason}); give workers more memory, or put fewer clips into a pass"
            )
