"""ai-toolkit's job configuration: a YAML or JSON file whose processes list folders of clips.

Read in toolkit/config.py, toolkit/config_modules.py, toolkit/data_loader.py, toolkit/dataloader_mixins.py and
config/examples of ostris/ai-toolkit 0.12.26 (commit 27a03a9, 2026-08-21).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    read_object,
    refused,
    save_config,
)
from motive.data.formats.listing import Listing, caption_in, copy_caption, list_folder
from motive.data.formats.reader import Detection, Row, Subset
from motive.data.formats.tables import cell_text
from motive.data.paths import PathGuard, is_clean, printable
from motive.errors import ClipError, DatasetError
from motive.publish import published

VIDEO_SUFFIXES = frozenset({".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".webm", ".wmv"})
_SOURCES = ("dataset_path", "folder_path")
_HOME_PATHS = (
    "clip_image_path", "control_path", "control_path_1", "control_path_2", "control_path_3", "inpaint_path",
    "mask_path", "unconditional_path",
)  # fmt: skip
_CONTROLS = "_controls"


class AiToolkit(ConfigFormat):
    """Every video in the folders that a job's ``datasets`` list, and in their subfolders.

    A caption is that of the text file of the video's name, or ``default_caption``, with the trigger word as ai-toolkit
    puts it in. Entries with ``num_frames`` 1, which is the default, are of images.
    """

    name = "ai-toolkit"
    priority = 8
    suffixes = (".yaml", ".yml", ".json")
    called = "a job configuration of ai-toolkit"

    def owns(self, config: Mapping[str, Any]) -> bool:
        return any(isinstance(entry.get(key), str) for _, _, entry in _entries(config) for key in _SOURCES)

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread | Part]:
        part = -1
        for name, process, entry in _entries(load_config(found.source or found.path)):
            label = f"{name} {_written(entry)}"
            if not _of_videos(entry):
                yield Unread(label, "num_frames is 1, so ai-toolkit reads its images only")
                continue
            part += 1
            yield _part(label, entry)
            try:
                source = _Source.of(guard, process, entry)
            except ClipError as error:
                yield refused(label, _written(entry), error, part)
                continue
            yield from source.rows(guard, part)
            if source.listing is not None:
                yield from source.listing.unread(label, "ai-toolkit")

    def write(self, subset: Subset, out: Path) -> None:
        """Write the configuration with paths into the selection, and the captions of its clips.

        Entries without a selected clip are left out. Those of images, masks and control clips stay, with absolute
        paths.
        """
        source = subset.dataset.source
        if source is None:
            raise DatasetError(f"the dataset names no configuration for format {self.name}; read it again")
        config, guard = load_config(source), PathGuard.of(source.parent, subset.dataset.options)
        selected, tables = Selected(subset, guard, out), 0
        kept: dict[str, list[Mapping[str, Any]]] = {}
        for name, process, entry in _entries(config):
            entries = kept.setdefault(name.partition(".")[0], [])
            if not _of_videos(entry):
                entries.append(at_home(entry, (*_SOURCES, *_HOME_PATHS), guard))
                continue
            try:
                given = _Source.of(guard, process, entry)
            except ClipError:  # it gave no clips either
                continue
            rows = selected.of(given.rows(guard, 0))
            if rows:
                tables += given.folder is None
                place = given.place(rows, selected, guard, out, f"captions_{tables}.json")
                plain = {key: value for key, value in entry.items() if key not in _SOURCES}
                entries.append({**place, **at_home(plain, _HOME_PATHS, guard)})
        selected.check(source)
        processes = config["config"]["process"]
        changed = [
            {**process, "datasets": kept[f"process[{index}]"]} if f"process[{index}]" in kept else process
            for index, process in enumerate(processes)
        ]
        save_config(out / source.name, {**config, "config": {**config["config"], "process": changed}})


def _entries(config: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """(name, process, entry) of every dataset, with the job's name put in for ``[name]``."""
    job = config.get("config")
    processes = job.get("process") if isinstance(job, dict) else None
    name = job.get("name") if isinstance(job, dict) else None
    found = []
    for outer, process in enumerate(processes if isinstance(processes, list) else []):
        listed = process.get("datasets") if isinstance(process, dict) else None
        for inner, entry in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(entry, dict):
                found.append((f"process[{outer}].datasets[{inner}]", process, _with_name(entry, name)))
    return found


