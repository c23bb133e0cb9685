"""Result of a check: the table of counts, findings with examples, and what a clip spec or buckets would leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from motive.data.base import Part, Unread
from motive.data.check.fit import BucketsFit, ClipSpecFit, share_text
from motive.data.check.shapes import Sizes, Spread
from motive.data.video.facts import NoteCounts, notes_lines
from motive.result import Result

Looked = Literal["table", "headers", "frames"]
EXAMPLES = 5
_MAX_TEXT = 160
_INDENT = 15


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was looked for, and how often it is there.

    Attributes:
        name: stable code, such as ``missing_caption``, ``missing_file``, ``same_bytes``; failures have their reason.
        title: the kind in words.
        count: clips, rows or files that it is true of.
        problem: it makes ``--strict`` fail where count is above 0.
        examples: five at most, in the order of the dataset.
        looked: whether the check looked for it at all.
    """

    name: str
    title: str
    count: int
    problem: bool
    examples: tuple[str, ...] = ()
    looked: bool = True


@dataclass(frozen=True)
class DatasetCheck(Result):
    """What a dataset holds, and what is wrong with it.

    Attributes:
        dataset: what was read.
        format: name of its format.
        table: the metadata file that was read; None where there is none.
        rows: clips that the dataset names.
        clips: rows whose file is there.
        bytes: of all clips, those of Parquet cells left out.
        looked: how far the check went: ``table`` (the table and the file system), ``headers``, ``frames``.
        opened: clips that were opened.
        fps, seconds: distribution over the clips.
        sizes: of pictures, and their aspect ratios.
        findings: everything that was looked for, in one order.
        clip_spec: what the clip spec would do to the clips; None with buckets.
        buckets: what the buckets would do; None with one clip spec.
        notes: kind -> (clips, the text of the first), of what decoding remarked.
        unread: what lies in the dataset and was not read.
        parts: entries of a trainer's configuration.
    """

    dataset: Path | str
    format: str
    table: Path | None
    rows: int
    clips: int
    bytes: int
    looked: Looked
    opened: int
    fps: Spread
    seconds: Spread
    sizes: Sizes
    findings: tuple[Finding, ...]
    clip_spec: ClipSpecFit | None = None
    buckets: BucketsFit | None = None
    notes: NoteCounts = field(default_factory=dict)
    unread: Sequence[Unread] = ()
    parts: Sequence[Part] = ()

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Findings for which ``--strict`` fails."""
        return tuple(finding for finding in self.findings if finding.problem and finding.count)

    def lines(self) -> list[str]:
        """The check for a person: the table, the findings with examples, and the problems by name."""
        name = f", {self.table.name}" if self.table is not None else ""
        lines = [
            f"dataset      {self.dataset}: {self.format}{name}",
            f"rows         {self.rows:,}: {self.clips:,} clips, {self.rows - self.clips:,} without a usable file; "
            f"{_bytes(self.bytes)}",
            f"looked at    {self._reach()}",
            f"fps          {_common(self.fps.common, self.fps.kinds, self.fps.known, self.clips)}",
            f"length       {self._length()}",
            f"size         {_common(self.sizes.common, self.sizes.kinds, self.sizes.known, self.clips)}",
            f"aspect ratio {_common(self.sizes.ratios, self.sizes.ratio_kinds, self.sizes.known, self.clips)}",
        ]
        for finding in self.findings:
            lines += _finding_lines(finding)
        lines += self._fit_lines()
        lines += [f"trainer's {part.line()}" for part in self.parts]
        lines += [f"note: {line}" for line in notes_lines(self.notes)]
        for item in self.unread:
            lines.append(f"not read: {item.name}: {item.why}")
            lines += _example_lines(item.examples if item.count > 1 else ())
        found = ", ".join(f"{finding.title} ({finding.count:,})" for finding in self.problems)
        return [*lines, f"problems: {found}" if found else "no problems found"]

    def _reach(self) -> str:
        if self.looked == "table":
            return "the table and the file system; no video was opened (--headers and --decode open each)"
        if self.looked == "headers":
            return f"headers and first frames of {self.opened:,} clips (--decode reads the frames too)"
        takes = "the clip spec takes" if self.buckets is None else "their buckets take"
        return f"the frames that {takes} of {self.opened:,} clips"

    def _length(self) -> str:
        spread = self.seconds
        if spread.median is None:
            return _UNKNOWN
        return (
            f"{spread.least:.4g} to {spread.most:.4g} s, median {spread.median:.4g} s, nine tenths between "
            f"{spread.low:.4g} and {spread.high:.4g} s{_partly(spread.known, self.clips)}"
        )

    def _fit_lines(self) -> list[str]:
        """The clip spec or the buckets, and what they do to the clips that can be read."""
        if self.clip_spec is not None:
            spec = self.clip_spec.clip_spec
            lines = [f"clip spec    {spec.fps:g} fps, {spec.frames} frames, {spec.width}x{spec.height}, fit {spec.fit}"]
            return lines + [f"{_UNDER}{line}" for line in self.clip_spec.lines()]
        if self.buckets is None:
            return []
        known = sum(each.clips for each in self.buckets.buckets)
        rules, count = self.buckets.rules, len(self.buckets.buckets)
        lines = [f"buckets      {rules.fps:g} fps, fit {rules.fit}, {count} bucket{'s' * (count != 1)}"]
        lines += [f"{_UNDER}{line}" for line in self.buckets.lines()]
        for each in self.buckets.buckets:
            lines.append(f"bucket       {each.bucket}: {share_text(each.clips, known) if each.clips else 'no clip'}")
            lines += [f"{_UNDER}{line}" for line in each.fit.bucket_lines()] if each.clips else []
        return lines


_UNDER = " " * 13
_UNKNOWN = "not known: no column gives it, and no video was opened"


def _finding_lines(finding: Finding) -> list[str]:
    if not finding.looked:
        return [f"{'-':>10}  {finding.title}"]
    return [f"{finding.count:>10,}  {finding.title}", *_example_lines(finding.examples)]


def _example_lines(examples: Sequence[str]) -> list[str]:
    return [f"{'':{_INDENT}}{example[:_MAX_TEXT]}" for example in examples]


def _common(common: Mapping[str, int], kinds: int, known: int, clips: int) -> str:
    if not known:
        return _UNKNOWN
    texts = [f"{text} ({count / known:.1%})" for text, count in common.items()]
    more = [f"{kinds - len(common)} more"] if kinds > len(common) else []
    return ", ".join(texts + more) + _partly(known, clips)


def _partly(known: int, clips: int) -> str:
    return "" if known == clips else f"; known of {known:,} of {clips:,} clips"


def _bytes(count: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
