"""musubi-tuner's dataset configuration: a TOML or JSON file with ``[general]`` and several ``[[datasets]]``.

Read in docs/dataset_config.md and src/musubi_tuner/dataset of kohya-ss/musubi-tuner 0.3.4 (commit 30c658c, 2026-06-24).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from motive.data.base import Part, Unread
from motive.data.formats.configs import (
    ConfigFormat,
    Selected,
    at_home,
    integers,
    load_config,
    number,
    refused,
    save_config,
    size,
)
from motive.data.formats.copying import copy_rows
from motive.data.formats.listing import copy_caption, folder_rows, list_folder
from motive.data.formats.metadata import METADATA_NAMES, TableFormat
from motive.data.formats.reader import Detection, Row, Subset
from motive.data.formats.sequences import Mapped
from motive.data.formats.tables import read_rows
from motive.data.paths import PathGuard
from motive.errors import ClipError, DatasetError

VIDEO_SUFFIXES = frozenset({".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
GENERAL_KEYS = frozenset(
    {"batch_size", "bucket_no_upscale", "caption_extension", "enable_bucket", "num_repeats", "resolution"}
)
VIDEO_KEYS = GENERAL_KEYS | {
    "cache_directory", "control_directory", "fp_latent_window_size", "frame_extraction", "frame_sample", "frame_stride",
    "max_frames", "source_fps", "target_frames", "video_directory", "video_jsonl_file",
}  # fmt: skip
_IMAGES = ("image_directory", "image_jsonl_file")
_VIDEOS = ("video_directory", "video_jsonl_file")
_IMAGE_PATHS = ("cache_directory", "control_directory", *_IMAGES)


class Musubi(ConfigFormat):
    """Every video that the ``[[datasets]]`` list, by folder or by a JSON Lines table.

    A clip that several entries list, as with one table and two lengths, is one clip with several parts. The columns of
    a table are kept. Entries of images, keys that musubi-tuner refuses and files that it passes over are named.
    """

    name = "musubi"
    priority = 6
    suffixes = (".toml", ".json")
    called = "a dataset configuration of musubi-tuner"

    def owns(self, config: Mapping[str, Any]) -> bool:
        entries = config.get("datasets")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            return False
        return any(key in entry for entry in entries for key in (*_VIDEOS, *_IMAGES))

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread | Part]:
        config, part = load_config(found.source or found.path), -1
        general = _general(config)
        yield from _unknown_keys("general", general, GENERAL_KEYS)
        for index, entry in enumerate(config["datasets"]):
            name = f"datasets[{index}]"
            if not any(key in entry for key in _VIDEOS):
                images = next((str(entry[key]) for key in _IMAGES if key in entry), None)
                why = "it names no videos" if images is None else "it lists images; only videos have motion"
                yield Unread(f"{name} {images or ''}".strip(), why)
                continue
            part += 1
            yield from _unknown_keys(name, entry, VIDEO_KEYS)
            yield _part(name, general, entry)
            yield from _entry_rows(guard, name, {**general, **entry}, part)

    def write(self, subset: Subset, out: Path) -> None:
        """Write the configuration with paths into the selection, its tables and its caption files.

        Entries without a selected clip are left out. Those of images stay, with absolute paths. Every cache is a new
        one, beside the selection: musubi-tuner trains on all latents that it finds in a cache, also those of clips that were not selected.
        """
        source = subset.dataset.source
        if source is None:
            raise DatasetError(f"the dataset names no configuration for format {self.name}; read it again")
        config, guard = load_config(source), PathGuard.of(source.parent, subset.dataset.options)
        selected, general = Selected(subset, guard, out), _general(config)
        writer = _Writer(selected, out, guard, source.name)
        entries: list[Mapping[str, Any] | None] = []
        for entry in config["datasets"]:
            is_video = any(key in entry for key in _VIDEOS)
            entries.append(writer.entry(general, entry) if is_video else at_home(entry, _IMAGE_PATHS, guard))
        selected.check(source)
        save_config(out / source.name, {**config, "datasets": [entry for entry in entries if entry is not None]})


def _general(config: Mapping[str, Any]) -> Mapping[str, Any]:
    general = config.get("general", {})
    return general if isinstance(general, dict) else {}


def _unknown_keys(name: str, table: Mapping[str, Any], known: frozenset[str]) -> Iterator[Unread]:
    for key in table:
        if key not in known:
            yield Unread(f"{name}.{key}", "musubi-tuner does not know the key here, and refuses the file")


def _part(name: str, general: Mapping[str, Any], entry: Mapping[str, Any]) -> Part:
    """What an entry says about shapes; musubi-tuner's own defaults where it says nothing.

    It gives videos the bucket of the nearest aspect ratio whatever ``enable_bucket`` says.
    """
    settings = {**{key: value for key, value in general.items() if key in GENERAL_KEYS}, **entry}
    shape = size(settings.get("resolution", [960, 544]))
    whole = settings.get("frame_extraction") == "full"
    frames = integers(settings.get("max_frames", 129) if whole else settings.get("target_frames", [1]))
    return Part(
        name=f"{name} {next((entry[key] for key in _VIDEOS if key in entry), '')}",
        frames=frames,
        whole_clips=whole,
        sizes=() if shape is None else (shape,),
        keeps_aspect=True,
        source_fps=number(settings.get("source_fps")),
        repeats=number(settings.get("num_repeats"), 1) or 1,
        settings=settings,
    )


def _entry_rows(guard: PathGuard, name: str, entry: Mapping[str, Any], part: int) -> Iterator[Row | Unread]:
    """The clips of one entry; of two sources the folder counts, as in musubi-tuner."""
    key = next(key for key in _VIDEOS if key in entry)
    written, label = entry[key], f"{name} {entry[key]}"
    try:
        if not isinstance(written, str):
            raise ClipError("bad_row", f"{key} is {type(written).__name__}, not text")
        if key == "video_jsonl_file":
            yield from _table_rows(guard.file(guard.relative(written)), part)
            return
        folder = guard.folder(written)
    except ClipError as error:
        yield refused(label, written, error, part)
        return
    listing, end = list_folder(folder, VIDEO_SUFFIXES, enter=False), _caption_end(entry)
    if end is None and listing.videos:
        yield Unread(f"captions of {label}", "caption_extension is not set, without which musubi-tuner reads none")
    yield from folder_rows(guard, folder, listing.videos, end, part)
    yield from listing.unread(label, "musubi-tuner")


def _caption_end(entry: Mapping[str, Any]) -> str | None:
    end = entry.get("caption_extension")
    return end if isinstance(end, str) and end and not {"/", "\\", "\0"} & set(end) else None


def _table_rows(table: Path, part: int) -> Iterator[Row]:
    yield from (replace(row, part=part) for _, row in _numbered(table))


def _numbered(table: Path) -> Iterator[tuple[int, Row]]:
    """(number, row) of a table of clips."""
    if table.suffix.lower() != ".jsonl":
        raise ClipError("bad_path", f"{table.name!r} must end in .jsonl")
    for row in read_rows(table):
        yield row.number, _TABLE.row_of(row, table.name)


class _Table(TableFormat):
    """A table that an entry names; no format by itself."""

    path_columns = ("video_path",)
    caption_columns = ("caption",)
    suffixes = (".jsonl",)


_TABLE = _Table()


class _Writer:
    """The entries of a configuration as they are in a selection."""

    def __init__(self, selected: Selected, out: Path, guard: PathGuard, name: str) -> None:
        self._selected, self._out, self._guard = selected, out, guard
        self._tables: dict[Path, str] = {}
        self._taken = {name, *METADATA_NAMES}
        self._caches = 0

    def entry(self, general: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any] | None:
        """The entry with paths of the selection; None if it holds no selected clip."""
        key = next(key for key in _VIDEOS if key in entry)
        try:
            written = self._table(entry[key]) if key == "video_jsonl_file" else self._folder(entry[key], general, entry)
        except (ClipError, TypeError):  # such an entry gave no clips either
            return None
        if written is None:
            return None
        self._caches += 1
        changed = {**at_home(entry, ("control_directory",), self._guard), key: self._selected.final(written)}
        return {**changed, "cache_directory": f"{self._selected.final('')}-cache/{self._caches}"}

    def _folder(self, written: str, general: Mapping[str, Any], entry: Mapping[str, Any]) -> str | None:
        folder, end = self._guard.folder(written), _caption_end({**general, **entry})
        listing = list_folder(folder, VIDEO_SUFFIXES, enter=False)
        kept = self._selected.of(folder_rows(self._guard, folder, listing.videos, end, 0))
        for clip_id, row in kept.items():
            copy_caption(Path(str(row.media)), self._out / self._selected.file(clip_id), end)
        return self._selected.folder(folder) if kept else None

    def _table(self, written: str) -> str | None:
        table = self._guard.file(self._guard.relative(written))
        if table not in self._tables:
            numbers: dict[str, int] = {}
            for row_number, row in _numbered(table):
                for clip_id in self._selected.of([row]):
                    numbers.setdefault(clip_id, row_number)
            if not numbers:
                return None
            self._tables[table] = name = self._free(table)
            ids = self._selected.in_order(numbers)
            copy_rows(table, self._out / name, [numbers[i] for i in ids], Mapped(ids, self._cells))
        return self._tables[table]

    def _cells(self, clip_id: str) -> dict[str, Any]:
        file = self._selected.final(self._selected.file(clip_id))
        return {"video_path": file, **self._selected.scores(clip_id)}

    def _free(self, table: Path) -> str:
        """A name for a table that no other file of the selection has."""
        stems = (table.stem, *(f"{table.stem}_{count}" for count in range(2, len(self._tables) + 4)))
        name = next(f"{stem}.jsonl" for stem in stems if f"{stem}.jsonl" not in self._taken)
        self._taken.add(name)
        return name
