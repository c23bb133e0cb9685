"""A folder of video files, each with an optional caption of the same name in a ``.txt`` file."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from motive.data.base import Unread
from motive.data.formats.class_folders import ClassFolders
from motive.data.formats.curated import curated_but_unknown
from motive.data.formats.metadata import METADATA_NAMES
from motive.data.formats.reader import DatasetFormat, Detection, Row, Subset
from motive.data.formats.tables import column_names
from motive.data.paths import PathGuard, is_clean, nfc, printable
from motive.errors import ClipError, DatasetError

VIDEO_SUFFIXES = frozenset(
    {
        ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts",
        ".webm", ".wmv",
    }
)  # fmt: skip
_CAPTION = ".txt"
_SIDECARS = frozenset({".cap", ".caption", ".captions", ".csv", ".json", ".jsonl", ".md", ".prompt", ".yaml", ".yml"})
_MAX_CAPTION_BYTES = 1024 * 1024


class VideoFiles(DatasetFormat):
    """Every video file under a folder, or a single video file; hidden files and folders are passed over."""

    name = "folder"
    priority = 90

    def detect(self, path: Path, named: bool) -> Detection | None:
        if path.is_file():
            return Detection(path) if named or path.suffix.lower() in VIDEO_SUFFIXES else None
        if not named:
            _refuse_tables(path)
        links: list[str] = []
        if named or next(video_names(path, False, links), None) is not None or links:
            return Detection(path)  # with follow_links there may be some
        return None

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread]:
        if found.path.is_file():
            yield from _folder_rows(found.path.parent, "", [found.path.name], guard, os.listdir(found.path.parent))
            return
        sidecars: Counter[str] = Counter()
        count, latents = 0, 0
        links: list[str] = []
        holding = (folder for folder, files in walk(found.path, guard.follow_links) if any(map(is_video, files)))
        classes = ClassFolders(map(printable, holding), os.path.basename(os.path.abspath(found.path)))
        for folder, files in walk(found.path, guard.follow_links, links):
            videos = [name for name in files if is_video(name)]
            count += len(videos)
            sidecars.update(_sidecars(videos, files))
            latents += sum(is_latents(name) for name in files)
            columns = classes.columns(printable(folder)) if videos else {}
            yield from (replace(row, columns=columns) for row in _folder_rows(found.path, folder, videos, guard, files))
        if not count:
            what = "check the path"
            if links:
                what = f"{printable(links[0])} is a link to a folder elsewhere: pass --follow-links to enter it"
            raise DatasetError(f"{found.path} holds no video files ({', '.join(sorted(VIDEO_SUFFIXES))}); {what}")
        yield from linked_folders(links)
        if latents:
            yield Unread(
                f"{latents} .safetensors files",
                "precomputed latents; the videos are encoded again, unless --latents names them",
            )
        for suffix, number in sorted(sidecars.items()):
            yield Unread(f"{number} {suffix} files", f"captions beside videos are read from {_CAPTION} files only")

    def write(self, subset: Subset, out: Path) -> None:
        """Copy the caption files; the scores are in the subset's ``metadata.csv``."""
        for row, file in zip(subset.rows, subset.files, strict=True):
            target, source = (out / file).with_suffix(_CAPTION), row.clip.path.with_suffix(_CAPTION)
            if not row.clip.caption or target.exists():
                continue
            if source.is_file():
                shutil.copyfile(source, target)
            else:
                target.write_text(row.clip.caption, encoding="utf-8", newline="")


def is_latents(name: str) -> bool:
    """Whether a file of that name holds what a trainer precomputed; the regions of a clip are another thing."""
    return name.lower().endswith(".safetensors") and not name.lower().endswith(".regions.safetensors")


