"""Rates, lengths and sizes of a dataset's clips, from its columns or from the files, and their distribution."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.data.base import Clip

_FPS = ("fps", "frame_rate", "framerate", "framerate_source")
_FRAMES = ("num_frames", "frames", "frame", "frame_count", "n_frames")
_SECONDS = ("seconds", "duration", "duration_sec", "duration_s", "duration_seconds", "duration_span")
_HEIGHT = ("height", "height_source")
_WIDTH = ("width", "width_source")
_RESOLUTION = "resolution"

_COMMON = 5
_RATIOS = ((16, 9), (9, 16), (4, 3), (3, 4), (1, 1), (3, 2), (2, 3), (21, 9), (9, 21), (5, 4), (4, 5), (2, 1), (1, 2))
_CLOSE = 0.02

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """One clip's rate, length and size; NaN for what is not known.

    Attributes:
        fps: frames a second.
        seconds: length.
        height, width: pixels as displayed; a clip with oblong pixels has a fractional width.
    """

    fps: float = math.nan
    seconds: float = math.nan
    height: float = math.nan
    width: float = math.nan


UNKNOWN = Shape()


@dataclass(frozen=True)
class Shapes:
    """The same of all clips: [clips] float64 each, NaN for what is not known."""

    fps: Numbers
    seconds: Numbers
    height: Numbers
    width: Numbers

    @classmethod
    def of(cls, shapes: Sequence[Shape]) -> Shapes:
        """Of each clip in order."""
        values = np.array([(s.fps, s.seconds, s.height, s.width) for s in shapes], np.float64).reshape(-1, 4)
        return cls(*(np.ascontiguousarray(column) for column in values.T))

    def without(self, places: Iterable[int]) -> Shapes:
        """The same with nothing known of some clips."""
        left_out = np.isin(np.arange(len(self.fps)), list(places))
        return Shapes(*(np.where(left_out, np.nan, column) for column in self._columns))

    def only(self, chosen: NDArray[np.bool_]) -> Shapes:
        """Some of the clips."""
        return Shapes(*(column[chosen] for column in self._columns))

    def filled(self, other: Shapes) -> Shapes:
        """These, and the other's where these are not known."""
        pairs = zip(self._columns, other._columns, strict=True)
        return Shapes(*(np.where(np.isnan(mine), theirs, mine) for mine, theirs in pairs))

    def differs(self, other: Shapes) -> NDArray[np.bool_]:
        """[clips]: both are known and the size differs, or rate or length by more than 2 % (length by 0.1 s at least)."""
        size = (np.abs(self.height - other.height) > 1) | (np.abs(self.width - other.width) > 1)
        rate = np.abs(self.fps - other.fps) > _CLOSE * self.fps
        length = np.abs(self.seconds - other.seconds) > np.maximum(_CLOSE * self.seconds, 0.1)
        return size | rate | length

    @property
    def _columns(self) -> tuple[Numbers, ...]:
        return self.fps, self.seconds, self.height, self.width


def from_columns(clips: Sequence[Clip]) -> Shapes:
    """What a dataset's table says of its clips; columns that are no positive numbers say nothing."""
    return Shapes.of([_of_columns(clip.columns) for clip in clips])


def _of_columns(columns: Mapping[str, str]) -> Shape:
    if not columns:
        return UNKNOWN
    fps, frames = _first(columns, _FPS), _first(columns, _FRAMES)
    seconds = _first(columns, _SECONDS)
    if math.isnan(seconds) and fps > 0:
        seconds = frames / fps
    height, width = _first(columns, _HEIGHT), _first(columns, _WIDTH)
    if math.isnan(height) and _RESOLUTION in columns:
        height, width = _resolution(columns[_RESOLUTION])
    return Shape(fps, seconds, height, width)


def _first(columns: Mapping[str, str], names: Sequence[str]) -> float:
    for name in names:
        if name in columns:
            value = _number(columns[name])
            if value > 0:
                return value
    return math.nan


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = _span(text)
    return value if math.isfinite(value) else math.nan


def _span(text: str) -> float:
    """Seconds of a span that is written as [start, end]."""
    value = _json(text)
    if isinstance(value, list) and len(value) == 2 and all(type(item) in (int, float) for item in value):
        return float(value[1] - value[0])
    return math.nan


def _resolution(text: str) -> tuple[float, float]:
    """(height, width) of ``{"height": ..., "width": ...}`` or of WIDTHxHEIGHT; a number of pixels says neither."""
    value = _json(text)
    if isinstance(value, dict):
        return _number(str(value.get("height"))), _number(str(value.get("width")))
    width, cross, height = text.lower().partition("x")
    return (_number(height), _number(width)) if cross else (math.nan, math.nan)


def _json(text: str) -> Any:
    if not text.startswith(("[", "{")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Spread:
    """Distribution of a number over the clips that it is known of.

    Attributes:
        known: clips.
        least, low, median, high, most: smallest value, percentiles 5, 50 and 95, largest value; None for no clip.
        common: the most frequent values as text -> clips, the most frequent first.
        kinds: number of distinct values.
    """

    known: int
    least: float | None
    low: float | None
    median: float | None
    high: float | None
    most: float | None
    common: Mapping[str, int]
    kinds: int

    @classmethod
    def of(cls, values: Numbers, text: Callable[[float], str]) -> Spread:
        """Of [clips] values, NaN where they are not known."""
        known = values[~np.isnan(values)]
        counts = Counter(text(value) for value in known.tolist())
        common, kinds = _most_common(counts)
        if not known.size:
            return cls(0, None, None, None, None, None, {}, 0)
        five = np.percentile(known, (0, 5, 50, 95, 100), method="nearest").tolist()
        return cls(int(known.size), *five, common=common, kinds=kinds)


def _most_common(counts: Counter[str]) -> tuple[dict[str, int], int]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ordered[:_COMMON]), len(counts)


@dataclass(frozen=True)
class Sizes:
    """Sizes and aspect ratios of the clips that they are known of.

    Attributes:
        known: clips.
        common: WIDTHxHEIGHT -> clips, the most frequent first; at most five.
        kinds: number of distinct sizes.
        ratios: width to height -> clips, the same; a ratio within 2 % of a common one counts as that.
        ratio_kinds: number of distinct ratios.
    """

    known: int
    common: Mapping[str, int]
    kinds: int
    ratios: Mapping[str, int]
    ratio_kinds: int

    @classmethod
    def of(cls, shapes: Shapes) -> Sizes:
        """Of all clips."""
        known = ~(np.isnan(shapes.height) | np.isnan(shapes.width))
        pairs = list(zip(shapes.width[known].tolist(), shapes.height[known].tolist(), strict=True))
        counted = Counter(pairs)
        sizes: Counter[str] = Counter()
        ratios: Counter[str] = Counter()
        for (width, height), clips in counted.items():
            sizes[f"{width:.0f}x{height:.0f}"] += clips
            ratios[ratio_name(width / height)] += clips
        return cls(len(pairs), *_most_common(sizes), *_most_common(ratios))


def ratio_name(ratio: float) -> str:
    """``16:9`` for a ratio within 2 % of it, ``1.41:1`` for one near none of the common ones."""
    wide, high = min(_RATIOS, key=lambda pair: abs(math.log(ratio * pair[1] / pair[0])))
    return f"{wide}:{high}" if abs(math.log(ratio * high / wide)) <= _CLOSE else f"{ratio:.2f}:1"
