"""Folders of videos as trainers list them, with what they pass over."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from motive.data.base import Unread
from motive.data.formats.folder import VIDEO_SUFFIXES, is_latents, read_caption
from motive.data.formats.reader import Row
from motive.data.paths import PathGuard, printable
from motive.errors import ClipError

IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".jxl", ".png", ".tif", ".tiff", ".webp"})


@dataclass
class Listing:
    """What one folder of a configuration holds.

    Attributes:
        videos: names relative to the folder, sorted.
        others: kind of thing that is not read -> how many there are.
    """

    videos: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def unread(self, part: str, tool: str) -> Iterator[Unread]:
        """What lies in the folder and is not read."""
        whys = {
            "images": "only videos have motion",
            "latents": "precomputed latents are no videos; --latents uses those of musubi-tuner and FastVideo",
            "videos in subfolders": f"{tool} does not enter them",
        }
        for kind, count in sorted(self.others.items()):
            yield Unread(f"{count} {kind} of {part}", whys.get(kind, f"{tool} does not read them"))


def list_folder(folder: Path, suffixes: Iterable[str], enter: bool, follow_links: bool = False) -> Listing:
    """The videos of a folder that a trainer would open.

    Args:
        folder: that PathGuard.folder returned.
        suffixes: of the videos that the trainer opens, in lower case.
        enter: whether it looks into subfolders; hidden ones are passed over.
        follow_links: enter linked folders.
    """
    found, wanted = Listing(), frozenset(suffixes)
    entered: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=follow_links):
        real = os.path.realpath(place)
        hidden = real in entered
        entered.add(real)
        folders[:] = [] if hidden else sorted(name for name in folders if not name.startswith("."))
        inner = os.path.relpath(place, folder)
        for name in [] if hidden else sorted(files):
            _sort(found, os.path.normpath(os.path.join(inner, name)), wanted, enter or inner == ".")
    found.videos.sort()
    return found


def _sort(found: Listing, name: str, wanted: frozenset[str], here: bool) -> None:
    suffix = os.path.splitext(name)[1].lower()
    if os.path.basename(name).startswith("."):
        return
    if suffix in wanted:
        if here:
            found.videos.append(name)
        else:
            found.others["videos in subfolders"] += 1
    elif suffix in VIDEO_SUFFIXES and here:
        found.others[f"{suffix} files"] += 1
    elif suffix in IMAGE_SUFFIXES and here:
        found.others["images"] += 1
    elif is_latents(name):
        found.others["latents"] += 1


def caption_in(guard: PathGuard, path: str) -> str | None:
    """The text of a caption file; None where there is no such file.

    Raises:
        ClipError: it is there and cannot be used.
    """
    return read_caption(guard, path) if os.path.lexists(path) else None


def folder_rows(
    guard: PathGuard, folder: Path, names: Sequence[str], caption_end: str | None, part: int
) -> Iterator[Row]:
    """A row for each video of a folder, with the caption file of its name and another end."""
    for name in names:
        media, caption, problem = os.path.join(folder, name), None, None
        if caption_end is not None:
            try:
                caption = caption_in(guard, os.path.splitext(media)[0] + caption_end)
            except ClipError as error:
                problem = (error.reason, error.detail)
        yield Row(media, printable(name), caption, problem=problem, part=part)


def copy_caption(video: Path, target: Path, end: str | None) -> None:
    """Bring the caption file of a video along to the video's place in a selection, byte for byte."""
    if end is None:
        return
    source, place = os.path.splitext(video)[0] + end, Path(os.path.splitext(target)[0] + end)
    if os.path.isfile(source) and not place.exists():
        shutil.copyfile(source, place)
