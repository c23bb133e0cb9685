"""Geometry of the report's charts; the templates draw it as SVG in the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from motive.evaluate.result import EvaluationResult
from motive.reporting.tally import Tally, evenly
from motive.reporting.text import clean, compact, count, decimal, percent
from motive.scores.ranking import top_rows
from motive.scores.top import spearman

DOTS = 1200
"""Dots drawn in a scatter; more would neither be distinguishable nor load quickly."""


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in the chart's units."""

    at: float
    label: str


@dataclass(frozen=True)
class Bar:
    """A filled rectangle; ``kind`` is a class of the style sheet, ``note`` what a pointer shows."""

    x: float
    y: float
    width: float
    height: float
    kind: str = ""
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart with bars or dots inside a frame.

    Attributes:
        width, height: of the view box.
        left, right, top, bottom: edges of the frame inside it.
        summary: what the chart shows, for readers who cannot see it.
        x_label, y_label: axis titles.
        x_ticks, y_ticks: places on the axes.
        bars: rectangles.
        dots: (x, y, kind).
        marks: (x, label, anchor) vertical lines across the frame.
        caption: one sentence beneath.
    """

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    summary: str
    x_label: str = ""
    y_label: str = ""
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    bars: tuple[Bar, ...] = ()
    dots: tuple[tuple[float, float, str], ...] = ()
    marks: tuple[tuple[float, str, str], ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class Cell:
    """A square of a heat map: place, shade in [0, 1], what a pointer shows, and whether it is on the diagonal."""

    x: float
    y: float
    shade: float
    note: str
    own: bool


@dataclass(frozen=True)
class HeatMap:
    """A square heat map with numbered rows and columns."""

    size: float
    origin: float
    step: float
    names: tuple[str, ...]
    cells: tuple[Cell, ...]
    summary: str
    caption: str


@dataclass(frozen=True)
class PrecisionBar:
    """One method of the quality chart, in per cent of the chart's width."""

    name: str
    kind: str
    precision: float
    low: float
    high: float
    value: str
    text: str


@dataclass(frozen=True)
class PrecisionChart:
    """Precision@k of several methods with intervals and the chance level, on one scale."""

    bars: tuple[PrecisionBar, ...]
    chance: float
    summary: str
    ticks: tuple[Tick, ...] = field(default=())


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers inside [low, high], about ``wanted`` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, wanted - 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) + 0.0 for k in range(first, math.floor(high / step + 1e-9) + 1)]


