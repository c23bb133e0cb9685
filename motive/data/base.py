"""A dataset: clips with stable ids, rows that could not be read, and files that were not read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

_NO_COLUMNS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Clip:
    """One video of a dataset.

    Attributes:
        clip_id: stable name: the dataset's own id column where it has one, else the path as the
            dataset writes it (POSIX, relative to the dataset's root). Never a row number.
        path: absolute path of the video: a file, or a byte range of one (motive.data.media).
        caption: untrusted text; empty where the dataset has none.
        columns: every column of the clip's row as text, in the dataset's own column names, so that
            a selection can be written in the input's format.
    """

    clip_id: str
    path: Path
    caption: str = ""
    columns: Mapping[str, str] = field(default_factory=lambda: _NO_COLUMNS)


@dataclass(frozen=True)
class Failure:
    """A clip that was left out, and why.

    Attributes:
        clip_id: as in Clip, or the best name there is for a row that has none.
        path: of the video file, absolute; of a row that names none, the path as the dataset gives it.
        stage: ``read`` | ``decode`` | ``mask`` | ``encode`` | ``gradient``.
        reason: short stable code, e.g. ``missing_file``, ``too_short``, ``static``.
        detail: one sentence for a person.
    """

    clip_id: str
    path: str
    stage: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Unread:
    """Something that lies in the dataset, may belong to it, and was not read.

    Attributes:
        name: the file, or the files, as a person would name them.
        why: one sentence: why not, and what to do.
    """

    name: str
    why: str


@dataclass(frozen=True)
class ReadOptions:
    """How the paths of a dataset become files.

    Attributes:
        roots: folders that relative paths start from and that no path may leave; empty for the dataset's own folder.
        path_map: (OLD, NEW) pairs: a path that starts with OLD, on another machine, starts with NEW here. Every NEW
            is a root too.
        follow_links: accept symbolic links that lead out of the roots, as in a hub cache. Off by default: a
            dataset from elsewhere could link to any file of this machine.
    """

    roots: tuple[Path, ...] = ()
    path_map: tuple[tuple[str, str], ...] = ()
    follow_links: bool = False


@dataclass(frozen=True)
class Dataset:
    """Clips read from one place.

    Attributes:
        location: the folder or the metadata file that was read.
        root: folder that relative paths start from; the first of several.
        format: name of the reader.
        clips: sorted by clip_id, ids unique.
        failures: rows that name no usable clip.
        source: the metadata file that was read, or None where the files themselves are the dataset.
        unread: what lies in the dataset and was not read.
        options: how its paths became files.
    """

    location: Path
    root: Path
    format: str
    clips: tuple[Clip, ...]
    failures: tuple[Failure, ...] = ()
    source: Path | None = None
    unread: tuple[Unread, ...] = ()
    options: ReadOptions = ReadOptions()

    @property
    def rows(self) -> int:
        """Clips and failures."""
        return len(self.clips) + len(self.failures)

    @property
    def without_caption(self) -> int:
        """Clips that have no caption."""
        return sum(not clip.caption.strip() for clip in self.clips)
