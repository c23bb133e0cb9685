"""The contract of a selection writer; a new layout is one file with one subclass (docs/adding-a-format.md)."""

from __future__ import annotations

import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TextIO

from motive.data.formats.reader import SubsetRow
from motive.data.media import Placement, media_of
from motive.data.shards.cache import RemoteShards
from motive.data.writers.attributed import Attributed, Shape
from motive.data.writers.columns import Columns, titles
from motive.data.writers.names import FlatNames
from motive.errors import DatasetError, OptionError

Files = Literal["link", "copy", "none"]

_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""Line ends that JSON leaves alone and that some readers of lines do not."""


@dataclass(frozen=True)
class Export:
    """A selection to be written.

    Attributes:
        rows: selected clips in the order to write; may be read several times, and need not be in memory.
        names: dataset-relative name of each row's video, POSIX.
        folder: to write into; it exists.
        final: absolute path that the folder has once the selection is whole, for files that name paths.
        files: ``link`` and ``copy`` place the videos; ``none`` leaves them where they are.
        score_names: names of the scores that every row has.
        attributed: shapes and model that the clips were attributed at and with.
        values: from a clip's id to its cells with the types that the dataset gives them; None for the columns' text.
        mixed: columns that stay text all the same, since their cells have several types.
        shards: of a dataset that was read from addresses.
        others: columns of the dataset that readers take for captions, and that hold other text in some row; they are
            renamed, so that a selection is read with the captions that were attributed.
    """

    rows: Sequence[SubsetRow]
    names: Sequence[str]
    folder: Path
    final: Path
    files: Files
    score_names: Sequence[str]
    attributed: Attributed = field(default_factory=Attributed)
    values: Callable[[str], Mapping[str, Any]] | None = None
    mixed: Collection[str] = ()
    shards: RemoteShards | None = None
    others: Collection[str] = ()

    @cached_property
    def columns(self) -> Columns:
        """The clips' own columns; the first use reads every row once."""
        return Columns.of((row.clip.columns for row in self.rows), self.score_names)

    def paths(self, writer: SelectionWriter) -> Iterator[tuple[SubsetRow, str]]:
        """Every row with the path of its video in a writer's layout: relative to the folder and POSIX, or with files
        ``none`` the absolute address of the original."""
        names = FlatNames()
        for row, name in zip(self.rows, self.names, strict=True):
            if self.files == "none":
                yield row, self.original(row)
            else:
                name = names.of(name, row.clip.clip_id) if writer.flat else name
                yield row, f"{writer.videos_in}/{writer.file_name(name)}".lstrip("/")

    def videos(self, writer: SelectionWriter) -> Iterator[tuple[SubsetRow, str]]:
        """As ``paths``, and each video is placed before its row is yielded.

        Raises:
            DatasetError: a video cannot be placed.
        """
        placed: set[str] = set()
        for row, name in self.paths(writer):
            if self.files != "none" and name not in placed:  # two clips may share a file
                placed.add(name)
                self.place(row, name)
            yield row, name

    def original(self, row: SubsetRow) -> str:
        """What names a video where it lies: its path, ``tar://MEMBER::ARCHIVE`` or ``zip://MEMBER::ARCHIVE`` for one in an
        archive, as fsspec writes it, or motive's own path for one in another kind of file. The archive of a dataset that
        was read from addresses is an address."""
        media = media_of(row.clip.path, gone=True)
        scheme = media.file.suffix.lower().lstrip(".")
        if media.whole or scheme not in ("tar", "zip"):
            return str(row.clip.path)
        elsewhere = None if self.shards is None else self.shards.address(media.file)
        return f"{scheme}://{media.name}::{elsewhere or media.file}"

    def place(self, row: SubsetRow, name: str) -> None:
        """Bring one video to a path inside the folder.

        Raises:
            DatasetError: it cannot be placed.
        """
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        media_of(row.clip.path).place(target, "copy" if self.files == "copy" else "link")

    def record(self, row: SubsetRow, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """One row of a table: the layout's own columns, the clip's in their order, the scores.

        A column of the dataset that has the name of one of the layout's becomes ``source_<name>``.
        """
        return {**fixed, **self.own(row, fixed), **row.scores}

    def own(
        self, row: SubsetRow, fixed: Iterable[str], rename: Callable[[str], str] = lambda name: name
    ) -> dict[str, Any]:
        """The clip's own columns under their names in a table whose own columns are ``fixed``: every name of every clip,
        with null or no text where the clip has none; ``rename`` is as in titles, and the same for all rows."""
        names = self.titles
        if not names:
            names.update(titles(self.columns.kinds, [*fixed, *self.score_names, *self.others], rename))
        if self.values is None:
            return self.columns.values(row.clip.columns, names)
        cells, texts = self.values(row.clip.clip_id), row.clip.columns
        return {
            title: texts.get(name) if name in self.mixed else cells.get(name, texts.get(name))
            for name, title in names.items()
        }

    @cached_property
    def titles(self) -> dict[str, str]:
        """Name of each of the clips' own columns in the table; filled with the first row that is written."""
        return {}

    @property
    def size(self) -> Shape:
        """Width, height and frames for a tool that takes one shape: those that most clips were attributed at."""
        return self.attributed.main


@dataclass(frozen=True)
class Training:
    """How to train on a selection.

    Attributes:
        tool: who reads it, with the version that was looked at.
        commands: shell commands, run in the tool's folder.
        note: what to know or to change; one paragraph.
        losses: what of the selection the tool drops or crops, or why the commands are not for the store's model; a
            sentence each. The summary has them too.
    """

    tool: str
    commands: tuple[str, ...]
    note: str = ""
    losses: tuple[str, ...] = ()

    def text(self, title: str) -> str:
        """As a Markdown page."""
        said = [" ".join(text[:1].upper() + text[1:] + "." for text in self.losses), self.note]
        parts = [f"# {title}", f"For {self.tool}.", *filter(None, said)]
        return "\n\n".join([*parts, "```sh\n" + "\n".join(self.commands) + "\n```"]) + "\n"


class SelectionWriter(ABC):
    """Writer of one tool's layout. Made without arguments; holds no state."""

    name: str
    """What ``--format`` and ``write_subset(format=...)`` call it."""

    holds_videos: bool = False
    """The layout is made of the videos themselves, so it cannot be written without them (files ``none``)."""

    videos_in: str = ""
    """Folder of the videos inside the selection's; empty for the selection's own."""

    flat: bool = False
    """All videos lie in that one folder, under names whose stems are unique; else in the dataset's own folders."""

    placements: tuple[Placement, ...] = ("link", "copy")
    """How the layout can hold videos: ``copy`` alone where it packs their bytes; none where it only names them."""

    names_parts: bool = False
    """Without videos, it may name those inside tar and zip archives by ``tar://`` and ``zip://``; no trainer opens them."""

    reads: tuple[str, str] | None = None
    """Dataset format and file or folder by which a selection in this layout is read, where its own folder does not tell."""

    has_values: bool = True
    """It writes the columns of Export.record, with types where the dataset has them."""

    has_columns: bool = True
    """The layout has a place for columns; without one they are in a ``clips.csv`` beside it."""

    @abstractmethod
    def write(self, export: Export) -> None:
        """Place the videos and write what lies beside them.

        Raises:
            OptionError: the layout cannot hold this selection.
            DatasetError: a video cannot be placed.
        """

    @abstractmethod
    def training(self, export: Export) -> Training:
        """The commands that train on the selection, for its final place."""

    def file_name(self, name: str) -> str:
        """The name of a video where the layout gives some names a meaning; two names may become one only if their case
        alone differs."""
        return name

    def check(self, export: Export) -> None:
        """Refuse a selection that the layout cannot hold, before anything is written.

        Raises:
            OptionError: videos must be placed for this layout.
        """
        if self.holds_videos and export.files == "none":
            raise OptionError(
                f"select: format {self.name} holds the videos themselves, so it cannot be written without them; leave "
                "out --scores-only, or choose --format list, jsonl, hf, diffsynth or same"
            )


def json_lines(path: Path, records: Iterator[Mapping[str, Any]]) -> None:
    """Write records as JSON Lines, one at a time.

    Raises:
        DatasetError: the file exists.
    """
    with new_json_lines(path) as file:
        file.writelines(map(json_line, records))


@contextmanager
def new_json_lines(path: Path) -> Iterator[TextIO]:
    """A new file for lines of json_line, UTF-8.

    Raises:
        DatasetError: the file exists.
    """
    try:
        file = open(path, "x", encoding="utf-8", newline="")  # noqa: SIM115 - closed below
    except FileExistsError as error:
        raise DatasetError(f"{path} exists already; choose another folder") from error
    with file:
        yield file


def json_line(record: Mapping[str, Any]) -> str:
    """A record as a line of JSON, with every kind of line end escaped."""
    return json.dumps(record, ensure_ascii=False).translate(_LINE_ENDS) + "\n"


def caption_lines(text: str) -> str:
    """A caption on one line: whatever ends a line becomes a space."""
    return " ".join(text.splitlines())


def quoted(path: Path | str) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))


def toml_text(text: Path | str) -> str:
    """A TOML string."""
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")
