"""The contract of a dataset format; a new format is one file with one subclass (docs/adding-a-format.md)."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from motive.data.base import Clip, Dataset, Failure, Part, ReadOptions, Unread
from motive.data.media import Media
from motive.data.paths import PathGuard, check_id, printable
from motive.errors import ClipError


@dataclass(frozen=True)
class Detection:
    """What a format found at a path.

    Attributes:
        path: what was given: a file or a folder.
        source: the table to read; None where the media files themselves are the dataset.
        unread: what the format saw beside it and will not read.
        base: folder that relative paths start from, where that is not the table's own.
        known: further tables that are read, and files and folders that say nothing of captions; the summary does not
            name them as tables that were not read.
    """

    path: Path
    source: Path | None = None
    unread: tuple[Unread, ...] = ()
    base: Path | None = None
    known: tuple[Path, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from where no root is given."""
        if self.base is not None:
            return self.base
        if self.source is not None:
            return self.source.parent
        return self.path if self.path.is_dir() else self.path.parent


@dataclass(frozen=True)
class Row:
    """One entry of a dataset, as its format has it.

    Attributes:
        media: path of the video as the dataset writes it, untrusted and unresolved; or the video itself, for a format
            that keeps videos inside other files.
        label: the best name of this row there is, for a list of what could not be read.
        caption: None where the row has none; blank where it has one without text.
        columns: every cell as text, by the dataset's own column names.
        clip_id: the dataset's own id; None takes the path.
        problem: (reason, detail) where the row cannot be used; its other fields then hold what could be made out.
        part: index of the configuration's entry that lists it, counted over the Parts yielded; None without one. A
            clip that several entries list, with one caption, is one clip with several parts.
    """

    media: str | Media
    label: str
    caption: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    clip_id: str | None = None
    problem: tuple[str, str] | None = None
    part: int | None = None


@dataclass(frozen=True)
class SubsetRow:
    """One selected clip and what is known about it.

    Attributes:
        clip: a clip of the dataset.
        scores: column name to number or text; the same names in every row of a subset.
    """

    clip: Clip
    scores: Mapping[str, float | int | str]


@dataclass(frozen=True)
class Subset:
    """Selected clips whose files are already in place.

    Attributes:
        dataset: where the clips come from.
        rows: in the order they are to be written.
        files: the video of each row, POSIX and relative to the output folder.
        score_names: columns to add.
        final: absolute path that the output folder has once the selection is whole, for files that name paths; None
            for the folder itself.
    """

    dataset: Dataset
    rows: Sequence[SubsetRow]
    files: Sequence[str]
    score_names: Sequence[str]
    final: Path | None = None