def _with_name(value: Any, name: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_name(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_name(item, name) for item in value]
    return value.replace("[name]", name) if isinstance(value, str) and isinstance(name, str) else value


def _written(entry: Mapping[str, Any]) -> str:
    """The path of an entry as it is written; ``dataset_path`` counts before ``folder_path``."""
    return next((str(entry[key]) for key in _SOURCES if entry.get(key) is not None), "")


def _of_videos(entry: Mapping[str, Any]) -> bool:
    frames = entry.get("num_frames", 1)
    return entry.get("auto_frame_count") is True or (type(frames) is int and frames > 1)


def _part(name: str, entry: Mapping[str, Any]) -> Part:
    whole = entry.get("auto_frame_count") is True
    at_rate = whole or entry.get("shrink_video_to_frames", True) is False
    return Part(
        name=name,
        frames=() if whole else integers(entry.get("num_frames", 1)),
        whole_clips=whole,
        sizes=tuple((side, side) for side in integers(entry.get("resolution", 512))),
        keeps_aspect=entry.get("buckets", True) is not False,
        fps=number(entry.get("fps", 24)) if at_rate else None,
        repeats=number(entry.get("num_repeats"), 1) or 1,
        settings=entry,
    )


@dataclass(frozen=True)
class _Source:
    """The clips of one entry: a folder, or a JSON object of paths and captions.

    Attributes:
        folder: absolute; None for an object.
        listing: what the folder holds.
        table: path -> what the object says of it.
        entry: the entry.
        trigger: word that ai-toolkit puts into captions.
    """

    folder: Path | None
    listing: Listing | None
    table: Mapping[str, Any]
    entry: Mapping[str, Any]
    trigger: str

    @classmethod
    def of(cls, guard: PathGuard, process: Mapping[str, Any], entry: Mapping[str, Any]) -> _Source:
        written = next((entry[key] for key in _SOURCES if entry.get(key) is not None), None)
        if not isinstance(written, str):
            raise ClipError("bad_row", f"its path is {type(written).__name__}, not text")
        if "${" in written:
            raise ClipError("bad_path", f"{written!r} holds a variable of ai-toolkit's environment; write the path out")
        trigger = entry.get("trigger_word") or process.get("trigger_word")
        trigger = trigger if isinstance(trigger, str) else ""
        if written.lower().endswith(".json"):
            table = guard.file(guard.relative(written))
            return cls(None, None, read_object(table), entry, trigger)
        folder = guard.folder(written)
        listing = list_folder(folder, VIDEO_SUFFIXES, enter=True, follow_links=guard.follow_links)
        listing.videos = [name for name in listing.videos if os.path.basename(os.path.dirname(name)) != _CONTROLS]
        return cls(folder, listing, {}, entry, trigger)

    def rows(self, guard: PathGuard, part: int) -> Iterator[Row]:
        for name in self.table if self.listing is None else self.listing.videos:
            media = name if self.folder is None else os.path.join(self.folder, name)
            caption, problem, columns = None, None, {}
            facts = self.table.get(name, {})
            if not isinstance(facts, dict) or not all(is_clean(cell_text(value)) for value in facts.values()):
                problem = (
                    "bad_row",
                    f"{printable(name)!r} has {type(facts).__name__} instead of an object of clean text",
                )
            else:
                columns = {key: cell_text(value) for key, value in facts.items()}
                try:
                    caption = self._caption(guard, media, facts)
                except ClipError as error:
                    problem = (error.reason, error.detail)
            yield Row(media, printable(name), caption, columns, problem=problem, part=part)

    def _caption(self, guard: PathGuard, media: str, facts: Mapping[str, Any]) -> str | None:
        """The caption that ai-toolkit trains on."""
        key = "caption_short" if self.entry.get("use_short_captions") and "caption_short" in facts else "caption"
        text = facts.get(key)
        if text is None or "caption" not in facts:
            video = media if self.folder is not None else str(guard.file(guard.relative(media)))
            text = caption_in(guard, os.path.splitext(video)[0] + self.caption_end)
            text = text if text and text.strip() else self.entry.get("default_caption")
        text = text if isinstance(text, str) else ""
        for mark in ("[name]", "[trigger]"):
            text = text.replace(mark, self.trigger)
        if self.trigger.strip() and self.trigger not in text and self.entry.get("is_reg") is not True:
            text = f"{self.trigger} {text}"
        return text.strip() or None

    @property
    def caption_end(self) -> str:
        end = self.entry.get("caption_type") or self.entry.get("caption_ext", ".txt")
        end = end if isinstance(end, str) and end and not {"/", "\\", "\0"} & set(end) else ".txt"
        return end if end.startswith(".") else f".{end}"

    def place(
        self, rows: Mapping[str, Row], selected: Selected, guard: PathGuard, out: Path, table: str
    ) -> dict[str, Any]:
        """Write the captions of selected rows; returns the keys that name their place in the selection."""
        for clip_id, row in rows.items():
            video = guard.file(guard.relative(str(row.media)))
            copy_caption(video, out / selected.file(clip_id), self.caption_end)
        if self.folder is not None:
            return {"folder_path": selected.final(selected.folder(self.folder))}
        texts = {selected.final(selected.file(clip_id)): self.table[str(row.media)] for clip_id, row in rows.items()}
        with published(out / table) as temporary, open(temporary, "x", encoding="utf-8") as file:
            json.dump(texts, file, ensure_ascii=False, indent=1)
        return {"dataset_path": selected.final(table)}
