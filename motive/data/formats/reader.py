"""The contract of a dataset format; a new format is one file with one subclass (docs/adding-a-format.md)."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from motive.data.base import Clip, Dataset, Failure, Part, ReadOptions, Unread
from motive.data.clip_list import ClipList, ClipRecords
from motive.data.formats.elsewhere import Elsewhere
from motive.data.media import Media
from motive.data.paths import PathGuard, check_id, printable
from motive.errors import ClipError

_NO_FILE = -1
"""Number of a clip whose file cannot be used."""


@dataclass(frozen=True)
class Detection:
    """What a format found at a path.

    Attributes:
        path: what was given: a file or a folder.
        source: the table to read; None where the media files themselves are the dataset.
        unread: what the format saw beside it and will not read.
        base: folder that relative paths start from, where that is not the table's own.
        archives: shards that were named one by one, as paths that the guard resolves; empty for those of ``path``.
        known: further tables that are read, and files and folders that say nothing of captions; the summary does not
            name them as tables that were not read.
    """

    path: Path
    source: Path | None = None
    unread: tuple[Unread, ...] = ()
    base: Path | None = None
    archives: tuple[str, ...] = ()
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
        values: the cells with their types, for formats with ``keeps_values``.
    """

    media: str | Media
    label: str
    caption: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    clip_id: str | None = None
    problem: tuple[str, str] | None = None
    part: int | None = None
    values: Mapping[str, Any] | None = None


def id_of(row: Row, guard: PathGuard) -> str:
    """The id of the clip that a row without a problem names.

    Raises:
        ClipError: its path leads out of the roots, or is none.
    """
    if row.clip_id is not None:
        return row.clip_id
    return guard.relative(row.media) if isinstance(row.media, str) else row.label


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
        rows: in the order they are to be written; made when they are read, so each reading costs.
        ids: of the rows' clips.
        columns: names of the clips' own columns, in the order in which the rows name them.
        files: the video of each row, POSIX and relative to the output folder.
        score_names: columns to add.
        final: absolute path that the output folder has once the selection is whole, for files that name paths; None
            for the folder itself.
    """

    dataset: Dataset
    rows: Sequence[SubsetRow]
    ids: Sequence[str]
    columns: Sequence[str]
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

    keeps_values: bool = False
    """Whether its rows have ``values``, which that writer then writes in place of the columns' text."""

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

    def beside_table(self, dataset: Dataset) -> str:
        """Name of the CSV beside a selection from a dataset."""
        return self.beside

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
            clips=clips,
            failures=tuple(failures),
            source=None if found.source is None else Path(os.path.abspath(found.source)),
            unread=(*found.unread, *unread),
            options=options,
            parts=tuple(parts),
        )


def _collect(
    rows: Iterable[Row | Unread | Part], guard: PathGuard
) -> tuple[ClipList, list[Failure], list[Unread], list[Part]]:
    clips = _Clips(guard)
    failures: list[Failure] = []
    unread: list[Unread] = []
    parts: list[Part] = []
    elsewhere = Elsewhere(guard)
    for row in rows:
        if isinstance(row, Unread):
            unread.append(row)
        elif isinstance(row, Part):
            parts.append(row)
        else:
            try:
                clips.add(row)
            except ClipError as error:
                path, detail = row.media if isinstance(row.media, str) else row.label, error.detail
                if error.reason == "missing_file" and row.media == path:
                    detail += elsewhere.hint(path)
                failures.append(Failure(printable(row.label), printable(path), "read", error.reason, detail))
    return clips.in_order(), failures, unread, parts


class _Clips:
    """The clips of a dataset's rows; of several with one id the first counts.

    Args:
        guard: resolves paths.
    """

    def __init__(self, guard: PathGuard) -> None:
        self._guard = guard
        self._records = ClipRecords()
        self._numbers: dict[str, int] = {}

    def add(self, row: Row) -> None:
        """Put the clip of a row under its id, which is then taken even if its file cannot be used.

        Raises:
            ClipError: the row names no usable clip.
        """
        if row.problem is not None:
            raise ClipError(*row.problem)
        guard = self._guard
        name = guard.relative(row.media) if isinstance(row.media, str) else row.label
        clip_id = check_id(name if row.clip_id is None else row.clip_id)
        if clip_id in self._numbers:
            self._add_part(self._numbers[clip_id], row, name)
            return
        self._numbers[clip_id] = _NO_FILE
        path = guard.file(name) if isinstance(row.media, str) else row.media.path
        parts = () if row.part is None else (row.part,)
        blank = row.caption is not None and not row.caption.strip()
        self._numbers[clip_id] = self._records.add(Clip(clip_id, path, row.caption or "", row.columns, parts, blank))

    def _add_part(self, number: int, row: Row, name: str) -> None:
        """Another entry of the configuration lists a clip too."""
        clip = None if number == _NO_FILE else self._records.clip(number)
        if clip is None or row.part is None or row.part in clip.parts or clip.caption != (row.caption or ""):
            raise ClipError("duplicate_id", f"an earlier row has the id {row.clip_id or name!r}")
        path = self._guard.file(name) if isinstance(row.media, str) else row.media.path
        if path != clip.path:
            raise ClipError("duplicate_id", f"an earlier row has the id {clip.clip_id!r} for another file")
        parts = tuple(sorted((*clip.parts, row.part)))
        self._records.replace(number, replace(clip, columns={**row.columns, **clip.columns}, parts=parts))

    def in_order(self) -> ClipList:
        """The clips by ascending id; none may be added any more."""
        numbers, self._numbers = self._numbers, {}
        ids = sorted(clip_id for clip_id, number in numbers.items() if number != _NO_FILE)
        return ClipList(self._records, array("q", map(numbers.__getitem__, ids)))
