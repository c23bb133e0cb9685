"""Zip archives of videos: ``*.zip`` in a folder, or one of them, with ``key.txt`` or ``key.json`` beside ``key.mp4``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from motive.data.base import Clip, Unread
from motive.data.formats.archive import check_parts
from motive.data.formats.folder import video_names
from motive.data.formats.reader import DatasetFormat, Detection, Row, Subset
from motive.data.formats.webdataset import archive_rows, write_captions
from motive.data.paths import PathGuard

_ZIP = ".zip"


class ZipFiles(DatasetFormat):
    """A zip file, or the ``*.zip`` files of a folder; every video in them is a clip, captioned as in a tar shard.

    Videos are read in place: stored members as byte ranges, deflated ones by inflating while they are read.
    """

    name = "zip"
    priority = 65
    reads_archives = True
    source_keys = (*DatasetFormat.source_keys, "location")  # two archives of a folder have one root, and may share ids

    def detect(self, path: Path, named: bool) -> Detection | None:
        if path.is_file():
            return Detection(path) if path.name.lower().endswith(_ZIP) else None
        held = any(child.name.lower().endswith(_ZIP) for child in path.iterdir() if child.is_file())
        if named or (held and next(video_names(path, follow_links=False), None) is None):
            return Detection(path)
        return None

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread]:
        yield from archive_rows(found.path, _ZIP, guard)

    def check_unchanged(self, clips: Sequence[Clip]) -> None:
        """Refuse videos that no longer lie where they did: the archive was written again since it was read."""
        check_parts(clips)

    def write(self, subset: Subset, out: Path) -> None:
        """Write captions beside the videos, which are separate files in a selection."""
        write_captions(subset, out)