def _refuse_tables(path: Path) -> None:
    """Tables that no format took, or that lie one folder down: reading the bare videos would lose the captions."""
    problem = curated_but_unknown(path)
    if problem is not None:
        raise DatasetError(
            f"{problem}; pass --dataset-format cosmos_curate or nemo_curator to read it, or folder to read the videos "
            "without it"
        )
    for table in (path / name for name in METADATA_NAMES):
        if table.is_file():
            raise DatasetError(
                f"{table} has none of the columns that are read (file_name, or video and prompt): its columns are "
                f"{', '.join(column_names(table)) or 'none'}; rename them, or pass --dataset-format folder to read the "
                "videos without it"
            )
    for table in (child / name for child in _folders(path) for name in METADATA_NAMES):
        if table.is_file() and "file_name" in column_names(table):
            raise DatasetError(
                f"the table of clips lies in {table.parent.name}/ and not in {path} itself; read {table.parent}, or pass "
                "--dataset-format folder to read the videos without it"
            )


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def walk(path: Path, follow_links: bool, links: list[str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """(folder relative to the path, its files), hidden ones left out; each real folder is entered once, so links
    cannot loop.

    Args:
        path: a folder.
        follow_links: enter linked folders.
        links: takes the linked folders, relative to the path, that lead elsewhere and are not entered.
    """
    entered: set[str] = set()
    inside = os.path.join(os.path.realpath(path), "")
    for folder, folders, files in os.walk(path, followlinks=follow_links):
        real = os.path.realpath(folder)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if links is not None and not follow_links:
            linked = [os.path.join(folder, name) for name in folders if os.path.islink(os.path.join(folder, name))]
            outside = [link for link in linked if not os.path.join(os.path.realpath(link), "").startswith(inside)]
            links.extend(os.path.relpath(link, path) for link in outside)
        yield os.path.relpath(folder, path), sorted(name for name in files if not name.startswith("."))


def linked_folders(links: Sequence[str]) -> Iterator[Unread]:
    """Names the links that walk gave."""
    if links:
        shown = tuple(printable(link) for link in links[: Unread.EXAMPLES])
        why = f"links to folders elsewhere, {shown[0]} for one; pass --follow-links to enter them"
        yield Unread(f"{len(links)} linked folders", why, len(links), shown)


def video_names(path: Path, follow_links: bool, links: list[str] | None = None) -> Iterator[str]:
    """Video files under a folder, relative to it; ``links`` as in walk."""
    for folder, files in walk(path, follow_links, links):
        yield from (os.path.normpath(os.path.join(folder, name)) for name in files if is_video(name))


def _folder_rows(
    path: Path, folder: str, videos: Sequence[str], guard: PathGuard, files: Sequence[str]
) -> Iterator[Row]:
    texts = _caption_files(files)
    for video in videos:
        name = os.path.normpath(os.path.join(folder, video))
        text = _caption_name(video, texts)
        media, caption, problem = os.path.join(os.path.abspath(path), name), None, None
        if text is not None:
            try:
                caption = read_caption(guard, os.path.join(os.path.abspath(path), folder, text))
            except ClipError as error:
                problem = (error.reason, error.detail)
        yield Row(media, name, caption, {}, None, problem)


def _caption_files(files: Sequence[str]) -> Mapping[str, str]:
    """Name without suffix, in one Unicode form -> caption file; the exact spelling of the suffix comes first."""
    found: dict[str, str] = {}
    for name in sorted(files, key=lambda name: not name.endswith(_CAPTION)):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() == _CAPTION:
            found.setdefault(stem, name)
            found.setdefault(nfc(stem), name)
    return found


def _caption_name(video: str, texts: Mapping[str, str]) -> str | None:
    """The caption file of a video: a.txt for a.mp4, else a.mp4.txt."""
    stems = (os.path.splitext(video)[0], video)
    return next((texts[key] for stem in stems for key in (stem, nfc(stem)) if key in texts), None)


def _sidecars(videos: Sequence[str], files: Sequence[str]) -> Iterator[str]:
    """Suffix of every file that may be a video's caption in a form that is not read."""
    known = {*videos, *(os.path.splitext(video)[0] for video in videos)}
    for name in files:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in _SIDECARS and stem in known:
            yield suffix.lower()


def read_caption(guard: PathGuard, path: str) -> str:
    """The text of a caption file under a root.

    Raises:
        ClipError: it leads out of the roots, cannot be read, or is not text of at most 1 MiB.
    """
    name = printable(os.path.basename(path))
    try:
        with open(guard.file(guard.relative(path)), "rb") as stream:
            data = stream.read(_MAX_CAPTION_BYTES + 1)
        caption = data.decode("utf-8-sig").strip()
    except OSError as error:
        raise ClipError("bad_text", f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ClipError("bad_text", f"{name} is not UTF-8: {error.reason}") from error
    if len(data) > _MAX_CAPTION_BYTES or not is_clean(caption):
        raise ClipError("bad_text", f"{name} is longer than 1 MiB or holds a NUL byte")
    return caption
