"""Two text files of equal length, one of videos and one of captions: finetrainers, diffusers and FastVideo.

Read in docs/dataset/README.md and finetrainers/data/dataset.py of huggingface/finetrainers (commit 26f1093), in
examples/cogvideo of huggingface/diffusers (commit 02303d1) and in scripts/dataset_preparation of hao-ai-lab/FastVideo
(commit 2f3d407), in November 2026.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from motive.data.base import Unread
from motive.data.formats.folder import VIDEO_SUFFIXES
from motive.data.formats.reader import DatasetFormat, Detection, Row, Subset
from motive.data.formats.tables import text_lines
from motive.data.paths import PathGuard, is_clean, printable
from motive.errors import DatasetError
from motive.publish import published

VIDEO_LISTS = ("videos.txt", "video.txt")
CAPTION_LISTS = ("prompts.txt", "prompt.txt", "captions.txt", "caption.txt")


class FileLists(DatasetFormat):
    """``videos.txt`` with a path in each line, and ``prompts.txt`` with the caption in the same line.

    Paths start from the folder of the lists. Where the lists are equally long and every line of the first has a path,
    an empty line of the second is a missing caption (finetrainers); else empty lines are left out of both (diffusers,
    FastVideo).
    """

    name = "finetrainers"
    beside = "clips.csv"  # finetrainers takes a folder with a metadata.csv for a VideoFolder, and leaves the lists
    priority = 35

    def detect(self, path: Path, named: bool) -> Detection | None:
        if path.is_file() and path.name not in (*VIDEO_LISTS, *CAPTION_LISTS):
            return None
        folder = path if path.is_dir() else path.parent
        lists = [
            [folder / name for name in names if (folder / name).is_file()] for names in (VIDEO_LISTS, CAPTION_LISTS)
        ]
        if not all(lists) and named:
            raise DatasetError(
                f"{folder} must hold {' or '.join(VIDEO_LISTS)}, and {', '.join(CAPTION_LISTS[:-1])} or "
                f"{CAPTION_LISTS[-1]}, for format {self.name}; choose another format"
            )
        if not all(lists):
            return None
        for files in lists:
            if len(files) > 1:
                raise DatasetError(
                    f"{folder} must hold one list of a kind, got {' and '.join(file.name for file in files)}; remove one, "
                    "or pass --dataset-format folder to read the videos without lists"
                )
        if not named and (pair := _caption_file(folder)) is not None:
            raise DatasetError(
                f"{folder} holds both {lists[0][0].name} and caption files beside videos ({pair} among them); pass "
                f"--dataset-format {self.name} or folder"
            )
        return Detection(path, lists[0][0])

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row]:
        videos = found.source or found.path
        for number, (video, caption) in enumerate(_pairs(videos, _captions_beside(videos)), 1):
            problem = None
            if not (is_clean(video) and is_clean(caption)):
                problem = ("bad_text", f"clip {number} of the lists holds a NUL byte or is not UTF-8")
            label = printable(video) or f"{videos.name}:{number}"
            yield Row(video, label, None if problem else caption or None, problem=problem)

    def write(self, subset: Subset, out: Path) -> None:
        """Write the two lists under their names; the scores are in ``clips.csv``."""
        source = subset.dataset.source
        if source is None:
            raise DatasetError(f"the dataset names no list for format {self.name}; read it again")
        captions = (row.clip.caption.strip() for row in subset.rows)
        for path, lines in ((source, subset.files), (_captions_beside(source), captions)):
            with published(out / path.name) as temporary, open(temporary, "x", encoding="utf-8", newline="") as file:
                file.writelines(f"{line}\n" for line in lines)


def _caption_file(folder: Path) -> str | None:
    """A caption file beside a video of its name, which finetrainers would prefer to the lists."""
    names = set(os.listdir(folder))
    stems = (os.path.splitext(name) for name in sorted(names))
    pairs = (stem + ".txt" for stem, suffix in stems if suffix.lower() in VIDEO_SUFFIXES)
    return next((name for name in pairs if name in names and name not in (*VIDEO_LISTS, *CAPTION_LISTS)), None)


def lone_lists(folder: Path) -> Iterator[Unread]:
    """A list in a folder that lacks the other one; a video's caption file is none."""
    names = set(os.listdir(folder))
    stems = {os.path.splitext(name)[0] for name in names if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES}
    videos, captions = ([n for n in lists if n in names] for lists in (VIDEO_LISTS, CAPTION_LISTS))
    if videos and captions:
        return
    for name in (*videos, *captions):
        if os.path.splitext(name)[0] not in stems:
            lacks = f"{VIDEO_LISTS[0]} with the video" if name in captions else f"{CAPTION_LISTS[0]} with the caption"
            yield Unread(name, f"it is a list without {lacks} of each line beside it; add that file to read both")


def _captions_beside(videos: Path) -> Path:
    found = next((videos.parent / name for name in CAPTION_LISTS if (videos.parent / name).is_file()), None)
    if found is None:
        raise DatasetError(f"{videos} has no list of captions beside it any more; restore what was read")
    return found


def _pairs(videos: Path, captions: Path) -> list[tuple[str, str]]:
    """(path, caption) of each clip."""
    left, right = [[line.strip() for line in text_lines(path)] for path in (videos, captions)]
    if len(left) != len(right) or not all(left):
        left, right = [[line for line in lines if line] for lines in (left, right)]
    if len(left) != len(right):
        raise DatasetError(
            f"{videos.name} and {captions.name} in {videos.parent} must have equally many lines, got {len(left)} and "
            f"{len(right)}; which caption belongs to which video is in doubt, so correct the lists"
        )
    if not left:
        raise DatasetError(f"{videos} has no lines; check the file")
    return list(zip(left, right, strict=True))
