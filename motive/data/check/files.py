"""Files of a dataset: their bytes, those that cannot be opened, and videos that no row names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from motive.data.base import Clip, Dataset
from motive.data.formats.folder import is_video, walk
from motive.data.media import Cell, Media, media_of
from motive.errors import ClipError

Inode = tuple[int, int]


@dataclass
class Files:
    """The files of a dataset's clips, in the order of the clips.

    Attributes:
        media: the videos; None where there is an error.
        sizes: bytes; 0 where they are not known: of cells of Parquet tables, and where there is an error.
        inodes: device and inode of the file that holds the video; None where there is none.
        errors: clip by its place -> empty_file, unreadable, missing_file, by what the file system says.
    """

    media: list[Media | None] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    inodes: list[Inode | None] = field(default_factory=list)
    errors: dict[int, ClipError] = field(default_factory=dict)

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> Files:
        """Look for the file of each clip; opens none."""
        files = cls()
        for at, clip in enumerate(clips):
            item, size, inode = media_of(clip.path), 0, None
            try:
                status = os.stat(item.file)
                inode = (status.st_dev, status.st_ino)
                size = status.st_size if item.whole else 0 if isinstance(item, Cell) else item.size()
                if not os.access(item.file, os.R_OK):
                    files.errors[at] = ClipError("unreadable", f"{item.file.name} may not be read: no permission")
                elif not size and not isinstance(item, Cell):
                    files.errors[at] = ClipError("empty_file", f"{clip.path.name} has no bytes")
            except OSError as error:
                files.errors[at] = ClipError("missing_file", f"{clip.path.name} cannot be opened: {error.strerror}")
            good = at not in files.errors
            files.media.append(item if good else None)
            files.sizes.append(size if good else 0)
            files.inodes.append(inode)
        return files


def without_row(dataset: Dataset, inodes: Sequence[Inode | None]) -> list[str]:
    """Videos in the dataset's folders that no row names, relative to their folder; empty without a table.

    Of a trainer's configuration only the folders that hold its clips are looked at, without their subfolders.

    Args:
        dataset: as it was read.
        inodes: of the files of its clips.
    """
    if dataset.source is None and dataset.format != "videofolder":  # which may have a table in each subfolder
        return []
    named = {str(clip.path) for clip in dataset.clips}
    # Rows that cannot be used for another reason, such as a second one of a file, name their files too.
    named |= {os.path.normpath(os.path.join(dataset.root, failure.path)) for failure in dataset.failures}
    bases, known = [dataset.root, *dataset.options.roots], set(inodes)
    if dataset.parts:
        bases = [Path(folder) for folder in sorted({os.path.dirname(path) for path in named}) if os.path.isdir(folder)]
    found = {}
    for base in dict.fromkeys(bases):
        videos = _direct(base) if dataset.parts else _videos(base, dataset.options.follow_links)
        for path in videos:
            if path not in named and _inode(path) not in known:
                found[os.path.relpath(path, base) if len(bases) == 1 else path] = None
    return sorted(found)


def _inode(path: str) -> Inode:
    """Device and inode of a file, as it is named here if it is a link to nowhere."""
    try:
        status = os.stat(path)
    except OSError:
        status = os.lstat(path)
    return status.st_dev, status.st_ino


def _videos(base: Path, follow_links: bool) -> Iterator[str]:
    for folder, names in walk(base, follow_links):
        inside = str(base) if folder == os.curdir else os.path.join(base, folder)
        yield from (f"{inside}{os.sep}{name}" for name in names if is_video(name))


def _direct(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.path for entry in entries if is_video(entry.name) and not entry.name.startswith("."))
