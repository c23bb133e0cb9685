"""The check itself: from a dataset as it was read to the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from motive.data.base import Clip, Dataset
from motive.data.check import captions
from motive.data.check.duplicates import Groups, near_duplicates, same_bytes, same_path
from motive.data.check.files import Files, without_row
from motive.data.check.fit import buckets_fit_of, fit_of, short_clips
from motive.data.check.opened import Opened, Opener
from motive.data.check.result import EXAMPLES, DatasetCheck, Finding, Looked
from motive.data.check.shapes import Shapes, Sizes, Spread, from_columns
from motive.data.media import Media
from motive.data.video.buckets import ClipSpecs
from motive.data.video.facts import count_notes, counts_of
from motive.errors import ClipError

HEADERS_UP_TO = 2_000
"""Datasets of at most this many clips have their headers read without being asked for."""

_SHARED = 60


@dataclass(frozen=True)
class Look:
    """How far a check goes.

    Attributes:
        headers: read the header and first frame of each video; None for datasets of at most HEADERS_UP_TO clips.
        decode: decode the frames that indexing would take.
        threads: videos opened at the same time.
        on_opened: called after each video that was opened, with the number of clips in all.
    """

    headers: bool | None = None
    decode: bool = False
    threads: int = 2
    on_opened: Callable[[int], None] = field(default=lambda total: None)

    def depth(self, clips: int) -> Looked:
        """How far it goes for a number of clips."""
        if self.decode:
            return "frames"
        headers = clips <= HEADERS_UP_TO if self.headers is None else self.headers
        return "headers" if headers else "table"


def survey(dataset: Dataset, clip_specs: ClipSpecs, look: Look = Look()) -> DatasetCheck:
    """Check a dataset; a file that is bad is part of the result and never an error.

    Args:
        dataset: as read_dataset gave it.
        clip_specs: what indexing would bring clips to: one clip spec, or buckets.
        look: how far to go.
    """
    dataset = replace(dataset, clips=tuple(dataset.clips))  # they are gone over eight times, so they are made once
    clips, looked = dataset.clips, look.depth(len(dataset.clips))
    files = Files.of(clips)
    opened = _open(clips, files.media, clip_specs, look) if looked != "table" else []
    errors = files.errors | {at: item.error for at, item in enumerate(opened) if item.error is not None}
    stated = from_columns(clips)
    seen = Shapes.of([item.shape for item in opened]) if opened else stated
    shapes = seen.filled(stated).without(errors)
    notes: dict[str, tuple[int, str]] = {}
    for item in opened:
        count_notes(notes, counts_of(item.notes))
    findings = [
        *_row_findings(dataset),
        *_caption_findings(clips),
        *_duplicate_findings(clips, files, opened, looked),
        _without_row(dataset, files),
        *_unreadable(clips, errors, looked),
        _too_short(clips, shapes, clip_specs),
        _disagreement(clips, stated, seen, looked),
    ]
    return DatasetCheck(
        dataset=dataset.location,
        format=dataset.format,
        table=dataset.source,
        rows=dataset.rows,
        clips=len(clips),
        bytes=sum(files.sizes),
        looked=looked,
        opened=sum(item is not None for item in files.media) if opened else 0,
        fps=Spread.of(shapes.fps, lambda value: f"{value:.4g}"),
        seconds=Spread.of(shapes.seconds, lambda value: f"{value:.0f}"),
        sizes=Sizes.of(shapes),
        findings=tuple(findings),
        clip_spec=None if clip_specs.buckets else fit_of(shapes, clip_specs.base),
        buckets=buckets_fit_of(shapes, clip_specs) if clip_specs.buckets else None,
        notes=notes,
        unread=tuple(item for item in dataset.unread if not item.without_row),
        parts=dataset.parts,
    )


def _open(clips: Sequence[Clip], media: Sequence[Media | None], clip_specs: ClipSpecs, look: Look) -> list[Opened]:
    paths: list[Path | None] = [clip.path if item else None for clip, item in zip(clips, media, strict=True)]
    with Opener(clip_specs, look.decode, look.threads) as opener:
        return opener.open_all(paths, lambda: look.on_opened(len(clips)))


def _row_findings(dataset: Dataset) -> Iterator[Finding]:
    """Rows that name no usable file: by reason, missing files first and always."""
    reasons: dict[str, list[str]] = {"missing_file": []}
    for failure in dataset.failures:
        reasons.setdefault(failure.reason, []).append(f"{failure.clip_id}: {failure.detail}")
    for reason, found in reasons.items():
        title = _ROWS.get(reason, f"rows that cannot be used: {reason}")
        yield Finding(reason, title, len(found), True, tuple(found[:EXAMPLES]))


_ROWS = {"missing_file": "rows without a file", "duplicate_id": "rows that repeat an earlier row's id or file"}


def _caption_findings(clips: Sequence[Clip]) -> Iterator[Finding]:
    yield _listed("missing_caption", "clips without a caption", captions.missing(clips), clips)
    yield _listed("empty_caption", "clips whose caption is empty", captions.empty(clips), clips)
    groups = captions.shared(clips)
    shown = [f"{len(group):,} clips: {clips[group[0]].caption[:_SHARED]!r}" for group in groups[:EXAMPLES]]
    count = sum(map(len, groups))
    yield Finding("shared_caption", "clips whose caption another clip has too", count, False, tuple(shown))


def _listed(name: str, title: str, places: Sequence[int], clips: Sequence[Clip]) -> Finding:
    return Finding(name, title, len(places), True, tuple(clips[at].clip_id for at in places[:EXAMPLES]))


def _duplicate_findings(
    clips: Sequence[Clip], files: Files, opened: Sequence[Opened], looked: Looked
) -> Iterator[Finding]:
    """Clips beyond the first of each group of equal ones."""
    yield _grouped("same_file", "clips whose file another row names too", same_path(clips), clips)
    yield _grouped("same_bytes", "clips whose bytes another file has too", same_bytes(files), clips)
    title = "clips whose frames are nearly those of another one"
    if looked == "frames":
        yield _grouped("near_duplicate", title, near_duplicates([item.fingerprint for item in opened]), clips)
    else:
        yield Finding("near_duplicate", f"{title}: --decode looks for them", 0, True, looked=False)


def _grouped(name: str, title: str, groups: Groups, clips: Sequence[Clip]) -> Finding:
    shown = [" = ".join(clips[at].clip_id for at in group[:3]) + " = ..." * (len(group) > 3) for group in groups]
    return Finding(name, title, sum(map(len, groups)), True, tuple(shown[:EXAMPLES]))


def _without_row(dataset: Dataset, files: Files) -> Finding:
    title, listed = "videos that no row names", [item for item in dataset.unread if item.without_row]
    if listed:  # the format looked into archives too
        examples = tuple(name for item in listed for name in item.examples)
        return Finding("file_without_row", title, sum(item.count for item in listed), True, examples[:EXAMPLES])
    found = without_row(dataset, files.inodes)
    return Finding("file_without_row", title, len(found), True, tuple(found[:EXAMPLES]))


def _unreadable(clips: Sequence[Clip], errors: Mapping[int, ClipError], looked: Looked) -> Iterator[Finding]:
    """Clips whose file cannot be used: in all, and by reason."""
    reasons: dict[str, list[str]] = {}
    for at, error in sorted(errors.items()):
        reasons.setdefault(error.reason, []).append(f"{clips[at].clip_id}: {error.detail}")
    if not reasons:
        depth = {"table": "empty or not permitted", "headers": "by their headers", "frames": "by their frames"}[looked]
        yield Finding("unreadable", f"videos that cannot be read ({depth})", 0, True)
    for reason, found in sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0])):
        yield Finding(reason, f"videos that cannot be read: {reason}", len(found), True, tuple(found[:EXAMPLES]))


def _too_short(clips: Sequence[Clip], shapes: Shapes, clip_specs: ClipSpecs) -> Finding:
    """Clips that indexing leaves out for their length."""
    shortest = clip_specs.shortest
    drops = "every bucket drops" if clip_specs.buckets else "the clip spec drops"
    title = f"clips that {drops}, since they are too short"
    if shortest.short != "error":
        return Finding("too_short", title, 0, True)
    unknown = int(np.isnan(shapes.seconds).sum())
    if clips and unknown == len(clips):
        return Finding("too_short", f"{title}: --headers reads their lengths", 0, True, looked=False)
    if unknown:
        title += f" (the lengths of {unknown:,} are not known)"
    places = np.flatnonzero(short_clips(shapes.seconds, shortest)).tolist()
    shown = [f"{clips[at].clip_id}: {shapes.seconds[at]:.4g} s" for at in places[:EXAMPLES]]
    return Finding("too_short", title, len(places), True, tuple(shown))


def _disagreement(clips: Sequence[Clip], stated: Shapes, seen: Shapes, looked: Looked) -> Finding:
    title = "clips whose table gives another rate, length or size than their file"
    if looked == "table":
        return Finding("table_differs", f"{title}: --headers compares them", 0, False, looked=False)
    places = np.flatnonzero(stated.differs(seen)).tolist()
    shown = [
        f"{clips[at].clip_id}: {_shape_text(stated, at)} in the table, {_shape_text(seen, at)} in the file"
        for at in places[:EXAMPLES]
    ]
    return Finding("table_differs", title, len(places), False, tuple(shown))


def _shape_text(shapes: Shapes, at: int) -> str:
    """The numbers that are known of a clip."""
    size = f"{shapes.width[at]:.0f}x{shapes.height[at]:.0f}"
    texts = [f"{shapes.fps[at]:.4g} fps", f"{shapes.seconds[at]:.4g} s", size]
    return ", ".join(text for text in texts if "nan" not in text) or "nothing"
