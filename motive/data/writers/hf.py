"""Hugging Face VideoFolder: ``metadata.jsonl`` with ``file_name`` beside the videos."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from motive.data.writers.writer import Export, SelectionWriter, Training, json_lines
from motive.errors import OptionError

_SPLIT = re.compile(
    r"(?<![^-._ 0-9])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)(?![^-._ 0-9])"
)
"""Words of a name by which the loader finds splits (data_files.py of datasets 5.2.0); it minds the case."""
_TAKEN_AS_FILES = re.compile(r"(^|_)file_names?$")


class HfWriter(SelectionWriter):
    """The layout of ``datasets.load_dataset("videofolder", data_dir=...)``.

    The loader opens what columns called ``*_file_name`` name, and calls the video ``video``; columns of the dataset
    with such names are written as ``source_<name>``, the former with ``_path`` for ``_file_name``.

    A file or folder called like a split (``data/train-00000-of-00001.parquet/a.mp4``) makes the loader take those files
    alone, without the table. So all videos lie in one folder, and such words start with a capital.
    """

    name = "hf"
    videos_in, flat = "videos", True

    def file_name(self, name: str) -> str:
        return _SPLIT.sub(lambda found: found[0].capitalize(), name)

    def check(self, export: Export) -> None:
        if export.files == "none":
            raise OptionError(
                "select: load_dataset of a videofolder finds videos beside its table alone; leave out --scores-only, or "
                "choose --format jsonl"
            )

    def write(self, export: Export) -> None:
        json_lines(export.folder / "metadata.jsonl", self._records(export))

    def _records(self, export: Export) -> Iterator[dict[str, Any]]:
        for row, path in export.videos(self):
            fixed = {"file_name": path, "caption": row.clip.caption, "clip_id": row.clip.clip_id}
            own = export.own(row, [*fixed, "video", "label"], hf_title)
            yield {**fixed, **own, **row.scores}

    def training(self, export: Export) -> Training:
        return hf_training(export)


def hf_title(name: str) -> str:
    """A column's name as the loader leaves it alone."""
    if not _TAKEN_AS_FILES.search(name):
        return name
    return "source_" + _TAKEN_AS_FILES.sub(r"\1path", name.removeprefix("source_"))


def hf_training(export: Export) -> Training:
    """How diffusers' and other scripts load a VideoFolder."""
    script = (
        "from datasets import Video, load_dataset; "
        f'data = load_dataset("videofolder", data_dir={str(export.final)!r}, split="train"); '
        'print(data.cast_column("video", Video(decode=False))[0])'
    )
    return Training(
        "Hugging Face datasets 5.2.0",
        (f"python -c {_double_quoted(script)}",),
        "Scripts that take a dataset's name, such as those of diffusers and finetrainers, take the folder. Decoding "
        "needs torchcodec; decode=False gives paths.",
    )


def _double_quoted(script: str) -> str:
    escaped = re.sub(r'([\\"$`])', r"\\\1", script)
    return f'"{escaped}"'
