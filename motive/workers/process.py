"""A worker process: takes tasks over a connection until it closes, and exits when its parent has died."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, Protocol, cast

from motive.data import Clip
from motive.errors import MotiveError
from motive.workers.in_flight import InFlight
from motive.workers.plan import Task, TaskResult

_PARENT_CHECK_S = 0.25


class RunsTasks(Protocol):
    """What a process calls on its worker."""

    def run_task(self, task: Task, clips: Mapping[str, Clip]) -> TaskResult:
        """Run one task and commit its results."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


@dataclass(frozen=True)
class WorkerSpec:
    """The specification of a worker process, sent to it when it starts.

    Attributes:
        config: what the factory needs to know of the run, with the device of this process.
        store: where the store is.
        vectors_digest: of everything that decides a vector; a worker that would make others must not add to the store.
        factory: ``module:function`` that makes the worker from this and an InFlight.
        parent: process id of the parent, put in when the process is started.
    """

    config: Any
    store: str
    vectors_digest: str
    factory: str
    parent: int = 0


class _Reporting(InFlight):
    """Reports the clips in flight to the parent."""

    def __init__(self, link: Connection, lock: threading.Lock) -> None:
        self._link, self._lock = link, lock

    def enter(self, clip_ids: Sequence[str]) -> None:
        with self._lock:
            self._link.send(("enter", list(clip_ids)))

    def leave(self, clip_ids: Sequence[str]) -> None:
        with self._lock:
            self._link.send(("leave", list(clip_ids)))


def serve(handle: int) -> None:
    """Run the tasks that arrive over a socket until it closes.

    Args:
        handle: file descriptor of the socket.
    """
    link, lock = Connection(handle), threading.Lock()
    spec: WorkerSpec = link.recv()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends this process
    threading.Thread(target=_end_with, args=(spec.parent,), daemon=True).start()

    def tell(*message: Any) -> None:
        with lock:
            try:
                link.send(message)
            except (BrokenPipeError, ConnectionResetError):
                raise EOFError from None  # the parent needs nothing any more

    worker: RunsTasks | None = None
    try:
        module, _, name = spec.factory.partition(":")
        worker = made = cast(RunsTasks, getattr(import_module(module), name)(spec, _Reporting(link, lock)))
        tell("ready")
        while True:
            task, clips = link.recv()
            tell("done", made.run_task(task, {clip.clip_id: clip for clip in clips}))
    except EOFError:
        return
    except MotiveError as error:
        tell("error", error)
    except BaseException as error:
        tell("fault", f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
        raise
    finally:
        if worker is not None:
            worker.close()


def portable(clip: Clip) -> Clip:
    """The clip in a form that can be sent to another process."""
    return replace(clip, columns=dict(clip.columns))


def _end_with(parent: int) -> None:
    """Exit at once when the parent has died: another run may already be processing the same tasks."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)
