"""Finds the videos of a dataset whose table gives only their names: unpacked somewhere, or inside archives."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from motive.data.base import Unread
from motive.data.formats.archive import PACKED, is_archive, members, part_of
from motive.data.formats.folder import is_video, linked_folders, walk
from motive.data.formats.reader import Row
from motive.data.formats.tar import Member
from motive.data.media import Media
from motive.data.paths import PathGuard, check_id, nfc, printable
from motive.errors import ClipError

_SPLIT = "_part"
"""``part0.zip`` above the size limit of a host is published as ``part0_partaa``, ``part0_partab``."""


class _Place(NamedTuple):
    """A video: a file (archive -1) by its name, or a member of an archive."""

    archive: int
    name: str
    member: Member | None = None


class VideoIndex:
    """Videos and archives under the folders of a guard, by a key that their paths give.

    Memory grows with the number of videos (about 300 bytes each); archives are read by their headers alone.

    Args:
        guard: no video, and no archive, outside its roots is used.
        under: folder to look in, below each root.
        key: of a path, what a table calls the video; None for a path that is no video of the dataset. The default is
            the file's name.

    Attributes:
        problems: a row for each archive that cannot be read, or only up to a place.
    """

    def __init__(self, guard: PathGuard, under: str = "", key: Callable[[str], str | None] | None = None) -> None:
        self._guard, self._key = guard, key or posixpath.basename
        self._archives: list[Path] = []
        self._places: dict[str, _Place | list[_Place]] = {}
        self._used: set[str] = set()
        self._packed: list[str] = []
        self._links: list[str] = []
        self.problems: list[Row] = []
        for base in guard.bases:
            self._look_in(base / under)

    @property
    def searched(self) -> str:
        """Where videos were looked for, for messages."""
        count = len(self._archives)
        archives = f" and in {count} archive{'s' if count > 1 else ''}" if count else ""
        return f"under {' or '.join(map(str, self._guard.bases))}{archives}"

    def find(self, key: str, wanted: str | None = None) -> str | Media:
        """The video of a key: a path for the guard, or part of an archive.

        Args:
            key: what the index calls it.
            wanted: of several videos with one key, those whose paths are this or end so.

        Raises:
            ClipError: missing_file, ambiguous_path, or what is wrong with the member.
        """
        key = nfc(key)
        found = self._places.get(key, [])
        places = [found] if isinstance(found, _Place) else list(found)
        if wanted is not None:
            suffix = nfc(f"/{wanted}")
            exact = [place for place in places if nfc(f"/{_inner(place.name)}") == suffix]
            places = exact or [place for place in places if nfc(f"/{place.name}").endswith(suffix)]
        if not places:
            raise ClipError("missing_file", f"no video {wanted or key!r} lies {self.searched}")
        self._used.add(key)
        places = [place for place in places if place.member is None] or places
        if len({(p.member.size, p.member.inflated) if p.member else p.name for p in places}) > 1:
            names = " and ".join(repr(self._shown(place)) for place in places[:2])
            raise ClipError("ambiguous_path", f"{wanted or key!r} may be {names}; remove one")
        return self._video(places[0])

    def unread(self) -> Iterator[Unread]:
        """Videos that no row named so far, archives that cannot be read in place, and folders that were not entered."""
        extra = [key for key in self._places if key not in self._used]
        if extra:
            found = (self._places[key] for key in extra[: Unread.EXAMPLES])
            places = [place if isinstance(place, _Place) else place[0] for place in found]
            shown = tuple(printable(self._shown(place)) for place in places)
            why = f"no row names them, {shown[0]} for one"
            yield Unread(f"{len(extra)} videos", why, len(extra), shown, without_row=True)
        yield from linked_folders(self._links)
        if self._packed:
            yield Unread(
                f"{len(self._packed)} compressed or split archives",
                f"no place in them can be found, {self._packed[0]} for one; unpack them, or join the parts with cat",
            )

    def _look_in(self, folder: Path) -> None:
        for inside, files in walk(folder, self._guard.follow_links, self._links):
            for name in files:
                path = Path(os.path.normpath(folder / inside / name))
                lowered = name.lower()
                if is_video(name) or is_archive(name):
                    try:
                        text = self._guard.relative(str(path))
                        if is_video(name):
                            self._add(text, _Place(-1, text))
                        else:
                            self._open(text)
                    except ClipError as error:
                        self.problems.append(
                            Row(printable(name), printable(name), problem=(error.reason, error.detail))
                        )
                elif lowered.endswith(PACKED) or (_SPLIT in lowered and not os.path.splitext(name)[1]):
                    self._packed.append(printable(name))

    def _open(self, text: str) -> None:
        """Add the videos of an archive.

        Raises:
            ClipError: it cannot be read, after the members before that place.
        """
        file, number = self._guard.file(check_id(text)), len(self._archives)
        self._archives.append(file)
        stem = os.path.splitext(text)[0]
        for member in members(file):
            if is_video(member.name) and not posixpath.basename(member.name).startswith("."):
                self._add(f"{stem}/{member.name}", _Place(number, member.name, member))

    def _add(self, path: str, place: _Place) -> None:
        key = self._key(path)
        if key is None:
            return
        held = self._places.setdefault(nfc(key), place)
        if isinstance(held, list):
            held.append(place)
        elif held is not place:
            self._places[nfc(key)] = [held, place]

    def _shown(self, place: _Place) -> str:
        return place.name if place.member is None else f"{self._archives[place.archive].name}/{place.name}"

    def _video(self, place: _Place) -> str | Media:
        if place.member is None:
            return place.name if len(self._guard.bases) == 1 else str(self._guard.file(place.name))
        file = self._archives[place.archive]
        name = PathGuard(file).relative(place.name)
        if place.member.problem is not None:
            raise ClipError(*place.member.problem)
        return part_of(file, name, place.member)


def _inner(path: str) -> str:
    """A path inside the last folder that is called like an archive, as a selection has one for each archive."""
    parts = path.split("/")
    at = max((at for at, part in enumerate(parts[:-1], 1) if is_archive(part)), default=0)
    return "/".join(parts[at:])
