"""The members of a zip archive of unknown origin, by its directory alone: nothing is unpacked, and no size is believed.

Read by PKWARE's APPNOTE 6.3.10: the end record, its ZIP64 form, the central directory, and the local header that says
where a member's bytes start. Python's zipfile keeps every entry in memory and does not say where the bytes lie.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from motive.data.formats.tar import Member
from motive.errors import ClipError

_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_MAX_16, _MAX_32 = (1 << 16) - 1, (1 << 32) - 1
_MAX_RATIO = 200
"""What a member may claim to inflate to, over its stored size; videos hardly deflate at all."""
_FREE_BYTES = 16 << 20
"""Members that inflate to no more than this are not held to the ratio."""
_STORED, _DEFLATED = 0, 8


def members(path: Path) -> Iterator[Member]:
    """Entries in the order of the directory; folders are left out.

    Raises:
        ClipError: ``damaged`` or ``truncated``, after the members before that place.
    """
    try:
        with open(path, "rb") as file:
            yield from _members(file)
    except OSError as error:
        raise ClipError("unreadable", f"the file cannot be read: {error.strerror or error}") from error


def _members(file: BinaryIO) -> Iterator[Member]:
    size = os.fstat(file.fileno()).st_size
    place, length, shift = _directory(file, size)
    file.seek(place)
    left = length
    while left:
        head = file.read(_ENTRY.size)
        if len(head) < _ENTRY.size or head[:4] != b"PK\x01\x02":
            raise ClipError("damaged", f"no entry of the directory at byte {place + length - left}")
        fields = _ENTRY.unpack(head)
        name_bytes, extra_bytes, comment_bytes = fields[10:13]
        name, extra = file.read(name_bytes), file.read(extra_bytes)
        file.seek(comment_bytes, os.SEEK_CUR)
        left -= _ENTRY.size + name_bytes + extra_bytes + comment_bytes
        if left < 0 or len(extra) < extra_bytes:
            raise ClipError("truncated", "the directory ends inside an entry")
        if not name.endswith(b"/"):
            yield _member(file, size, shift, fields, name, extra)


def _directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """(start, bytes, shift of every offset) of the central directory; the shift is what lies before the archive."""
    start = max(0, size - _MAX_16 - 22)
    file.seek(start)
    tail = file.read(size - start)
    at = tail.rfind(_END)
    while at >= 0 and (len(tail) < at + 22 or at + 22 + int.from_bytes(tail[at + 20 : at + 22], "little") > len(tail)):
        at = tail.rfind(_END, 0, at)
    if at < 0:
        raise ClipError("truncated", "the zip file has no end record: it is cut, or one part of a split archive")
    length, place = struct.unpack("<2I", tail[at + 12 : at + 20])
    end = start + at
    large = _directory64(file, end)
    if large is not None:
        end, length, place = large
    elif _MAX_32 in (length, place) or tail[at + 10 : at + 12] == b"\xff\xff":
        raise ClipError("damaged", "the zip file needs a ZIP64 end record and has none")
    shift = end - length - place
    if shift < 0:
        raise ClipError("damaged", "the directory's place and size do not fit the file")
    return place + shift, length, shift


def _directory64(file: BinaryIO, end: int) -> tuple[int, int, int] | None:
    """(start of the ZIP64 end record, bytes and start of the directory) where there is such a record."""
    file.seek(max(0, end - 20))
    locator = file.read(20)
    if locator[:4] == _LOCATOR:
        for place in (int.from_bytes(locator[8:16], "little"), end - 20 - 56):  # as written, or behind a prefix
            if 0 <= place < end:
                file.seek(place)
                record = file.read(56)
                if len(record) == 56 and record[:4] == _END64:
                    length, start = struct.unpack("<2Q", record[40:56])
                    return place, length, start
    return None


def _member(file: BinaryIO, size: int, shift: int, fields: tuple[int, ...], raw: bytes, extra: bytes) -> Member:
    """The member of one entry of the directory; the file stays where it is."""
    system, flags, method = fields[1] >> 8, fields[3], fields[4]
    stored, full, offset, mode = fields[8], fields[9], fields[16], fields[15] >> 16
    name = raw.decode("utf-8", "surrogateescape") if flags & 0x800 else raw.decode("cp437")
    full, stored, offset = _zip64(extra, full, stored, offset)
    local = os.pread(file.fileno(), _LOCAL.size + len(raw), min(offset + shift, size))
    problem, start = None, 0
    if len(local) < _LOCAL.size or local[:4] != b"PK\x03\x04" or local[_LOCAL.size :] != raw:
        problem = ("damaged", "the member has no header of its name where the directory says")
    else:
        start = offset + shift + _LOCAL.size + sum(_LOCAL.unpack(local[: _LOCAL.size])[9:11])
        problem = _problem(flags, method, mode if system == 3 else 0)
        if problem is None and start + stored > size:
            problem = ("truncated", "the member claims bytes past the end of the zip file")
        elif problem is None and method == _STORED and stored != full:
            problem = ("damaged", "the member is stored as it is and claims two sizes")
        elif problem is None and full > max(_FREE_BYTES, _MAX_RATIO * stored):
            problem = ("too_large", f"the member claims to inflate {stored} bytes to {full}")
    return Member(name, start, stored, problem, full if method == _DEFLATED else None)


def _zip64(extra: bytes, *sizes: int) -> tuple[int, ...]:
    """(inflated size, stored size, offset), those that do not fit 32 bits taken from the extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, count = struct.unpack_from("<2H", extra, at)
        data = extra[at + 4 : at + 4 + count]
        if kind == 1:
            numbers = iter(struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8]))
            return tuple(next(numbers, size) if size == _MAX_32 else size for size in sizes)
        at += 4 + count
    return sizes


def _problem(flags: int, method: int, mode: int) -> tuple[str, str] | None:
    if flags & 0x2041:
        return "unreadable", "the member is encrypted"
    if mode and (mode & 0o170000) not in (0, 0o100000):
        return "not_a_file", "the member is a link, a device or a pipe"
    if method not in (_STORED, _DEFLATED):
        return "unreadable", f"the member is packed by method {method}; only stored and deflated ones are read"
    return None
