"""Rows of a selection, checked in one reading: names, places, archives that are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from motive.data.base import Clip
from motive.data.formats.metadata import CLIP_COLUMNS
from motive.data.formats.reader import SubsetRow
from motive.data.media import ByteRange, Cell, Media, media_of
from motive.data.paths import PathGuard
from motive.data.shards.cache import RemoteShards
from motive.data.writers.writer import SelectionWriter
from motive.errors import ClipError, OptionError

_CAPTIONS = ("caption", "prompt", "text")
"""Columns that readers of tables take captions from."""


@dataclass(frozen=True)
class Survey:
    """What one reading of the rows gives.

    Attributes:
        score_names: the same in every row.
        ids: of the rows' clips.
        columns: names of the clips' own columns, in the order in which the rows name them.
        targets: path of each row's video in a subset.
        needed: for every archive or shard that holds some of the videos its ``file``, ``file_bytes``, ``clips`` (how
            many of them are selected) and ``clip_bytes`` (theirs), and of a shard elsewhere its ``address``; by file.
        others: columns that readers take for captions, and that hold other text than the caption in some row.
        parts: of the videos in archives, and of those in cells of a table, the first one's file.
    """

    score_names: list[str]
    ids: list[str]
    columns: list[str]
    targets: list[str]
    needed: list[dict[str, Any]]
    others: frozenset[str]
    parts: dict[type[Media], Path]

    @classmethod
    def of(cls, rows: Sequence[SubsetRow], guard: PathGuard, shards: RemoteShards | None) -> Survey:
        """Check the rows.

        Raises:
            OptionError: they do not fit together, or their names of scores are those of a clip's columns.
        """
        if not len(rows):
            raise OptionError("write_subset: rows is empty; select at least one clip")
        names, targets, ids, columns = list(rows[0].scores), [], [], {}
        taken = sorted(CLIP_COLUMNS & set(names))
        if taken:
            raise OptionError(f"write_subset: a score must not be called {taken[0]}, which names the clip; rename it")
        held: dict[Path, list[int]] = {}
        others: set[str] = set()
        parts: dict[type[Media], Path] = {}
        for row in rows:
            if list(row.scores) != names:
                raise OptionError(
                    "write_subset: rows must all have the same score columns, got different ones; pass one set"
                )
            media = media_of(row.clip.path, gone=True)
            targets.append(_target(guard, row.clip, media))
            ids.append(row.clip.clip_id)
            columns.update(dict.fromkeys(row.clip.columns))
            others.update(name for name in _CAPTIONS if row.clip.columns.get(name, "") not in ("", row.clip.caption))
            if not media.whole:
                parts.setdefault(Cell if isinstance(media, Cell) else ByteRange, media.file)
                counts = held.setdefault(media.file, [0, 0])
                counts[0] += 1
                counts[1] += media.size()
        if len(set(ids)) < len(ids):
            raise OptionError("write_subset: rows must name each clip once, got one twice; drop the repeated clip")
        needed = [_needed(file, clips, size, guard, shards) for file, (clips, size) in sorted(held.items())]
        return cls(names, ids, list(columns), targets, needed, frozenset(others), parts)

    def check_names(self, writer: SelectionWriter) -> None:
        """Refuse to name videos where no reader of the layout could open them.

        Raises:
            OptionError: one lies inside another file.
        """
        kinds = {ByteRange: "an archive", Cell: "a table's cell"}
        for kind, file in self.parts.items():
            if kind is Cell or not writer.names_parts:
                raise OptionError(
                    f"select: format {writer.name} would name videos where they lie, and nothing opens one inside "
                    f"{kinds[kind]} by its name, such as those in {file}; "
                    + ("choose --format jsonl or webdataset" if not writer.placements else "leave out --scores-only")
                    + ", so that the videos are written"
                )


def _needed(file: Path, clips: int, size: int, guard: PathGuard, shards: RemoteShards | None) -> dict[str, Any]:
    """A row of needed.csv."""
    name = guard.name_of(file)
    file_bytes = _bytes_of(file, None if shards is None else shards.bytes(name))
    elsewhere = {} if shards is None else {"address": shards.address(file) or ""}
    return {"file": name, "file_bytes": file_bytes, "clips": clips, "clip_bytes": size, **elsewhere}


def _bytes_of(file: Path, recorded: int | None) -> int | None:
    """Size of a file; what was recorded of it where it is not on this machine."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return recorded


def _target(guard: PathGuard, clip: Clip, media: Media) -> str:
    """Path of a clip's video in a subset: its name in the dataset, and inside the file that holds it."""
    try:
        name = guard.name_of(media.file)
        return PurePosixPath(name, media.name).as_posix() if media.name else name
    except ClipError as error:
        raise OptionError(
            f"write_subset: rows must hold clips of the dataset at {guard.root}, got {clip.path}; read it again"
        ) from error
