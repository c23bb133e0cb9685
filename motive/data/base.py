"""A dataset: clips with stable ids, rows that could not be read, and files that were not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

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
        parts: indices into ``Dataset.parts``, where a trainer's configuration lists the clip; ascending.
        blank_caption: the dataset has a caption for the clip, and it holds no text.
    """

    clip_id: str
    path: Path
    caption: str = ""
    columns: Mapping[str, str] = field(default_factory=lambda: _NO_COLUMNS)
    parts: tuple[int, ...] = ()
    blank_caption: bool = False


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
        count: files or members of archives that it stands for.
        examples: five of them at most, where there are several.
        without_row: they are videos that no row of the dataset's table names.
    """

    name: str
    why: str
    count: int = 1
    examples: tuple[str, ...] = ()
    without_row: bool = False

    EXAMPLES: ClassVar[int] = 5


@dataclass(frozen=True)
class Part:
    """One entry of a trainer's configuration, and the clip shapes it trains on.

    The trainer makes a bucket of each size with each number of frames, unless ``buckets`` lists whole shapes.

    Attributes:
        name: the entry as a person finds it in the file, e.g. ``datasets[0] /data/clips``.
        frames: numbers of frames; empty where the entry states none.
        whole_clips: a clip's own length counts, up to the largest of ``frames`` if there is one.
        sizes: (width, height) in pixels; empty where the entry states none.
        keeps_aspect: a size stands for its area: a clip keeps its aspect ratio, or is cropped to the nearest of
            ``aspect_ratios``. Otherwise clips are cropped to the size itself.
        aspect_ratios: width / height; empty for any.
        buckets: (width, height, frames) where whole shapes are listed.
        fps: rate at which frames are taken, in frames per second; None where the model decides, or every frame counts.
        source_fps: rate that the files are said to have, whatever they say themselves.
        repeats: how often an epoch shows each clip.
        settings: every key that applies to the entry with its value, defaults left out; JSON values.
    """

    name: str
    frames: tuple[int, ...] = ()
    whole_clips: bool = False
    sizes: tuple[tuple[int, int], ...] = ()
    keeps_aspect: bool = False
    aspect_ratios: tuple[float, ...] = ()
    buckets: tuple[tuple[int, int, int], ...] = ()
    fps: float | None = None
    source_fps: float | None = None
    repeats: float = 1
    settings: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """The shapes for a person."""
        facts = []
        if self.buckets:
            facts.append("buckets " + ", ".join(f"{width}x{height}x{frames}" for width, height, frames in self.buckets))
        if self.whole_clips and not self.frames:
            facts.append("whole clips")
        if self.frames:
            most = "up to " if self.whole_clips else ""
            facts.append(f"{most}{', '.join(map(str, self.frames))} frames")
        if self.sizes:
            kind = "the area of " if self.keeps_aspect else ""
            facts.append(kind + ", ".join(f"{width}x{height}" for width, height in self.sizes))
        if self.aspect_ratios:
            facts.append(f"{len(self.aspect_ratios)} aspect ratios")
        facts += [f"{self.fps:g} fps"] if self.fps else []
        facts += [f"read as {self.source_fps:g} fps"] if self.source_fps else []
        facts += [f"{self.repeats:g} repeats"] if self.repeats != 1 else []
        return f"{self.name}: {'; '.join(facts) or 'no shapes stated'}"


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
        location: the folder or the metadata file that was read; text for shards that were named by a pattern or by
            addresses, which has no credentials in it.
        root: folder that relative paths start from; the first of several.
        format: name of the reader.
        clips: sorted by clip_id, ids unique; of a dataset that was read they are made when they are read here
            (motive.data.clip_list).
        failures: rows that name no usable clip.
        source: the metadata file that was read, or None where the files themselves are the dataset.
        unread: what lies in the dataset and was not read.
        options: how its paths became files.
        parts: entries of a trainer's configuration, if one was read.
    """

    location: Path | str
    root: Path
    format: str
    clips: Sequence[Clip]
    failures: tuple[Failure, ...] = ()
    source: Path | None = None
    unread: tuple[Unread, ...] = ()
    options: ReadOptions = ReadOptions()
    parts: tuple[Part, ...] = ()

    @property
    def rows(self) -> int:
        """Clips and failures."""
        return len(self.clips) + len(self.failures)

    @property
    def read_as(self) -> str:
        """The format that was found, and where."""
        return f"{self.format} from {self.source or self.location}"

    @property
    def without_caption(self) -> int:
        """Clips that have no caption."""
        return sum(not clip.caption.strip() for clip in self.clips)
