"""A pool of worker processes on this machine: starts them, hands out tasks, replaces those that die."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from motive.child import describe_exit, python_command
from motive.data import Clip
from motive.workers.launch import LaunchConfig
from motive.workers.plan import Task, TaskResult
from motive.workers.process import WorkerSpec, portable
from motive.workers.supervisor import Supervisor

_TICK_S = 1.0


@dataclass(frozen=True)
class Event:
    """A change in a worker's state.

    Attributes:
        kind: ``ready``, ``done`` or ``died``.
        worker: its number, 0 to workers - 1; a replacement has its predecessor's.
        task: the finished task.
        result: what the task stored.
        reason: why the worker died.
    """

    kind: str
    worker: int
    task: Task | None = None
    result: TaskResult | None = None
    reason: str = ""


def run_local(
    tasks: Sequence[Task],
    clips: Mapping[str, Clip],
    spec_of: Callable[[int], WorkerSpec],
    config: LaunchConfig,
    on_event: Callable[[Event], None],
) -> dict[str, str]:
    """Do tasks in ``config.workers`` processes; the arguments, result and errors of Pool."""
    with Pool(spec_of, config, on_event) as pool:
        return pool.run(tasks, clips)


class _Process:
    """One worker process and the connection to it."""

    def __init__(self, spec: WorkerSpec) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            command = python_command("motive.workers.process", "serve", theirs.fileno())
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))
        self.link = Connection(ours.detach())
        self.heard = time.monotonic()
        self.idle = False
        self.fault = ""
        self.send(replace(spec, parent=os.getpid()))

    def send(self, message: Any) -> None:
        """Send a message; a process that has died shows when its connection is read."""
        try:
            self.link.send(message)
        except OSError:
            return

    def receive(self) -> tuple[Any, ...] | None:
        """The next message; None if the process has died."""
        try:
            return self.link.recv()
        except (EOFError, OSError):
            return None

    def end(self, wait_s: float) -> int | None:
        """Close the connection, which ends the process; kill it if it does not end in time."""
        self.link.close()
        try:
            return self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Pool:
    """Worker processes that live from one run of tasks to the next; leaving the ``with`` block ends them.

    Args:
        spec_of: number of a worker -> its specification.
        config: how many workers, and when to give up.
        on_event: called in this process as things happen.
    """

    def __init__(
        self, spec_of: Callable[[int], WorkerSpec], config: LaunchConfig, on_event: Callable[[Event], None]
    ) -> None:
        self._spec_of, self._config, self._on_event = spec_of, config, on_event
        self._supervisor = Supervisor([])
        self._clips: Mapping[str, Clip] = {}
        self._processes: dict[int, _Process] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for process in self._processes.values():
            if kind is not None:
                process.process.kill()
            process.end(10.0)
        self._processes = {}

    def run(self, tasks: Sequence[Task], clips: Mapping[str, Clip]) -> dict[str, str]:
        """Do tasks.

        Args:
            tasks: from the plan.
            clips: id -> clip, of all that the tasks touch.

        Returns:
            Clips that killed their workers: id -> reason.

        Raises:
            MotiveError: of a worker, as where the disk is full; what others committed stays.
            WorkerLost: workers keep dying.
        """
        self._supervisor, self._clips = Supervisor(tasks, self._config.max_deaths), clips
        for number in range(len(self._processes), min(max(1, self._config.workers), len(tasks))):
            self._processes[number] = _Process(self._spec_of(number))
        while not self._supervisor.done:
            self._step()
        return self._supervisor.quarantined

    def _step(self) -> None:
        """Hand out tasks to idle workers, then wait for a message and act on it."""
        for number, process in self._processes.items():
            if process.idle:
                self._feed(number, process)
        links = {process.link: number for number, process in self._processes.items()}
        for link in wait(list(links), _TICK_S):
            number = links[cast(Connection, link)]
            message = self._processes[number].receive()
            if message is None:
                self._replace(number, self._processes[number].fault)
            else:
                self._act(number, message)
        now = time.monotonic()
        for number, process in list(self._processes.items()):
            if not process.idle and now - process.heard > self._config.stall_s:
                process.process.kill()
                self._replace(number, f"no word for {self._config.stall_s:g} s")

    def _feed(self, number: int, process: _Process) -> None:
        task = self._supervisor.next(number)
        if task is not None:
            process.idle = False
            process.heard = time.monotonic()
            process.send((task, [portable(self._clips[clip_id]) for clip_id in task.needed]))

    def _act(self, number: int, message: tuple[Any, ...]) -> None:
        process, kind = self._processes[number], message[0]
        process.heard = time.monotonic()
        if kind == "enter":
            self._supervisor.enter(number, message[1])
        elif kind == "leave":
            self._supervisor.leave(number, message[1])
        elif kind == "ready":
            process.idle = True
            self._on_event(Event("ready", number))
        elif kind == "done":
            task = self._supervisor.finished(number)
            process.idle = True
            self._on_event(Event("done", number, task, message[1]))
        elif kind == "error":
            raise message[1]
        else:
            process.fault = message[1]

    def _replace(self, number: int, reason: str) -> None:
        code = self._processes[number].end(5.0)
        reason = reason or describe_exit(code)
        self._on_event(Event("died", number, reason=reason))
        self._supervisor.died(number, reason)
        self._processes[number] = _Process(self._spec_of(number))
