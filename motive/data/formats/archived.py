"""Tables that name videos which lie in archives, or were unpacked from them to some folder."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from motive.data.base import Clip, Unread
from motive.data.formats.archive import check_parts
from motive.data.formats.lookup import VideoIndex
from motive.data.formats.metadata import TableFormat, own_id_of
from motive.data.formats.reader import Detection, Row
from motive.data.formats.tables import TableRow
from motive.data.paths import PathGuard
from motive.errors import ClipError


class ArchivedTable(TableFormat):
    """A table of names; the videos are files or members of tar and zip archives, anywhere under the dataset's folder.

    A clip's id is the name in the table, so it is the same whether the archives were unpacked or not.

    Attributes:
        video_suffix: what a name in the table lacks of the video's file name.
    """

    reads_archives = True
    video_suffix = ""

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread]:
        index = VideoIndex(guard)
        yield from index.problems
        for row in super().rows(found, guard):
            if isinstance(row, Row) and row.problem is None and isinstance(row.media, str):
                row = self._located(row, row.media, index, guard)
            yield row
        yield from index.unread()

    def check_unchanged(self, clips: Sequence[Clip]) -> None:
        """Refuse videos that no longer lie where they did in their archives."""
        check_parts(clips)

    def row_of(self, row: TableRow, table: str) -> Row:
        found = super().row_of(row, table)
        if found.problem is not None or not isinstance(found.media, str):
            return found
        clip_id = found.clip_id or _name_in_table(found.media)
        return replace(found, media=found.media.strip() + self.video_suffix, clip_id=clip_id)

    def id_of_row(self, values: Mapping[str, Any], guard: PathGuard) -> str | None:
        own_id, column = own_id_of(values), self._path_column(values)
        written = None if column is None else values[column]
        return own_id or (_name_in_table(self.media_path(written)) if isinstance(written, str) else None)

    def _located(self, row: Row, written: str, index: VideoIndex, guard: PathGuard) -> Row:
        """The row with its video, which lies where the table says or has that name elsewhere."""
        try:
            name = guard.relative(written)
            wanted = posixpath.normpath(written.replace("\\", "/"))
            try:
                media = index.find(posixpath.basename(name), name if len(guard.bases) == 1 else wanted)
            except ClipError as error:
                if error.reason != "missing_file":
                    raise
                guard.file(name)  # says what lies there instead, or follows a link that the index passed over
                media = written
        except ClipError as error:
            detail = error.detail
            if error.reason == "missing_file":
                detail = f"{detail}; looked for {index.searched}"
            return replace(row, problem=(error.reason, detail))
        return replace(row, media=media)


def _name_in_table(written: str) -> str:
    """The name that a table gives a video, which is the clip's id."""
    return posixpath.normpath(written.replace("\\", "/").strip())
