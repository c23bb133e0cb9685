"""finetrainers' dataset configuration: a JSON file with one entry of ``datasets`` for each folder.

Read in examples/training, finetrainers/trainer/sft_trainer/trainer.py (commit 6168a1c) and finetrainers/data/dataset.py
(commit 26f1093) of finetrainers, in November 2026.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from motive.data.base import Part, Unread
from motive.data.formats.configs import ConfigFormat, load_config, refused
from motive.data.formats.finetrainers import FileLists
from motive.data.formats.folder import VIDEO_SUFFIXES
from motive.data.formats.listing import folder_rows, list_folder
from motive.data.formats.reader import Detection, Row, Subset
from motive.data.formats.videofolder import VideoFolder
from motive.data.paths import PathGuard
from motive.errors import ClipError, DatasetError


class FinetrainersConfig(ConfigFormat):
    """Every video of the folders that ``datasets`` list, each folder read as finetrainers reads it.

    That is by its ``metadata.*``, else by the caption files beside its videos, else by its lists of videos and captions.
    """

    name = "finetrainers-config"
    priority = 9
    suffixes = (".json",)
    called = "a dataset configuration of finetrainers"
    writer = "finetrainers"

    def owns(self, config: Mapping[str, Any]) -> bool:
        entries = config.get("datasets")
        return isinstance(entries, list) and any(isinstance(entry, dict) and "data_root" in entry for entry in entries)

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread | Part]:
        part = -1
        for index, given in enumerate(load_config(found.source or found.path)["datasets"]):
            entry = given if isinstance(given, dict) else {}
            name = f"datasets[{index}] {entry.get('data_root', '')}"
            if entry.get("dataset_type") == "image" or "data_root" not in entry:
                why = "it lists images; only videos have motion" if "data_root" in entry else "it names no data_root"
                yield Unread(name.strip(), why)
                continue
            part += 1
            yield Part(name, buckets=_buckets(entry.get("video_resolution_buckets")), settings=entry)
            try:
                for row in _entry_rows(guard, name, entry):
                    yield replace(row, part=part) if isinstance(row, Row) else row
            except (ClipError, DatasetError) as error:
                problem = error if isinstance(error, ClipError) else ClipError("bad_text", str(error))
                yield refused(name, entry["data_root"], problem, part)

    def write(self, subset: Subset, out: Path) -> None:
        """Nothing: the selection writer of finetrainers writes the lists and their configuration."""


def _buckets(listed: Any) -> tuple[tuple[int, int, int], ...]:
    """(width, height, frames) from finetrainers' frames, height and width."""
    shapes = listed if isinstance(listed, list) else []
    shapes = [shape for shape in shapes if isinstance(shape, list) and len(shape) == 3]
    plain = [shape for shape in shapes if all(type(item) is int and item > 0 for item in shape)]
    return tuple((width, height, frames) for frames, height, width in plain)


def _entry_rows(guard: PathGuard, name: str, entry: Mapping[str, Any]) -> Iterator[Row | Unread]:
    """Clips of one folder, with the entry's token before their captions.

    Raises:
        ClipError, DatasetError: the folder cannot be read.
    """
    written, token = entry["data_root"], entry.get("id_token")
    if not isinstance(written, str):
        raise ClipError("bad_row", f"data_root is {type(written).__name__}, not text")
    folder = guard.folder(written)
    for row in _folder_rows(guard, folder, name):
        if not isinstance(row, Row):
            yield row
            continue
        caption = f"{token} {row.caption or ''}".strip() if isinstance(token, str) else row.caption
        inside = isinstance(row.media, str) and row.media.strip()
        yield replace(row, caption=caption, media=os.path.join(folder, str(row.media)) if inside else row.media)


def _folder_rows(guard: PathGuard, folder: Path, name: str) -> Iterator[Row | Unread]:
    table = VideoFolder().detect(folder, named=False)
    if table is not None and table.source is not None:  # finetrainers looks for no tables below
        yield from VideoFolder().rows(table, guard)
        return
    listing = list_folder(folder, VIDEO_SUFFIXES, enter=False)
    rows = list(folder_rows(guard, folder, listing.videos, ".txt", 0))
    if any(row.caption is not None for row in rows):
        for row in rows:
            skipped = row.problem is None and row.caption is None
            why = ("no_caption", "finetrainers looks for caption files, and finds no video without one")
            yield replace(row, problem=why) if skipped else row
        yield from listing.unread(name, "finetrainers")
        return
    lists = FileLists().detect(folder, named=True)
    if lists is not None:
        yield from FileLists().rows(lists, guard)
