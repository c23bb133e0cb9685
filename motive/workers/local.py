"""Worker processes on this machine: started, fed, watched, and replaced when they die."""

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
from motive.workers.member import Membership, portable
from motive.workers.plan import Task, TaskResult
from motive.workers.supervise import Supervisor

_TICK_S = 1.0


@dataclass(frozen=True)
class Event:
    """Something that happened to a worker.

    Attributes:
        kind: ``ready``, ``done`` or ``died``.
        worker: its number, 0 to workers - 1; a replacement has its predecessor's.
        task: that was done.
        result: of the task.
        reason: of a death.
    """

    kind: str
    worker: int
    task: Task | None = None
    result: TaskResult | None = None
    reason: str = ""


def run_local(
    tasks: Sequence[Task],
    clips: Mapping[str, Clip],
    member: Callable[[int], Membership],
    config: LaunchConfig,
    on_event: Callable[[Event], None],
) -> dict[str, str]:
    """Do tasks in ``config.workers`` processes; the arguments, result and errors of Crew."""
    with Crew(member, config, on_event) as crew:
        return crew.run(tasks, clips)


class _Member:
    """One worker process and the connection to it."""

    def __init__(self, told: Membership) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            command = python_command("motive.workers.member", "serve", theirs.fileno())
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))
        self.link = Connection(ours.detach())
        self.heard = time.monotonic()
        self.idle = False
        self.fault = ""
        self.send(replace(told, parent=os.getpid()))

    def send(self, message: Any) -> None:
        """Send; one that has died shows when its connection is read."""
        try:
            self.link.send(message)
        except OSError:
            return

    def receive(self) -> tuple[Any, ...] | None:
        """The next message; None if the process has gone."""
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


class Crew:
    """Worker processes, which stay from one run of tasks to the next; leaving the ``with`` block ends them.

    Args:
        member: number of a worker -> what it is told.
        config: how many workers, and when to give up.
        on_event: called in this process as things happen.
    """

    def __init__(
        self, member: Callable[[int], Membership], config: LaunchConfig, on_event: Callable[[Event], None]
    ) -> None:
        self._told, self._config, self._on_event = member, config, on_event
        self._supervisor = Supervisor([])
        self._clips: Mapping[str, Clip] = {}
        self._members: dict[int, _Member] = {}

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for member in self._members.values():
            if kind is not None:
                member.process.kill()
            member.end(10.0)
        self._members = {}

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
        for number in range(len(self._members), min(max(1, self._config.workers), len(tasks))):
            self._members[number] = _Member(self._told(number))
        while not self._supervisor.done:
            self._step()
        return self._supervisor.quarantined

    def _step(self) -> None:
        """Hand out what can be, then wait for a message and act on it."""
        for number, member in self._members.items():
            if member.idle:
                self._feed(number, member)
        links = {member.link: number for number, member in self._members.items()}
        for link in wait(list(links), _TICK_S):
            number = links[cast(Connection, link)]
            message = self._members[number].receive()
            if message is None:
                self._replace(number, self._members[number].fault)
            else:
                self._act(number, message)
        now = time.monotonic()
        for number, member in list(self._members.items()):
            if not member.idle and now - member.heard > self._config.stall_s:
                member.process.kill()
                self._replace(number, f"no word for {self._config.stall_s:g} s")

    def _feed(self, number: int, member: _Member) -> None:
        task = self._supervisor.next(number)
        if task is not None:
            member.idle = False
            member.heard = time.monotonic()
            member.send((task, [portable(self._clips[clip_id]) for clip_id in task.clips]))

    def _act(self, number: int, message: tuple[Any, ...]) -> None:
        member, kind = self._members[number], message[0]
        member.heard = time.monotonic()
        if kind == "begins":
            self._supervisor.begins(number, message[1])
        elif kind == "ends":
            self._supervisor.ends(number, message[1])
        elif kind == "ready":
            member.idle = True
            self._on_event(Event("ready", number))
        elif kind == "done":
            task = self._supervisor.finished(number)
            member.idle = True
            self._on_event(Event("done", number, task, message[1]))
        elif kind == "error":
            raise message[1]
        else:
            member.fault = message[1]

    def _replace(self, number: int, reason: str) -> None:
        code = self._members[number].end(5.0)
        reason = reason or describe_exit(code)
        self._on_event(Event("died", number, reason=reason))
        self._supervisor.died(number, reason)
        self._members[number] = _Member(self._told(number))
