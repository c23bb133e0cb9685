"""What a dataset is: clips with stable ids, and the rows that could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

_NO_COLUMNS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Clip:
    """One video file of a dataset.

    Attributes:
        clip_id: stable name: the dataset's own id column where it has one, else the path as the
            dataset writes it (POSIX, relative to the dataset's root). Never a row number.
        path: absolute path of the video file, or of a stretch of a tar file (motive.data.video.stretch).
        caption: untrusted text; may be empty.
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
class Dataset:
    """Clips read from one place.

    Attributes:
        location: what was read: a folder or a metadata file.
        root: folder that relative paths start from.
        format: name of the reader (``videofolder``, ``folder``, ``diffsynth``, ``jsonl``, ``webdataset``).
        clips: sorted by clip_id, ids unique.
        failures: rows that name no usable clip.
        source: the metadata file that was read, or None where the files themselves are the dataset.
    """

    location: Path
    root: Path
    format: str
    clips: tuple[Clip, ...]
    failures: tuple[Failure, ...] = ()
    source: Path | None = None
