"""A store in an object store, through fsspec: no rename there, so a shard exists once its record is uploaded.

Every request is tried again after a fault of the line or the server. A repeated upload writes the same bytes under
the same name, so it does no harm that the first one may have arrived.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from motive.addresses import FINAL, faults, file_system, one_line
from motive.errors import StoreError
from motive.store.files import CHUNK_BYTES, Files

T = TypeVar("T")

ATTEMPTS = 8
REQUEST_S, BYTES_PER_S = 60.0, 1 << 20
"""Time limit of a request: REQUEST_S, and one second for each BYTES_PER_S. Some clients wait forever for a server that
disappeared while they sent."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 10.0


class RemoteFiles(Files):
    """The objects under one address.

    Args:
        filesystem: of fsspec.
        root: the address without its protocol, as the file system takes it.
        location: the address.
        first_wait_s: seconds before the second attempt; each further wait is twice as long, up to ten seconds.
    """

    near_bytes = 1 << 22

    def __init__(self, filesystem: Any, root: str, location: str, first_wait_s: float = _FIRST_WAIT_S) -> None:
        self.location = location.rstrip("/")
        self._system = filesystem
        self._root = root.rstrip("/")
        self._first_wait_s = first_wait_s

    @classmethod
    def at(cls, address: str) -> RemoteFiles:
        """The place that an address names.

        Raises:
            OptionError: no file system of that kind. MissingExtra: its package is not installed.
        """
        filesystem, root = file_system(address, "store")
        return cls(filesystem, root, address)

    def where(self, name: str) -> str:
        return f"{self.location}/{name}"

    def names(self, folder: str = "") -> list[str]:
        return [name for name, kind in self._listed(folder) if kind == "file"]

    def entries(self) -> list[str]:
        return [name for name, _ in self._listed("")]

    def size(self, name: str) -> int | None:
        def ask() -> int | None:
            self._system.invalidate_cache(self._parent(name))
            found = self._ask("info", self._path(name))
            return int(found["size"]) if found["type"] == "file" else None

        return self._try(name, ask, missing=None)

    def read(self, name: str, start: int = 0, count: int | None = None) -> bytes:
        end = None if count is None else start + count
        if count == 0:
            return b""

        def ask() -> bytes:
            data = self._ask("cat_file", self._path(name), start=start or None, end=end, bytes_=count or 1 << 28)
            size = None if count is None or len(data) == count else self._ask("info", self._path(name))["size"]
            if size is not None and size >= start + (count or 0):
                raise OSError(f"{len(data)} of {count} bytes arrived")
            return data

        data = self._try(name, ask)
        if count is not None and len(data) != count:
            raise StoreError(
                f"{self.where(name)}: the file must hold {end} bytes, got {start + len(data)}; "
                "run motive verify on the store"
            )
        return data

    def chunks(self, name: str) -> Iterator[bytes]:
        size = self.size(name) or 0
        for start in range(0, size, 8 * CHUNK_BYTES):
            yield self.read(name, start, min(8 * CHUNK_BYTES, size - start))

    def create(self, name: str, data: bytes) -> None:
        self._put(name, data, replace=False)

    def publish(self, name: str, data: bytes, *, replace: bool) -> None:
        self._put(name, data, replace=replace)

    def remove(self, name: str) -> None:
        try:
            self._try(name, lambda: self._ask("rm_file", self._path(name)), missing=None)
        except StoreError:
            return

    def move(self, name: str, target: str) -> None:
        self._put(target, self.read(name), replace=True)
        self._try(name, lambda: self._ask("rm_file", self._path(name)), missing=None)

    def sync(self, folder: str) -> None:
        """Objects are durable when their upload is answered; there is nothing to do."""

    def _put(self, name: str, data: bytes, *, replace: bool) -> None:
        """One upload; where the server can, it refuses a name that is taken in the same step."""
        path, mode = self._path(name), "overwrite" if replace else "create"

        def upload() -> None:
            try:
                self._ask("pipe_file", path, data, mode=mode, bytes_=len(data))
            except OSError as error:
                if not isinstance(error, FileExistsError) and (replace or not _is_precondition(error)):
                    raise
                # An earlier attempt may have arrived though its answer did not: then the bytes there are ours.
                if self._ask("cat_file", path, bytes_=len(data)) != data:
                    raise FileExistsError(path) from error

        self._try(name, upload, write=True)
        if self.size(name) != len(data):
            raise _unwritable(self.where(name), "another size than was sent")

    def _listed(self, folder: str) -> list[tuple[str, str]]:
        path = self._path(folder)

        def ask() -> list[tuple[str, str]]:
            self._system.invalidate_cache(path)
            found = self._ask("ls", path, detail=True, bytes_=1 << 28)
            entries = ((str(entry["name"]).rstrip("/"), entry["type"]) for entry in found)
            own = path.strip("/")
            return sorted((name.rpartition("/")[2], kind) for name, kind in entries if name.strip("/") != own)

        return self._try(folder, ask, missing=[])

    def _try(self, name: str, action: Callable[[], T], *, write: bool = False, **missing: T) -> T:
        """Run a request, again after faults that may pass.

        Args:
            name: the file, for messages.
            action: the request.
            write: whether it writes, for messages.
            missing: ``missing=value`` to return where there is no such file; else that is an error.
        """
        wait_s = self._first_wait_s
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return action()
            except FileNotFoundError as error:
                if "missing" in missing:
                    return missing["missing"]
                raise StoreError(f"{self.where(name)}: the file is missing; run motive verify on the store") from error
            except FileExistsError:
                raise
            except faults() as error:
                if attempt == ATTEMPTS or isinstance(error, FINAL):
                    refusal = _unwritable if write else _unreadable
                    raise refusal(self.where(name), one_line(error)) from error
            time.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        raise StoreError(f"{self.where(name)}: a request neither succeeded nor failed; report this")

    def _ask(self, method: str, *args: Any, bytes_: int = 0, **options: Any) -> Any:
        """One request of fsspec's, with a time limit where its kind has one."""
        if getattr(self._system, "async_impl", False):
            options["timeout"] = REQUEST_S + bytes_ / BYTES_PER_S
        return getattr(self._system, method)(*args, **options)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _parent(self, name: str) -> str:
        return self._path(name).rpartition("/")[0]


def _is_precondition(error: OSError) -> bool:
    """Whether a server refused an upload because the name is taken."""
    return "PreconditionFailed" in str(error) or "At least one of the pre-conditions" in str(error)


def _unreadable(where: str, reason: str) -> StoreError:
    return StoreError(f"{where}: the file must be readable, got {reason}; check the address, the line and your rights")


def _unwritable(where: str, reason: str) -> StoreError:
    return StoreError(
        f"{where}: the file must be writable, got {reason}; "
        "check the address, the line and your rights, then run the same command again"
    )
