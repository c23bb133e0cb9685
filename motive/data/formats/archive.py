"""Archives that hold videos: tar and zip files, read where they lie."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from motive.data.base import Clip
from motive.data.formats import tar, zip
from motive.data.formats.tar import Member
from motive.data.media import ByteRange, Inflated, changed, media_of
from motive.data.paths import PathGuard, printable
from motive.errors import ClipError

READERS = {".tar": tar.members, ".zip": zip.members}
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""Archives in which no place can be found without unpacking all before it."""
MAX_TEXT_BYTES = 1 << 20


def is_archive(name: str) -> bool:
    """Whether a file is an archive that is read, by its name."""
    return name.lower().endswith(tuple(READERS)) and not name.startswith(".")


def members(path: Path) -> Iterator[Member]:
    """Entries of an archive in the order they are written.

    Raises:
        ClipError: it can be read up to a place only, after the members before that place.
    """
    return READERS[path.suffix.lower()](path)


def part_of(file: Path, name: str, member: Member) -> ByteRange:
    """The video that a sound member is, under a name that PathGuard.relative gave."""
    if member.inflated is None:
        return ByteRange(file, name, member.start, member.size)
    return Inflated(file, name, member.start, member.size, member.inflated)


def text_of(file: Path, member: Member) -> bytes | ClipError:
    """Bytes of a small member, or why there are none."""
    if member.problem is not None:
        return ClipError(*member.problem)
    if max(member.size, member.inflated or 0) > MAX_TEXT_BYTES:
        return ClipError("bad_text", f"{printable(member.name)!r} is longer than 1 MiB")
    try:
        with part_of(file, "text", member).open() as stream:
            return stream.read()
    except ClipError as error:
        return error


def check_parts(clips: Sequence[Clip]) -> None:
    """Refuse videos that no longer lie where they did: their archive was written again since it was read.

    Raises:
        DatasetError: one has moved.
    """
    wanted: dict[Path, list[ByteRange]] = {}
    for clip in clips:
        media = media_of(clip.path)
        if isinstance(media, ByteRange):
            wanted.setdefault(media.file, []).append(media)
    for file, parts in wanted.items():
        held = _parts_of(file)
        for part in parts:
            if part not in held:
                raise changed(part, "other bytes")


def _parts_of(file: Path) -> set[ByteRange]:
    """The sound members of an archive, up to the place where it is damaged."""
    found: set[ByteRange] = set()
    guard = PathGuard(file)
    try:
        for member in members(file):
            if member.problem is None:
                with contextlib.suppress(ClipError):  # a name that no clip can have
                    found.add(part_of(file, guard.relative(member.name), member))
    except ClipError:
        pass
    return found
