"""The members of a tar file of unknown origin, by its headers alone: nothing is unpacked, and no size is believed."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from motive.errors import ClipError

_MAX_HEADER_BYTES = 1 << 16
"""Of one extended header, and of all headers before one member."""
_LONG_NUMBER = re.compile(rb"[0-9]{256}")
"""tarfile looks for numbers in extended headers in a time that grows with the square of their length."""
_ODD = (tarfile.TarError, OSError, ValueError, LookupError, ArithmeticError, AttributeError, TypeError, RecursionError)
"""What tarfile raises on headers that are made to confuse it."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: as it is written, which may be any text.
        start, size: of its bytes.
        problem: (reason, detail) if they are not simply there.
        inflated: its size once inflated, where the bytes are deflated.
    """

    name: str
    start: int
    size: int
    problem: tuple[str, str] | None = None
    inflated: int | None = None


def members(path: Path) -> Iterator[Member]:
    """Entries in the order they are written.

    Raises:
        ClipError: ``damaged`` or ``truncated``, after the members before that place.
    """
    try:
        with open(path, "rb") as file:
            yield from _members(file)
    except OSError as error:
        raise ClipError("unreadable", f"the file cannot be read: {error.strerror or error}") from error


def _members(file: BinaryIO) -> Iterator[Member]:
    size, headers = os.fstat(file.fileno()).st_size, _Headers(file)
    try:
        archive = tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]  # noqa: SIM115 - holds nothing
    except _ODD as error:
        raise ClipError("damaged", f"no tar file: {error or type(error).__name__}") from error
    reached = 0
    while True:
        headers.left = _MAX_HEADER_BYTES
        try:
            entry = archive.next()
        except _ODD as error:
            cut = archive.offset > size
            detail = "the file ends inside a member" if cut else f"the header at byte {archive.offset}: {error}"
            raise ClipError("truncated" if cut else "damaged", detail) from error
        if entry is None:
            break
        if archive.offset <= reached:
            raise ClipError("damaged", f"the header at byte {reached} points back")
        reached = archive.offset
        archive.members = []  # tarfile would keep them all
        yield Member(entry.name, entry.offset_data, entry.size, _problem(entry, size))
    _check_end(file, archive.offset)


def _problem(entry: tarfile.TarInfo, file_bytes: int) -> tuple[str, str] | None:
    if not entry.isreg():
        return "not_a_file", "the member is a link, a folder, a device or a pipe"
    if entry.issparse():
        return "not_a_file", "the member is stored sparsely, so that its bytes are not in one place"
    if entry.size < 0 or entry.offset_data < 0 or entry.offset_data + entry.size > file_bytes:
        return "truncated", "the member claims bytes past the end of the tar file"
    return None


def _check_end(file: BinaryIO, place: int) -> None:
    """A sound file ends with blocks of zeros; tarfile takes any odd header for the end."""
    file.seek(place)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise ClipError("truncated", "the tar file has no end mark, so that members after its last may be lost")
    if any(block):
        raise ClipError("damaged", f"the header at byte {place} is damaged; members after it are lost")


class _Headers:
    """The file as tarfile sees it: as many bytes as headers need, and no more.

    Attributes:
        left: bytes that may still be read for this member.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.left = _MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        self.left -= size
        if size < 0 or self.left < 0:
            raise tarfile.ReadError(f"headers of a member must fit {_MAX_HEADER_BYTES} bytes")
        data = self._file.read(size)
        if size > tarfile.BLOCKSIZE and _LONG_NUMBER.search(data):
            raise tarfile.ReadError("a header holds a number of 256 digits")
        return data

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()
