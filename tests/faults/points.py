"""Named points at which a process is killed, so that no fault test depends on how long its work takes.

python -m tests.faults.points POINT ARGUMENT...     (motive's command line, killed at that point)

A process arms a point, and ends the moment it comes past it for the n-th time. Nothing waits and nothing is timed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import motive.workers.pool
import motive.workers.process
from motive.child import python_command
from motive.store.files import LocalFiles

KINDS = ("unit", "clip", "commit", "write", "file", "score")
_FILE_EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Point:
    """The n-th time that a process comes past a place in the code.

    Attributes:
        kind: what the process is about to do or has done.
            unit: a unit was started. clip: a clip was. commit: a commit record became visible, so the next thing
            would be the next commit. write: half of a file's bytes are on the disk. file: a file or folder below
            ``folder`` is about to be opened for writing, renamed, linked, made or removed. score: a block is scored.
        number: 1 for the first time; 0 is never reached.
        folder: of kind ``file``.
        signal: that the process gets.
        alone: the process alone is killed, not its process group.
        tickets: folder that counts the kills of all processes; "" does not limit them.
        kills: at most this many.
    """

    kind: str
    number: int
    folder: str = ""
    signal: int = signal.SIGKILL
    alone: bool = False
    tickets: str = ""
    kills: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Point: kind must be one of {', '.join(KINDS)}, got {self.kind}; see its docstring")

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}:{int(self.signal)}:{self.folder}"

    @staticmethod
    def parse(text: str) -> Point:
        """The point that ``str`` of it names."""
        kind, number, number_of_signal, folder = text.split(":", 3)
        return Point(kind, int(number), folder, int(number_of_signal))


class _Armed:
    """The point of this process, and how often each place was passed."""

    def __init__(self, point: Point) -> None:
        self._point, self.passed = point, Counter[str]()

    def due(self, kind: str) -> bool:
        """Count; whether the process must end here."""
        self.passed[kind] += 1
        point = self._point
        if kind != point.kind or self.passed[kind] != point.number:
            return False
        return not point.tickets or self._ticket()

    def strike(self) -> None:
        """End, or get the signal that the point names."""
        if self._point.alone:
            os.kill(os.getpid(), self._point.signal)
        else:
            os.killpg(os.getpgid(0), self._point.signal)

    def watch_files(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook."""
        if event not in _FILE_EVENTS or not arguments or not isinstance(arguments[0], (str, bytes, Path)):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
            return
        if os.fsdecode(arguments[0]).startswith(self._point.folder) and self.due("file"):
            self.strike()

    def _ticket(self) -> bool:
        for number in range(self._point.kills):
            try:
                os.close(os.open(f"{self._point.tickets}/{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                continue
            return True
        return False


_armed: _Armed | None = None


def arm(point: Point) -> None:
    """Let this process end at a point; once in a process."""
    global _armed
    if _armed is not None:
        raise RuntimeError("arm: a process has one point, and this one has it already")
    _armed = _Armed(point)
    if point.kind == "file":
        sys.addaudithook(_armed.watch_files)
    elif point.kind in ("commit", "write"):
        LocalFiles.publish = _publish(_armed, LocalFiles.publish)  # type: ignore[method-assign]
        LocalFiles.create = _create(_armed, LocalFiles.create)  # type: ignore[method-assign]


def reached(kind: str) -> None:
    """Come past a place; returns unless the process is to end here."""
    if _armed is not None and _armed.due(kind):
        _armed.strike()


def passed(kind: str) -> int:
    """How often this process came past a place since it was armed."""
    return _armed.passed[kind] if _armed is not None else 0


def _publish(armed: _Armed, publish: Callable[..., None]) -> Callable[..., None]:
    def published(files: LocalFiles, name: str, data: bytes, *, replace: bool) -> None:
        publish(files, name, data, replace=replace)
        if name.startswith("commits/") and armed.due("commit"):
            armed.strike()

    return published


def _create(armed: _Armed, create: Callable[..., None]) -> Callable[..., None]:
    def created(files: LocalFiles, name: str, data: bytes) -> None:
        if not armed.due("write"):
            create(files, name, data)
            return
        path = files.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        os.write(handle, data[: len(data) // 2])
        os.fsync(handle)
        armed.strike()

    return created


def command(point: Point, *arguments: str) -> list[str]:
    """The command of motive's command line that ends at a point; its worker processes are armed too."""
    return [sys.executable, "-m", "tests.faults.points", str(point), *arguments]


def serve(handle: int, kind: int, number: int) -> None:
    """motive.workers.process.serve, with the point armed; the whole process group ends."""
    folder = os.environ["MOTIVE_FAULTS_FOLDER"]
    arm(Point(KINDS[kind], number, folder))
    motive.workers.process.serve(handle)


def main() -> int:
    """Run motive's command line; prints how many file operations it passed where it was not killed."""
    from motive.cli.main import main as motive_main

    point = Point.parse(sys.argv[1])

    def armed_member(_: str, __: str, handle: int) -> list[str]:
        return python_command("tests.faults.points", "serve", handle, KINDS.index(point.kind), point.number)

    # A shell's background job ignores Ctrl-C, and so would every process that a test in it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["MOTIVE_FAULTS_FOLDER"] = point.folder
    motive.workers.pool.python_command = armed_member  # type: ignore[assignment]
    arm(point)
    status = motive_main(sys.argv[2:])
    print(passed(point.kind))
    return status


if __name__ == "__main__":
    from tests.faults import points  # the module that others import, not a second copy of it

    sys.exit(points.main())