def histogram(
    counts: NDArray[np.int64], low: float, high: float, threshold: float | None, name: str, rows: int
) -> Chart:
    """One query's scores as a histogram, the part that earns a vote in another colour."""
    width, height, left, right, top, bottom = 520.0, 190.0, 46.0, 508.0, 24.0, 148.0
    flat = not high > low
    if flat:
        middle = low if math.isfinite(low) else 0.0
        low, high = middle - 0.5, middle + 0.5
    edges = np.linspace(low, high, counts.size + 1).tolist()
    tallest = max(1, int(counts.max(initial=0)))

    def x_of(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    bars = []
    for index in np.flatnonzero(counts).tolist():
        tall = max(1.0, int(counts[index]) / tallest * (bottom - top))
        start, end = x_of(edges[index]), x_of(edges[index + 1])
        votes = threshold is not None and edges[index] + edges[index + 1] >= 2 * threshold
        note = f"{compact(edges[index])} to {compact(edges[index + 1])}: {count(int(counts[index]))} clips"
        bars.append(Bar(start + 0.5, bottom - tall, end - start - 1, tall, "on" if votes else "", note))
    marks: tuple[tuple[float, str, str], ...] = ()
    if threshold is not None and math.isfinite(threshold):
        place = min(max(x_of(threshold), left), right)
        marks = ((place, f"vote from {compact(threshold)}", "end" if place > (left + right) / 2 else "start"),)
    return Chart(
        width,
        height,
        left,
        right,
        top,
        bottom,
        summary=f"Histogram of {count(rows)} scores for query {name}, from {compact(low)} to {compact(high)}.",
        x_label="score",
        y_label="clips",
        x_ticks=tuple(Tick(x_of(value), compact(value)) for value in ticks(low, high, 6)),
        y_ticks=tuple(Tick(bottom - v / tallest * (bottom - top), count(int(v))) for v in _whole(tallest)),
        bars=tuple(bars),
        marks=marks,
    )


def votes_chart(tally: Tally, queries: int, caption: str) -> Chart:
    """Clips by number of votes, on a logarithmic scale: most clips have none."""
    width, height, left, right, top, bottom = 520.0, 260.0, 52.0, 508.0, 16.0, 212.0
    votes = tally.votes
    last = int(np.flatnonzero(votes)[-1]) if votes.any() else 0
    step = (right - left) / (last + 1)
    decades = max(1, math.ceil(math.log10(max(2, int(votes.max(initial=1))))))

    def y_of(value: float) -> float:
        # One clip must be visible, so the axis starts below one.
        return bottom - (math.log10(value) + 0.15) / (decades + 0.15) * (bottom - top)

    bars = tuple(
        Bar(
            left + number * step + step * 0.08,
            y_of(int(votes[number])),
            step * 0.84,
            bottom - y_of(int(votes[number])),
            "on" if number else "",
            f"{number} votes: {count(int(votes[number]))} clips",
        )
        for number in range(last + 1)
        if votes[number]
    )
    return Chart(
        width,
        height,
        left,
        right,
        top,
        bottom,
        summary=f"Histogram of votes: {count(int(votes[0]))} clips without a vote, at most {last} of {queries} votes.",
        x_label=f"votes (of {queries})",
        y_label="clips, log scale",
        x_ticks=tuple(Tick(left + (n + 0.5) * step, str(n)) for n in _whole(last)),
        y_ticks=tuple(Tick(y_of(10**power), count(10**power)) for power in range(decades + 1)),
        bars=bars,
        caption=caption,
    )


def scatter(
    magnitudes: NDArray[np.floating], means: NDArray[np.floating], rows: int, selected: NDArray[np.bool_] | None
) -> Chart | None:
    """Mean score against mean motion magnitude, with Spearman's correlation; None without two clips to compare."""
    good = np.isfinite(magnitudes) & np.isfinite(means)
    x, y = magnitudes[good].astype(np.float64), means[good].astype(np.float64)
    if x.size < 2:
        return None
    width, height, left, right, top, bottom = 520.0, 300.0, 58.0, 508.0, 12.0, 252.0
    rho = spearman(x, y)
    tenth = max(1, x.size // 10)
    head, tail = x[top_rows(y, tenth)].mean(), x[top_rows(-y, tenth)].mean()
    x_low, x_high = 0.0, float(np.quantile(x, 0.995)) or 1.0
    y_low, y_high = _padded(float(y.min()), float(y.max()))
    chosen = np.zeros(x.size, bool) if selected is None else selected[good]
    some = np.array(evenly(x.size, DOTS))
    order = some[np.argsort(chosen[some], kind="stable")]  # selected clips are drawn last, on top
    across = left + np.minimum(x[order], x_high) / x_high * (right - left)
    down = bottom - (y[order] - y_low) / (y_high - y_low) * (bottom - top)
    kinds = ["on" if taken else "" for taken in chosen[order]]
    dots = tuple(zip(across.round(1).tolist(), down.round(1).tolist(), kinds, strict=True))
    sampled = "" if x.size == rows else f" over {count(x.size)} evenly spaced clips"
    drawn = "" if len(order) == x.size else f" {count(len(order))} dots are drawn."
    text = "undefined, one side is constant" if math.isnan(rho) else decimal(rho, 2)
    return Chart(
        width,
        height,
        left,
        right,
        top,
        bottom,
        summary=f"Scatter of mean score against motion magnitude; Spearman correlation {text}.",
        x_label="mean motion magnitude, pixels a frame",
        y_label="mean score",
        x_ticks=tuple(Tick(left + v / x_high * (right - left), compact(v)) for v in ticks(x_low, x_high, 6)),
        y_ticks=tuple(
            Tick(bottom - (v - y_low) / (y_high - y_low) * (bottom - top), compact(v)) for v in ticks(y_low, y_high, 6)
        ),
        dots=dots,
        caption=(
            f"Spearman {text}{sampled}. Mean magnitude of the top tenth by mean score {decimal(head)} px, "
            f"of the bottom tenth {decimal(tail)} px.{drawn}"
        ),
    )


def overlap_map(tally: Tally, names: Sequence[str]) -> HeatMap | None:
    """Share of clips that two queries' top-k lists have in common; None for a single query."""
    size = len(tally.queries)
    if size < 2:
        return None
    view, origin = 460.0, 34.0
    step = (view - origin - 4) / size
    leaders = [query.leaders for query in tally.queries]
    shares = np.eye(size)
    for a in range(size):
        for b in range(a + 1, size):
            both = np.intersect1d(leaders[a], leaders[b], assume_unique=True).size
            shares[a, b] = shares[b, a] = both / max(1, min(leaders[a].size, leaders[b].size))
    largest = float(shares[~np.eye(size, dtype=bool)].max())
    cells = tuple(
        Cell(
            round(origin + b * step, 2),
            round(origin + a * step, 2),
            round(float(shares[a, b]) / max(largest, 0.01), 3),
            f"{names[a]} and {names[b]}: {percent(float(shares[a, b]), 0)}",
            a == b,
        )
        for a in range(size)
        for b in range(size)
    )
    mean = float(shares[~np.eye(size, dtype=bool)].mean())
    chance = tally.leaders / tally.rows if tally.rows else 0.0
    return HeatMap(
        view,
        origin,
        step,
        tuple(str(number) for number in range(1, size + 1)),
        cells,
        summary=f"Heat map of the overlap of {size} queries' top {tally.leaders} clips, {percent(mean, 0)} on average.",
        caption=(
            f"Share of clips that two queries' top {count(tally.leaders)} lists have in common: {percent(mean, 0)} on "
            f"average over pairs, {percent(largest, 0)} at most (the strongest colour), {percent(chance, 0)} expected "
            "of random lists."
        ),
    )


def precision_chart(result: EvaluationResult) -> PrecisionChart:
    """The precision@k of each method as horizontal bars with intervals."""
    scale = max([row.high for row in result.rows] + [result.chance, 0.01]) * 1.08
    scale = min(max(scale, 0.05), 1.0)

    def place(precision: float) -> float:
        return round(100 * min(precision, scale) / scale, 2)

    bars = tuple(
        PrecisionBar(
            clean(row.method, 80),
            row.kind,
            place(row.precision),
            place(row.low),
            place(row.high),
            percent(row.precision),
            f"{percent(row.precision)}, interval {percent(row.low)} to {percent(row.high)}",
        )
        for row in result.rows
    )
    return PrecisionChart(
        bars,
        round(100 * result.chance / scale, 2),
        summary="; ".join(f"{bar.name}: {bar.text}" for bar in bars) + f"; chance {percent(result.chance)}.",
        ticks=tuple(Tick(100 * value / scale, percent(value, 0)) for value in ticks(0.0, scale, 5)),
    )


def _whole(last: int) -> list[int]:
    return sorted({int(value) for value in ticks(0.0, float(max(1, last)), 5) if value == int(value)})


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = 0.04 * (high - low) or 0.5
    return low - pad, high + pad
