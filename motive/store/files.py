"""Storage of a store's bytes: what is written is durable, and what is published appears at once.

Files is all that a store asks of such a place; LocalFiles is a folder on a disk, motive.store.remote an object store;
motive.store.location says which of them an address stands for.
Names are relative, with ``/`` between folders.
"""

from __future__ import annotations

import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from motive.errors import OptionError, StoreError
from motive.publish import sync_folder, temporary_beside

CHUNK_BYTES = 1 << 22


class Files(ABC):
    """A place that keeps the bytes of one store."""

    location: str
    """The folder or address, for people."""

    near_bytes = 1 << 16
    """Byte ranges closer than this are fetched in one request."""

    @abstractmethod
    def where(self, name: str) -> str:
        """The place of a file, for messages."""

    @abstractmethod
    def names(self, folder: str = "") -> list[str]:
        """Names of the regular files directly in a folder, sorted; none if the folder is missing."""

    @abstractmethod
    def entries(self) -> list[str]:
        """Names of all files and folders at the top, sorted."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Bytes of a regular file; None if there is none of that name."""

    @abstractmethod
    def read(self, name: str, start: int = 0, count: int | None = None) -> bytes:
        """Bytes of a regular file from start; all the rest if count is None.

        Raises:
            StoreError: the file is missing, shorter than asked for, or cannot be read.
        """

    @abstractmethod
    def chunks(self, name: str) -> Iterator[bytes]:
        """The whole file, a few megabytes at a time."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> None:
        """Write a new file durably.

        Raises:
            FileExistsError: the name is taken (by a finished file, a leftover or another writer).
            StoreError: it cannot be written; nothing is left behind where that can be helped.
        """

    @abstractmethod
    def publish(self, name: str, data: bytes, *, replace: bool) -> None:
        """Make a file appear with all its bytes, or not at all, also after a power cut.

        Args:
            name: the file's final name.
            data: its content.
            replace: whether an existing file of that name is replaced.

        Raises:
            FileExistsError: the name is taken and replace is False.
            StoreError: it cannot be written.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file that nobody needs any more, if it is there and can be removed."""

    @abstractmethod
    def move(self, name: str, target: str) -> None:
        """Give a file another name; where that takes two steps, the old name is the last to go.

        Raises:
            StoreError: it cannot be moved.
        """

    @abstractmethod
    def sync(self, folder: str) -> None:
        """Make a folder's list of names durable."""


class LocalFiles(Files):
    """The files under one folder.

    Args:
        root: the folder; it need not exist before the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = self._folder = str(root)

    def where(self, name: str) -> str:
        return self._path(name)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def names(self, folder: str = "") -> list[str]:
        try:
            with os.scandir(self.root / folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_file())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(self.where(folder), error) from error

    def entries(self) -> list[str]:
        try:
            return sorted(os.listdir(self.root))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OptionError(
                f"store: path must be a folder, got {self.root} ({error.strerror}); choose another"
            ) from error

    def size(self, name: str) -> int | None:
        try:
            status = os.stat(self._path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreadable(self.where(name), error) from error
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def read(self, name: str, start: int = 0, count: int | None = None) -> bytes:
        try:
            with open(self._path(name), "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(start)
                data = _read_all(file, max(0, size - start) if count is None else min(count, max(0, size - start)))
        except FileNotFoundError as error:
            raise StoreError(f"{self.where(name)}: the file is missing; run motive verify on the store") from error
        except OSError as error:
            raise _unreadable(self.where(name), error) from error
        if count is not None and len(data) != count:
            raise StoreError(
                f"{self.where(name)}: the file must hold {start + count} bytes, got {size}; "
                "run motive verify on the store"
            )
        return data

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            with open(self._path(name), "rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise _unreadable(self.where(name), error) from error

    def create(self, name: str, data: bytes) -> None:
        """As Files.create; the name is claimed before the first byte is written."""
        path = self.root / name
        self._make_folder(path.parent)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            raise
        except OSError as error:
            raise _unwritable(self.where(name), error) from error
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self.remove(name)
            raise _unwritable(self.where(name), error) from error

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(str(folder), error) from error
        _sync_folder(folder.parent)

    def publish(self, name: str, data: bytes, *, replace: bool) -> None:
        path = self.root / name
        temporary = temporary_beside(Path(name)).as_posix()
        self.create(temporary, data)
        try:
            if replace:
                os.replace(self.root / temporary, path)
            else:
                _rename_new(self.root / temporary, path)
            self.sync(name.rpartition("/")[0])
        except FileExistsError:
            raise
        except OSError as error:
            raise _unwritable(self.where(name), error) from error
        finally:
            self.remove(temporary)

    def remove(self, name: str) -> None:
        with suppress(OSError):
            os.unlink(self.root / name)

    def move(self, name: str, target: str) -> None:
        place = self.root / target
        self._make_folder(place.parent)
        try:
            os.replace(self.root / name, place)
        except OSError as error:
            raise _unwritable(self.where(name), error) from error
        _sync_folder(place.parent)
        _sync_folder((self.root / name).parent)

    def sync(self, folder: str) -> None:
        _sync_folder(self.root / folder)


def _sync_folder(folder: Path) -> None:
    try:
        sync_folder(folder)
    except OSError as error:
        raise _unwritable(str(folder), error) from error


def _read_all(file: io.FileIO, count: int) -> bytes:
    """Up to count bytes; a single read may return fewer of a large file."""
    data = file.read(count)
    while len(data) < count and (more := file.read(count - len(data))):
        data += more
    return data


def _rename_new(source: Path, target: Path) -> None:
    """Rename that fails if the target exists; on file systems without hard links the check is not atomic."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        if target.exists():
            raise FileExistsError(str(target)) from None
        os.replace(source, target)


def _unreadable(where: str, error: OSError) -> StoreError:
    return StoreError(
        f"{where}: the file must be readable, got {error.strerror or error}; check the disk and its permissions"
    )


def _unwritable(where: str, error: OSError) -> StoreError:
    return StoreError(
        f"{where}: the file must be writable, got {error.strerror or error}; "
        "free space or fix permissions, then run the same command again"
    )
