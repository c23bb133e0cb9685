"""A folder of fetched shards: each is there whole, with a record of its size, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from motive.addresses import public
from motive.data.shards.transfer import Facts, RemoteFile, Stopped
from motive.errors import DatasetError
from motive.progress import Bar
from motive.publish import published

T = TypeVar("T")

_THREADS = 4
"""Shards that are fetched at the same time."""
_ASKED = 16
"""Servers' answers about size that are waited for at the same time."""
_SHOWN = 5
_LOCKED_S = 0.2


def default_cache() -> Path:
    """Where shards are kept unless a folder is named: the user's cache folder, by the XDG rules."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "motive" / "shards"


@dataclass(frozen=True)
class RemoteShards:
    """The shards of one dataset, at their addresses and in a folder of this machine.

    Attributes:
        folder: that holds the copies.
        addresses: of each shard, with its credentials if it has any, by the path of its copy in the folder.
    """

    folder: Path
    addresses: Mapping[str, str]

    def address(self, file: Path) -> str | None:
        """The address of a copy, without credentials; None for another file."""
        found = self.addresses.get(os.path.relpath(file, self.folder))
        return None if found is None else public(found)

    def bytes(self, name: str) -> int | None:
        """Size of a shard by the record of when it was fetched, also when the copy was removed since."""
        try:
            record = json.loads(self._beside(name, ".json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        size = record.get("bytes") if isinstance(record, dict) else None
        return size if isinstance(size, int) else None

    def holds(self, name: str) -> bool:
        """Whether the folder has the whole shard."""
        try:
            size = os.stat(self.folder / name).st_size
        except OSError:
            return False
        return size == self.bytes(name)

    def fetch(self, names: Sequence[str] | None = None, *, show_progress: bool = False) -> None:
        """Bring shards to the folder; those that it holds are taken as they are, and nobody is asked about them.

        Several processes may do so at the same time: each shard is fetched by one of them.

        Args:
            names: in ``addresses``; None for all.
            show_progress: draw a bar on stderr.

        Raises:
            DatasetError: a shard cannot be fetched, or the disk is too small; what arrived stays, and the next call
                continues there.
            MissingExtra: the package for an address is not installed.
        """
        missing = [name for name in (self.addresses if names is None else names) if not self.holds(name)]
        if not missing:
            return
        stop = threading.Event()
        with Bar(None, "fetch", shown=show_progress, unit="MiB") as bar:
            count = _Counter(bar)
            files = [RemoteFile(self.addresses[name], stop, count.add) for name in missing]
            facts = _surveyed(files, stop)
            count.total = self._check_space(missing, facts)
            jobs = zip(missing, files, facts, strict=True)
            _all([lambda job=job: self._fetch_one(*job) for job in jobs], _THREADS, stop)

    def _check_space(self, names: Sequence[str], facts: Sequence[Facts]) -> int:
        """Refuse shards for which the disk is too small; their bytes that are still to come."""
        held = 0
        for name in names:
            with suppress(OSError):
                held += os.stat(self._beside(name, ".part")).st_size
        needed = max(0, sum(fact.size or 0 for fact in facts) - held)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise DatasetError(
                f"the shard cache must be a folder, got {self.folder} ({error.strerror}); give another --shard-cache"
            ) from error
        if needed > free:
            raise DatasetError(
                f"the {len(names)} shards that are still to be fetched have {needed / 1e9:.1f} GB, and {self.folder} has "
                f"{free / 1e9:.1f} GB free; give another --shard-cache, or index a part of the shards into each of several "
                "stores (motive score takes several)"
            )
        return needed

    def _fetch_one(self, name: str, file: RemoteFile, facts: Facts) -> None:
        try:
            self._fetch(name, file, facts)
        except OSError as error:  # of the disk: those of the line were turned into DatasetErrors
            raise DatasetError(
                f"the shard cache {self.folder} must take {name}, got {error.strerror or error}; check space and "
                "permissions, or give another --shard-cache"
            ) from error

    def _fetch(self, name: str, file: RemoteFile, facts: Facts) -> None:
        """Fetch one shard, unless another process does."""
        target = self.folder / name
        with self._part(name, file.stop) as part:
            if part is None:
                return
            state = self._beside(name, ".part.json")
            whole = json.dumps({"bytes": facts.size, "version": facts.version})
            if facts.version is None or _text(state) != whole:
                part.truncate(0)
                _publish(state, whole)
            file.fetch(part, facts)
            part.flush()
            os.fsync(part.fileno())
            size = os.fstat(part.fileno()).st_size
            _publish(self._beside(name, ".json"), json.dumps({"address": file.shown, "bytes": size}))
            os.replace(self._beside(name, ".part"), target)
            state.unlink(missing_ok=True)

    @contextmanager
    def _part(self, name: str, stop: threading.Event) -> Iterator[BinaryIO | None]:
        """The unfinished file of a shard, locked; None if it was finished in the meantime."""
        path = self._beside(name, ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with open(path, "a+b") as part:
                _lock(part, stop)
                if self.holds(name):
                    if _is_same(part, path):
                        path.unlink()
                    yield None
                    return
                if _is_same(part, path):
                    yield part
                    return

    def _beside(self, name: str, suffix: str) -> Path:
        """A hidden file beside a copy."""
        path = self.folder / name
        return path.with_name(f".{path.name}{suffix}")


class _Counter:
    """Bytes that arrived, over several threads."""

    def __init__(self, bar: Bar) -> None:
        self._bar, self._lock, self._done, self.total = bar, threading.Lock(), 0, 0

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._bar.to(max(0, self._done) >> 20, max(self.total, self._done) >> 20)


def _surveyed(files: Sequence[RemoteFile], stop: threading.Event) -> list[Facts]:
    """Size and version of every file.

    Raises:
        DatasetError: some cannot be read; the first of them are named.
    """
    problems: list[DatasetError] = []

    def ask(file: RemoteFile) -> Facts:
        try:
            return file.facts()
        except DatasetError as error:
            problems.append(error)
            if len(problems) >= _SHOWN:
                stop.set()
            return Facts(None, None)

    try:
        facts = _all([lambda file=file: ask(file) for file in files], _ASKED, stop)
    except Stopped:
        facts = []
    if problems:
        more = f"; so for {len(problems)} of {len(files)} shards or more" if len(problems) > 1 else ""
        raise DatasetError("; ".join(dict.fromkeys(str(error) for error in problems[:_SHOWN])) + more)
    return facts


def _all(jobs: Sequence[Callable[[], T]], threads: int, stop: threading.Event) -> list[T]:
    """The results of all jobs; after the first error, or an interrupt, the others are stopped and nothing more starts."""
    with ThreadPoolExecutor(threads, thread_name_prefix="shards") as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future for future in done if future.exception() is not None]
            errors = [error for future in failed if not isinstance(error := future.exception(), Stopped)]
            if errors and errors[0] is not None:
                raise errors[0]
            return [future.result() for future in futures]
        finally:
            if not all(future.done() and not future.exception() for future in futures):
                stop.set()
                pool.shutdown(cancel_futures=True)


def _lock(file: BinaryIO, stop: threading.Event) -> None:
    """Wait until no other process has the file locked; closing it gives the lock back."""
    import fcntl  # not on Windows

    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if stop.wait(_LOCKED_S):
                raise Stopped from None


def _is_same(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError:
        return False


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _publish(path: Path, text: str) -> None:
    with published(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
