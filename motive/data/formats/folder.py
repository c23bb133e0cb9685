"""A folder of video files, each with an optional caption of the same name in a ``.txt`` file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from motive.data.base import Clip, Dataset, Failure
from motive.data.formats.metadata import METADATA_NAMES
from motive.data.formats.reader import DatasetFormat, ReadOptions, Subset
from motive.data.formats.tables import column_names
from motive.data.paths import PathGuard, check_id, is_clean, printable
from motive.errors import ClipError, DatasetError

VIDEO_SUFFIXES = frozenset(
    {
        ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts",
        ".webm", ".wmv",
    }
)  # fmt: skip
_MAX_CAPTION_BYTES = 1024 * 1024


class VideoFiles(DatasetFormat):
    """Every video file under a folder, or a single video file; hidden files and folders are passed over."""

    name = "folder"

    def detect(self, path: Path) -> bool:
        if path.is_file():
            return path.suffix.lower() in VIDEO_SUFFIXES
        for table in (path / name for name in METADATA_NAMES):
            if table.is_file():
                raise DatasetError(
                    f"read_dataset: {table} must have a column file_name, or video and prompt, got "
                    f"{', '.join(column_names(table)) or 'none'}; rename them, or say format folder to leave it out"
                )
        for table in (child / name for child in _folders(path) for name in METADATA_NAMES):
            if table.is_file() and "file_name" in column_names(table):
                raise DatasetError(
                    f"read_dataset: {path} must hold its table of clips itself, got one in {table.parent.name}/; "
                    f"read {table.parent}, or say format folder to leave the table out"
                )
        return next(video_names(path, follow_links=False), None) is not None

    def read(self, path: Path, options: ReadOptions) -> Dataset:
        folder = path.parent if path.is_file() else path
        guard = PathGuard(options.root or folder, options.follow_links)
        names = [path.name] if path.is_file() else sorted(video_names(path, options.follow_links))
        clips: list[Clip] = []
        failures: list[Failure] = []
        for name in names:
            try:
                relative = guard.relative(os.path.join(os.path.abspath(folder), name))
                file = guard.file(relative)
                clips.append(Clip(check_id(relative), file, _caption(guard, relative), {}))
            except ClipError as error:
                failures.append(Failure(printable(name), printable(name), "read", error.reason, error.detail))
        if not names:
            raise DatasetError(
                f"read_dataset: {path} must hold video files ({', '.join(sorted(VIDEO_SUFFIXES))}), got none; "
                "check the path"
            )
        clips.sort(key=lambda clip: clip.clip_id)
        location = Path(os.path.abspath(path))
        return Dataset(location, guard.root, self.name, tuple(clips), tuple(failures))

    def write(self, subset: Subset, out: Path) -> None:
        """Copy the caption files; the scores are in the subset's ``metadata.csv``."""
        for row, file in zip(subset.rows, subset.files, strict=True):
            target = (out / file).with_suffix(".txt")
            if row.clip.caption and not target.exists():
                shutil.copyfile(row.clip.path.with_suffix(".txt"), target)


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def video_names(path: Path, follow_links: bool) -> Iterator[str]:
    """Video files under a folder, relative to it; each real folder is entered once, so links cannot loop."""
    entered: set[str] = set()
    for folder, folders, files in os.walk(path, followlinks=follow_links):
        real = os.path.realpath(folder)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
                yield os.path.relpath(os.path.join(folder, name), path)


def _caption(guard: PathGuard, relative: str) -> str:
    text = os.path.splitext(relative)[0] + ".txt"
    try:
        file = guard.file(text)
    except ClipError as error:
        if error.reason == "missing_file":
            return ""
        raise
    try:
        with open(file, "rb") as stream:
            data = stream.read(_MAX_CAPTION_BYTES + 1)
        caption = data.decode("utf-8-sig").strip()
    except OSError as error:
        raise ClipError("bad_text", f"{text} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ClipError("bad_text", f"{text} is not UTF-8: {error.reason}") from error
    if len(data) > _MAX_CAPTION_BYTES or not is_clean(caption):
        raise ClipError("bad_text", f"{text} is longer than 1 MiB or holds a NUL byte")
    return caption
