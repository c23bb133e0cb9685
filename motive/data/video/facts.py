"""Facts that decoding finds out about a clip's file, and the notes made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

PIXEL_RULES = 2
"""Version of the rules that turn a file into pixels (docs/formats/datasets.md, "Pixels and time stamps"). It is part of
a store's identity and of the cache's keys, so it is raised whenever a rule changes a pixel."""

NOTES: Mapping[str, str] = {
    "streams": "hold several video streams; one was taken",
    "aspect": "state a sample aspect ratio that is not believable; pixels count as square",
    "rotation": "state a rotation that is not a multiple of 90 degrees; frames stay as stored",
    "deinterlaced": "are interlaced and were deinterlaced",
    "combed": "look interlaced and are not flagged so; nothing was done",
    "alpha": "have transparent pixels, composited on black",
    "hdr": "are HDR (PQ or HLG); no tone mapping was applied",
    "dolby_vision": "carry Dolby Vision metadata, which was not applied; the colours of profile 5 are wrong without it",
    "time_stamps": "have time stamps that jump back",
    "frame_size": "change their frame size midway",
}
"""Kind of note -> what is true of the clips that have one."""

MAX_NOTES = 32
_MAX_TEXT = 500


@dataclass(frozen=True)
class SourceFacts:
    """The file behind a clip, and which part of it the clip shows.

    Attributes:
        source_fps, source_frames, source_seconds: of the video stream; counted where decoding reached its
            end, otherwise as the header has them.
        source_height, source_width: pixels as stored, after rotation.
        sample_aspect: width to height of a pixel after rotation, ``16:11``; ``1:1`` for square ones.
        source_stream: index of the video stream in the file.
        deinterlaced: ``top first`` | ``bottom first`` (as measured) | ``by flags`` (nothing moved) | empty for no.
        alpha: transparent pixels were composited on black.
        hdr: ``pq`` | ``hlg`` | empty for neither.
        used_first, used_last: number of the first and the last source frame shown, from 0.
        used_start_s, used_end_s: when the first one appears and when the last one leaves, in seconds from the
            first frame of the file.
        notes: (kind, text) of what a person should know; kinds are those of NOTES.
    """

    source_fps: float
    source_frames: int
    source_seconds: float
    source_height: int
    source_width: int
    sample_aspect: str = "1:1"
    source_stream: int = 0
    deinterlaced: str = ""
    alpha: bool = False
    hdr: str = ""
    used_first: int = 0
    used_last: int = 0
    used_start_s: float = 0.0
    used_end_s: float = 0.0
    notes: tuple[tuple[str, str], ...] = ()

    def source_facts(self) -> dict[str, Any]:
        """The facts as JSON-able values, by name."""
        return {name: getattr(self, name) for name in FACT_NAMES}

    def columns(self) -> dict[str, Any]:
        """The facts as a store's index has them: notes are JSON text."""
        return {**self.source_facts(), "notes": json.dumps(self.notes, ensure_ascii=False)}


FACT_NAMES = tuple(field.name for field in fields(SourceFacts))

_KINDS: Mapping[str, tuple[type, ...]] = {
    "float": (float, int),
    "int": (int,),
    "str": (str,),
    "bool": (bool,),
}


def checked_facts(data: Any) -> dict[str, Any]:
    """Facts that another process sent, by name.

    Raises:
        ValueError: a field is missing or of another type.
    """
    found: dict[str, Any] = {}
    for field in fields(SourceFacts):
        value = data[field.name]
        if field.name == "notes":
            found["notes"] = read_notes(value)
            continue
        if type(value) not in _KINDS[str(field.type)]:
            raise ValueError(f"{field.name} is a {type(value).__name__}")
        found[field.name] = value[:_MAX_TEXT] if isinstance(value, str) else value
    return found


def read_notes(value: Any) -> tuple[tuple[str, str], ...]:
    """Notes from JSON values or from the text of a store's column.

    Raises:
        ValueError: they have another form.
    """
    listed = json.loads(value or "[]") if isinstance(value, (str, type(None))) else value
    if not isinstance(listed, (list, tuple)) or len(listed) > MAX_NOTES:
        raise ValueError("notes are not a short list")
    notes = []
    for item in listed:
        if not isinstance(item, (list, tuple)) or len(item) != 2 or not all(isinstance(text, str) for text in item):
            raise ValueError("a note is not a kind and a text")
        notes.append((item[0][:_MAX_TEXT], item[1][:_MAX_TEXT]))
    return tuple(notes)


def describe_use(row: Mapping[str, Any], fps: float) -> str:
    """Which part of the file a clip shows, in one line.

    For example ``frames 0-112 of 240 at 29.97 fps, 3.77 s, resampled to 16 fps; 160x96 px of 16:11; stream 1``.

    Args:
        row: facts by name, as SourceFacts or a store's index have them.
        fps: of the clip spec.

    Returns:
        The line; empty for a row of a store that does not record these facts.
    """
    if row.get("used_last") is None or row.get("source_frames") is None:
        return ""
    seconds = float(row["used_end_s"]) - float(row["used_start_s"])
    start = f" from {row['used_start_s']:.2f} s" if row["used_start_s"] > 0 else ""
    parts = [
        f"frames {row['used_first']}-{row['used_last']} of {row['source_frames']} at {row['source_fps']:.4g} fps, "
        f"{seconds:.2f} s{start}, resampled to {fps:g} fps"
    ]
    size = f"{row['source_width']}x{row['source_height']} px"
    parts.append(size if row["sample_aspect"] == "1:1" else f"{size} of {row['sample_aspect']}")
    parts.append(f"stream {row['source_stream']}")
    if row["deinterlaced"]:
        parts.append(f"deinterlaced ({row['deinterlaced']})")
    if row["alpha"]:
        parts.append("alpha on black")
    if row["hdr"]:
        parts.append(f"HDR ({str(row['hdr']).upper()})")
    return "; ".join(parts)


NoteCounts = Mapping[str, tuple[int, str]]
"""Kind of note -> (clips that have one, the text of the first)."""


def count_notes(into: dict[str, tuple[int, str]], more: NoteCounts) -> None:
    """Add counts to counts; the first text stays."""
    for kind, (clips, text) in more.items():
        before, example = into.get(kind, (0, text))
        into[kind] = (before + clips, example)


def counts_of(notes: tuple[tuple[str, str], ...]) -> NoteCounts:
    """The counts of one clip: each kind once."""
    return {kind: (1, text) for kind, text in reversed(notes)}


def notes_lines(counts: NoteCounts) -> list[str]:
    """The notes of a run for people, one line a kind; a note that only one clip has is shown as it is."""
    lines = []
    for kind, (clips, example) in sorted(counts.items()):
        lines.append(example if clips == 1 else f"{clips} clips {NOTES.get(kind, kind)} (for example: {example})")
    return lines
