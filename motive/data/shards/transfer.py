"""Fetching one file from an address: resumed where it stopped, tried again after faults that may pass."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from motive.addresses import FINAL, faults, file_system, one_line, public, scheme_of
from motive.errors import DatasetError
from motive.extras import require

T = TypeVar("T")

ATTEMPTS = 8
"""Requests in a row that may fail without a byte arriving."""
REQUEST_S, BYTES_PER_S = 60.0, 1 << 20
"""Time limit of a request: REQUEST_S, and one second for each BYTES_PER_S; over HTTP, for the next bytes to arrive."""
_CHUNK_BYTES = 16 << 20
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 10.0
_VERSIONS = ("ETag", "etag", "md5Hash", "blob_id", "content_md5", "Content-MD5", "LastModified", "Last-Modified")
"""What servers and fsspec call the mark of a file's version; the first that is there counts."""
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError")


class Stopped(Exception):
    """The run ends, so nothing more is fetched."""


@dataclass(frozen=True)
class Facts:
    """What a server says of a file.

    Attributes:
        size: bytes; None where it does not say.
        version: differs between two versions of the file; None where there is no such mark.
    """

    size: int | None
    version: str | None


class RemoteFile:
    """A file at an address.

    Args:
        address: with its credentials, if it has any; messages never show them.
        stop: ends a transfer that is under way.
        on_bytes: called with the number of bytes that arrived; may be negative, where they turn out to be of no use.

    Raises:
        OptionError: fsspec knows no such address. MissingExtra: the package for it is not installed.
    """

    def __init__(self, address: str, stop: threading.Event, on_bytes: Callable[[int], None]) -> None:
        self.shown = public(address)
        self._system, self._path = file_system(address, "dataset")
        self._http = scheme_of(address) in ("http", "https")
        self.stop, self._on_bytes = stop, on_bytes

    def facts(self) -> Facts:
        """Size and version.

        Raises:
            DatasetError: the file cannot be read.
        """
        return self._retried(self._facts, lambda: 0)

    def fetch(self, file: BinaryIO, facts: Facts) -> None:
        """Bring a file that may hold the first bytes already to the whole.

        Args:
            file: open for reading and writing; it holds bytes of this version alone.
            facts: of that version.

        Raises:
            DatasetError: it cannot be fetched; what arrived stays in the file.
        """
        held, again = facts, False

        def once() -> None:
            nonlocal held, again
            now = self._facts() if again else held
            again = True
            if now != held:
                held = now
                self._cut(file)
            self._stream(file, held) if self._http else self._chunks(file, held)

        self._retried(once, lambda: file.seek(0, 2))

    def _facts(self) -> Facts:
        self._system.invalidate_cache(self._path.rpartition("/")[0])
        found = self._ask("info", self._path)
        if found.get("type") == "directory":
            raise IsADirectoryError(self.shown)
        size = found.get("size")
        return Facts(None if size is None else int(size), _version(found))

    def _chunks(self, file: BinaryIO, facts: Facts) -> None:
        """Fetch what is missing by byte ranges, and ask whether the file is still the same."""
        at = file.seek(0, 2)
        if facts.size is None:
            raise DatasetError(f"{self.shown}: the server does not say how long the file is; fetch it yourself")
        while at < facts.size:
            end = min(at + _CHUNK_BYTES, facts.size)
            data = self._ask("cat_file", self._path, start=at, end=end, bytes_=end - at)
            if len(data) != end - at:
                raise OSError(f"{len(data)} of {end - at} bytes arrived")
            self._write(file, data)
            at = end
        if self._facts() != facts:
            self._cut(file)
            raise OSError("the file changed while it was fetched")

    def _stream(self, file: BinaryIO, facts: Facts) -> None:
        """Fetch what is missing by one request; start over where the server knows no ranges or the file has changed."""
        at = file.seek(0, 2)
        if at and at == facts.size:
            return
        headers = {**getattr(self._system, "kwargs", {}).get("headers", {}), "Accept-Encoding": "identity"}
        if at:
            headers["Range"] = f"bytes={at}-"
        with closing(
            self._system.open(self._path, block_size=0, size=1, headers=headers, timeout=_patience())
        ) as stream:
            answer = stream.r
            if at and (answer.status != 206 or _version(answer.headers) != facts.version):
                self._cut(file)
                if answer.status == 206:
                    raise OSError("the file changed while it was fetched")
                at = 0
            size = None if "Content-Encoding" in answer.headers else answer.headers.get("Content-Length")
            while data := stream.read(1 << 20):
                self._write(file, data)
        end = file.seek(0, 2)
        if size is not None and end != at + int(size):
            raise OSError(f"{end} of {at + int(size)} bytes arrived")

    def _ask(self, method: str, *args: Any, bytes_: int = 0, **options: Any) -> Any:
        """One request of fsspec's, with a time limit where its kind has one."""
        if getattr(self._system, "async_impl", False):
            options["timeout"] = REQUEST_S + bytes_ / BYTES_PER_S
        return getattr(self._system, method)(*args, **options)

    def _write(self, file: BinaryIO, data: bytes) -> None:
        if self.stop.is_set():
            raise Stopped
        try:
            file.write(data)
        except OSError as error:
            raise DatasetError(
                f"the shard cache must take {self.shown}, got {error.strerror}; free some space, or give another --shard-cache"
            ) from error
        self._on_bytes(len(data))

    def _cut(self, file: BinaryIO) -> None:
        self._on_bytes(-file.seek(0, 2))
        file.seek(0)
        file.truncate()

    def _retried(self, action: Callable[[], T], reached: Callable[[], int]) -> T:
        """Do something, again after faults that may pass; those after which more bytes are there do not count."""
        failures, before, wait_s = 0, reached(), _FIRST_WAIT_S
        while True:
            if self.stop.is_set():
                raise Stopped
            try:
                return action()
            except faults() as error:
                now = reached()
                failures, wait_s = (1, _FIRST_WAIT_S) if now > before else (failures + 1, wait_s)
                before = max(before, now)
                status = _status(error)
                if failures >= ATTEMPTS or _is_final(error, status):
                    # The error's own text, and that of its causes, may hold the address with its credentials.
                    raise DatasetError(f"{self.shown}: {_words(error, status)}") from None
            self.stop.wait(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def _patience() -> Any:
    """aiohttp's time limits: none for the whole answer, which may be of any length."""
    limits = require("aiohttp", "dataset", extra="remote").ClientTimeout
    return limits(total=None, connect=REQUEST_S, sock_read=REQUEST_S)


def _version(found: Mapping[str, Any]) -> str | None:
    """The mark of a file's version; one that stands for several encodings of it (``W/``) does not count."""
    texts = (str(found[name]) for name in _VERSIONS if found.get(name))
    return next((text for text in texts if not text.startswith("W/")), None)


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and len(found) < 8:
        found.append(cause)
        cause = cause.__cause__
    return found


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error of fsspec's, or of a package behind it, stands for; None where no answer came."""
    chain = _chain(error)
    for cause in chain:
        answer = getattr(cause, "response", None)
        inner = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
        for status in (
            getattr(cause, "status", None),
            inner.get("HTTPStatusCode"),
            getattr(answer, "status_code", None),
        ):
            if isinstance(status, int):
                return status
    if len(chain) == 1 and isinstance(error, FileNotFoundError):
        return 404
    return 403 if isinstance(error, PermissionError) else None


def _is_final(error: BaseException, status: int | None) -> bool:
    if any(type(cause).__name__ in _NO_CREDENTIALS for cause in _chain(error)):
        return True
    if status is not None:
        return 400 <= status < 500 and status not in (408, 416, 425, 429)
    return isinstance(error, FINAL) and len(_chain(error)) == 1


def _words(error: BaseException, status: int | None) -> str:
    """What happened and what to do, for a person."""
    chain = _chain(error)
    if any(type(cause).__name__ in _NO_CREDENTIALS for cause in chain):
        return "there are no credentials for it; set them up as the provider's own tools read them"
    if status in (401, 403):
        return (
            f"the server refuses access ({status}); check the credentials, and whether an address that was signed has "
            "expired. Some stores answer so for a file that does not exist"
        )
    if status in (404, 410):
        return f"there is no such file ({status}); check the address and the range of the pattern"
    if status is not None:
        return f"the server answers {status}; try again later, what was fetched stays"
    if any("timeout" in type(cause).__name__.lower() for cause in chain):
        return f"no answer in {REQUEST_S:g} s; check the address and the line, and run again: what was fetched stays"
    return f"{one_line(chain[-1])}; check the address and the line, and run again: what was fetched stays"
