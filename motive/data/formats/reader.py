"""What a dataset format must provide; a new format is one file with one subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from motive.data.base import Clip, Dataset


@dataclass(frozen=True)
class ReadOptions:
    """How a dataset is read.

    Attributes:
        root: folder that relative paths start from and that no path may leave; None is the metadata file's
            own folder.
        follow_links: accept symbolic links that lead out of the root, as in a hub cache. Off by default: a
            dataset from elsewhere could link to any file of this machine.
    """

    root: Path | None = None
    follow_links: bool = False


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
    """

    dataset: Dataset
    rows: Sequence[SubsetRow]
    files: Sequence[str]
    score_names: Sequence[str]


class DatasetFormat(ABC):
    """Reader and writer of one layout of video files and their captions."""

    name: str
    """What ``read_dataset(format=...)`` and ``Dataset.format`` call it."""

    @abstractmethod
    def detect(self, path: Path) -> bool:
        """Whether the path, a file or folder that exists, holds this format; looks at names and one row only.

        Raises:
            DatasetError: the path is of this format but cannot be read, or holds it twice.
        """

    @abstractmethod
    def read(self, path: Path, options: ReadOptions) -> Dataset:
        """Read all clips; a row that names no usable clip becomes a Failure and never raises.

        Raises:
            DatasetError: nothing can be read, or there is nothing in it.
        """

    @abstractmethod
    def write(self, subset: Subset, out: Path) -> None:
        """Write what this format keeps beside the videos (metadata, captions) for the subset.

        Raises:
            DatasetError: the dataset's metadata no longer holds a selected clip.
        """