class DatasetFormat(ABC):
    """Reader and writer of one layout of videos and their captions. Made without arguments; holds no state."""

    name: str
    """What ``--dataset-format``, ``read_dataset(format=...)`` and ``Dataset.format`` call it."""

    priority: int = 50
    """Formats are asked in ascending order, equal ones by name: the more a format demands of a folder, the lower."""

    source_keys: tuple[str, ...] = ("root", "table", "format")
    """Fields of a store's source that must be equal for two datasets of this format to be the same one."""

    reads_archives: bool = False
    """Whether it reads the tar and zip files of a folder; for other formats the summary names them."""
    beside: str = "metadata.csv"
    """CSV of clips, columns and scores that lies beside a selection of this format."""

    writer: str | None = None
    """Selection writer (motive.data.writers) that writes a selection of this format, where videos beside a table are not
    its layout; ``write`` is then not called."""

    @abstractmethod
    def detect(self, path: Path, named: bool) -> Detection | None:
        """What of this format a path holds; looks at names and at one row of a table only.

        Args:
            path: a file or folder that exists.
            named: the user asked for this format, so that what may be another one is accepted too.

        Returns:
            None if the path is not of this format.

        Raises:
            DatasetError: the path is of this format but cannot be read, or holds it twice; for a named format also
                that there is nothing of it.
        """

    @abstractmethod
    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread | Part]:
        """Every entry, in any order; one that cannot be used is a Row with a problem, and never raises.

        Args:
            found: from detect.
            guard: resolves paths; ``read`` resolves those of the rows.

        Yields:
            Rows, whatever turns out to lie there without being read, and the Parts of a trainer's configuration.

        Raises:
            DatasetError: the dataset as a whole cannot be read, or is empty.
        """

    @abstractmethod
    def write(self, subset: Subset, out: Path) -> None:
        """Write what this format keeps beside the videos (metadata, captions) for the subset.

        Raises:
            DatasetError: the dataset's metadata no longer holds a selected clip.
        """

    def write_scores(self, subset: Subset, out: Path) -> None:
        """Write the scores in this format's own way for clips whose videos stay where they are; its file cells stay too.

        By default nothing: the scores are in the subset's ``metadata.csv``.

        Raises:
            DatasetError: the dataset's metadata no longer holds a selected clip.
        """

    def check_unchanged(self, clips: Sequence[Clip]) -> None:
        """Refuse clips that are no longer what was read, where a path alone does not tell.

        Raises:
            DatasetError: the dataset has changed.
        """

    def read(self, found: Detection, options: ReadOptions) -> Dataset:
        """All clips, by ascending id; of several rows with one id the first counts.

        Raises:
            DatasetError: as rows.
        """
        guard = PathGuard.of(found.folder, options)
        clips, failures, unread, parts = _collect(self.rows(found, guard), guard)
        return Dataset(
            location=Path(os.path.abspath(found.path)),
            root=guard.root,
            format=self.name,
            clips=tuple(sorted(clips, key=lambda clip: clip.clip_id)),
            failures=tuple(failures),
            source=None if found.source is None else Path(os.path.abspath(found.source)),
            unread=(*found.unread, *unread),
            options=options,
            parts=tuple(parts),
        )


def _collect(
    rows: Iterable[Row | Unread | Part], guard: PathGuard
) -> tuple[list[Clip], list[Failure], list[Unread], list[Part]]:
    clips: dict[str, Clip | None] = {}
    failures: list[Failure] = []
    unread: list[Unread] = []
    parts: list[Part] = []
    for row in rows:
        if isinstance(row, Unread):
            unread.append(row)
        elif isinstance(row, Part):
            parts.append(row)
        else:
            try:
                _add(clips, row, guard)
            except ClipError as error:
                path = row.media if isinstance(row.media, str) else row.label
                failures.append(Failure(printable(row.label), printable(path), "read", error.reason, error.detail))
    return [clip for clip in clips.values() if clip is not None], failures, unread, parts


def _add(clips: dict[str, Clip | None], row: Row, guard: PathGuard) -> None:
    """Put the clip of a row under its id; None stands for one whose file cannot be used."""
    if row.problem is not None:
        raise ClipError(*row.problem)
    name = guard.relative(row.media) if isinstance(row.media, str) else row.label
    clip_id = check_id(name if row.clip_id is None else row.clip_id)
    if clip_id in clips:
        clips[clip_id] = _in_one_more_part(clips[clip_id], row, name, guard)
        return
    clips[clip_id] = None
    path = guard.file(name) if isinstance(row.media, str) else row.media.path
    parts = () if row.part is None else (row.part,)
    blank = row.caption is not None and not row.caption.strip()
    clips[clip_id] = Clip(clip_id, path, row.caption or "", row.columns, parts, blank)


def _in_one_more_part(clip: Clip | None, row: Row, name: str, guard: PathGuard) -> Clip:
    """A clip that another entry of the configuration lists too."""
    if clip is None or row.part is None or row.part in clip.parts or clip.caption != (row.caption or ""):
        raise ClipError("duplicate_id", f"an earlier row has the id {row.clip_id or name!r}")
    path = guard.file(name) if isinstance(row.media, str) else row.media.path
    if path != clip.path:
        raise ClipError("duplicate_id", f"an earlier row has the id {clip.clip_id!r} for another file")
    return replace(clip, columns={**row.columns, **clip.columns}, parts=tuple(sorted((*clip.parts, row.part))))
