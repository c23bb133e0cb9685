"""Summary of an index run: what it stored and what it left out, as text and as summary.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motive.config import to_json
from motive.data import Failure, Part, Unread
from motive.data.video.facts import NoteCounts, notes_lines
from motive.data.video.use import Use, use_lines
from motive.result import Result


@dataclass(frozen=True)
class IndexSummary(Result):
    """What an index run did.

    Attributes:
        store: its folder or address.
        stored: clips added by this run.
        already: clips that the store held before.
        failed: clips left out by this run, each in failed.parquet with its reason.
        reasons: reason -> clips, of all that the store lists as left out.
        examples: reason -> the sentence of one of those clips.
        rows: clips that the dataset names, those left out included.
        without_caption: clips of the dataset that were read and have no caption.
        unread: what lies in the dataset and was not read.
        notes: kind (motive.data.video.facts.NOTES) -> (clips stored by this run with such a note about their file, the
            text of the first).
        parts: entries of the trainer's configuration that was read, with the clip shapes they train on.
        weight_notes: what the model's weights lost by the way they are stored.
        used: size, WIDTHxHEIGHTxFRAMES -> how much of their files the clips stored by this run with that size show.
        buckets: whether clips have buckets.
        read_as: the dataset's format, and the file or folder it was read from.
    """

    store: Path | str
    stored: int
    already: int
    failed: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    without_caption: int = 0
    unread: Sequence[Unread] = ()
    notes: NoteCounts = field(default_factory=dict)
    parts: Sequence[Part] = ()
    weight_notes: Sequence[str] = ()
    used: Mapping[str, Use] = field(default_factory=dict)
    buckets: bool = False
    read_as: str = ""

    @property
    def lost(self) -> int:
        """Clips that the store lists as left out."""
        return sum(self.reasons.values())

    def lines(self) -> list[str]:
        """The run for a person: what was stored first, then all that was lost and why."""
        lines = [f"{self.store}: {self.stored} clips stored, {self.already} were there, {self.failed} left out"]
        if self.lost:
            share = f" ({self.lost / self.rows:.1%})" if self.rows else ""
            lines.append(
                f"left out: {self.lost} of {self.rows} clips{share}; {self.store}/failed.parquet has each reason"
            )
            lines += reason_lines(self.reasons, self.examples)
        lines += use_lines(self.used, self.buckets, self.reasons.get("too_short", 0), self.rows)
        lines += [f"dataset: {self.read_as}"] if self.read_as else []
        lines += dataset_lines(self.rows, self.without_caption, self.unread, self.parts)
        return lines + notes_lines(self.notes) + list(self.weight_notes)


def facts(done: IndexSummary) -> dict[str, Any]:
    """What summary.json says of what was lost."""
    return {
        "failures": dict(done.reasons),
        "rows": done.rows,
        "lost_share": done.lost / done.rows if done.rows else 0.0,
        "without_caption": done.without_caption,
        "unread": to_json(done.unread),
        "parts": to_json(done.parts),
        "weight_notes": list(done.weight_notes),
        "read_as": done.read_as,
    }


def reason_lines(reasons: Mapping[str, int], examples: Mapping[str, str]) -> list[str]:
    """A line for each reason that clips were left out for, the most frequent first, with one clip's sentence."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return [f"  {reason} {count}: {examples.get(reason, '')}" for reason, count in ordered]


def dataset_lines(rows: int, without_caption: int, unread: Sequence[Unread], parts: Sequence[Part] = ()) -> list[str]:
    """What is missing from a dataset although nothing failed, and the shapes that its trainer uses."""
    lines = [f"trainer's {part.line()}" for part in parts]
    lines += [f"no caption: {without_caption} of {rows} clips"] if without_caption else []
    return lines + [f"not read: {item.name}: {item.why}" for item in unread]


def tally(failures: Iterable[Failure]) -> tuple[dict[str, int], dict[str, str]]:
    """(reason -> clips, reason -> the sentence of the first of them)."""
    reasons: dict[str, int] = {}
    examples: dict[str, str] = {}
    for failure in failures:
        reasons[failure.reason] = reasons.get(failure.reason, 0) + 1
        examples.setdefault(failure.reason, failure.detail)
    return reasons, examples
