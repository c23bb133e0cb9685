"""Captions of a dataset: those that are missing, those without text, and those that several clips share."""

from __future__ import annotations

from collections.abc import Sequence

from motive.data.base import Clip
from motive.data.check.duplicates import Groups, groups_of


def missing(clips: Sequence[Clip]) -> list[int]:
    """Clips for which the dataset has no caption."""
    return [at for at, clip in enumerate(clips) if not clip.caption.strip() and not clip.blank_caption]


def empty(clips: Sequence[Clip]) -> list[int]:
    """Clips whose caption has no text. An empty cell of a CSV is such a caption, since a CSV has no null."""
    return [at for at, clip in enumerate(clips) if not clip.caption.strip() and clip.blank_caption]


def shared(clips: Sequence[Clip]) -> Groups:
    """Clips with one caption, whatever its spaces and its case; the largest groups first."""
    found = groups_of(range(len(clips)), lambda at: " ".join(clips[at].caption.split()).casefold() or None)
    return sorted(found, key=lambda group: (-len(group), group))
