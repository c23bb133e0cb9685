"""The report's content, in words and numbers that the templates only place."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.data.video.facts import describe_use
from motive.evaluate.result import EvaluationResult
from motive.reporting import figures
from motive.reporting.config import ReportConfig
from motive.reporting.facts import Fact, flat_record, read_versions, run_facts
from motive.reporting.gallery import Gallery, Media
from motive.reporting.inputs import Inputs
from motive.reporting.media import Recipe
from motive.reporting.selection import composition, selection_facts
from motive.reporting.tally import QueryTally
from motive.reporting.text import clean, count, decimal, percent, plural, signed
from motive.scores.stores import label_in
from motive.store import Store

_LEAD = (
    "Each clip of a dataset is scored by how much training on it would help a video model make the motion of a "
    "query clip, estimated from how alike the gradients are that the two clips give the model. Below, every query "
    "is shown with the clips that would help it most and least."
)
_READING = (
    "A score above zero says that training on the clip lowers the query’s loss. The thin bar under a film places "
    "its score between the query’s lowest and highest, with a tick at zero. Switch between the films and their "
    "motion masks at the top, or for one film on its card: still areas fade to grey, moving areas stay and turn warm."
)
_GONE = Media(problem="the store no longer holds this clip")


@dataclass(frozen=True)
class Card:
    """One clip in a query's row."""

    media: Media
    clip_id: str
    caption: str
    source: str
    label: str
    same: bool
    rank: str
    score: str
    positive: bool
    above: str
    place: str
    meter_x: float
    meter_width: float
    meter_zero: float


@dataclass(frozen=True)
class QuerySection:
    """One query with its clips."""

    number: int
    name: str
    short: str
    caption: str
    source: str
    label: str
    media: Media
    histogram: figures.Chart
    histogram_note: str
    top: tuple[Card, ...]
    bottom: tuple[Card, ...]


@dataclass(frozen=True)
class Page:
    """Everything on the page, top to bottom."""

    title: str
    lead: str
    facts: list[Fact]
    record: list[tuple[str, str]]
    quality: Mapping[str, Any] | None
    selection: Mapping[str, Any] | None
    reading: str
    queries: tuple[QuerySection, ...]
    scatter: figures.Chart | None
    votes: figures.Chart
    overlap: figures.HeatMap | None
    failures: Mapping[str, Any]
    footer: str


def assemble(inputs: Inputs, gallery: Gallery, config: ReportConfig) -> Page:
    """Encode the clips shown and put the page's content together."""
    media = _shown_media(inputs, gallery)
    tally = inputs.tally
    failures = inputs.store.failures()
    names = [clean(query.query_id, 160) for query in tally.queries]
    counts = {
        "clips": tally.rows,
        "failures": len(failures),
        "queries": inputs.queries,
        "queries_shown": len(tally.queries),
    }
    manifest = inputs.store.manifest
    return Page(
        title=clean(config.title, 120),
        lead=_LEAD,
        facts=run_facts(manifest, read_versions(inputs.store.path), inputs.scoring, counts),
        record=flat_record(
            {
                "clips": manifest.to_json(),
                "queries": inputs.query_store.manifest.to_json(),
                "scores": inputs.scoring,
            }
        ),
        quality=_quality(inputs.evaluation) if inputs.evaluation else None,
        selection=_selection(inputs),
        reading=_READING,
        queries=tuple(_query(inputs, media, number) for number in range(len(tally.queries))),
        scatter=figures.scatter(inputs.magnitudes, tally.sample_means, tally.rows, _sample_chosen(inputs)),
        votes=figures.votes_chart(tally, inputs.queries, _votes_note(inputs)),
        overlap=figures.overlap_map(tally, names),
        failures=_failures(failures, config.max_failures),
        footer="Made by motive. This page and its media folder need no network and can be moved together.",
    )


def _shown_media(inputs: Inputs, gallery: Gallery) -> dict[tuple[str, str], Media]:
    """Role and clip id -> films, for every clip on the page."""
    keys: dict[tuple[str, str], str] = {}
    for role, store, rows in (
        ("clip", inputs.store, inputs.clips),
        ("query", inputs.query_store, inputs.query_clips),
    ):
        gradient = store.identity.require("report")
        for clip_id, row in rows.items():
            recipe = Recipe.of(gradient, store.segments, row.get("bucket") or "")
            keys[role, clip_id] = gallery.want(role, clip_id, row["path"] or "", recipe.of_row(clip_id))
    films = gallery.make()
    return {name: films[key] for name, key in keys.items()}


def _query(inputs: Inputs, media: Mapping[tuple[str, str], Media], number: int) -> QuerySection:
    query = inputs.tally.queries[number]
    row = inputs.query_clips.get(query.query_id)
    name = clean(query.query_id, 160)
    threshold = inputs.thresholds.get(query.query_id)
    top = tuple(_card(inputs, media, query, int(r), place + 1) for place, r in enumerate(query.top))
    ranked = inputs.tally.rows - query.unscored
    bottom = tuple(_card(inputs, media, query, int(r), ranked - place) for place, r in enumerate(query.bottom))
    note = f"Scores from {signed(query.low)} to {signed(query.high)}."
    if threshold is not None:
        note += f" Clips from {signed(threshold)} up get this query’s vote."
    if query.unscored and inputs.tally.top_k is None:
        note += f" Without a score: {plural(query.unscored, 'clip')}."
    elif query.unscored:
        note += f" The scores hold this query’s best {plural(ranked, 'clip')} of {count(inputs.tally.rows)}."
    return QuerySection(
        number=number + 1,
        name=name,
        short=_short(name),
        caption=clean(row["caption"]) if row else "",
        source=_source(row, inputs.query_store),
        label=clean(_label(row, inputs), 60),
        media=media.get(("query", query.query_id), _GONE),
        histogram=figures.histogram(query.counts, query.low, query.high, threshold, name, ranked),
        histogram_note=note,
        top=top,
        bottom=bottom,
    )


def _card(inputs: Inputs, media: Mapping[tuple[str, str], Media], query: QueryTally, row: int, rank: int) -> Card:
    record = inputs.tally.shown[row]
    clip_id = str(record["clip_id"])
    entry = inputs.clips.get(clip_id)
    score = float(record[f"query/{query.query_id}"])
    low, high = min(0.0, query.low), max(0.0, query.high)
    span = (high - low) or 1.0
    zero, here = -100 * low / span, 100 * (score - low) / span
    ranked = inputs.tally.rows - query.unscored
    own = _label(entry, inputs)
    pool = inputs.tally.rows if inputs.tally.top_k is not None else ranked  # clips beyond the top-k score less
    above = (pool - rank) / pool
    return Card(
        media=media.get(("clip", clip_id), _GONE),
        clip_id=clean(clip_id, 200),
        caption=clean(entry["caption"]) if entry else "",
        source=_source(entry, inputs.store),
        label=clean(own, 60),
        same=bool(own) and own == _label(inputs.query_clips.get(query.query_id), inputs),
        rank=count(rank),
        score=signed(score),
        positive=score >= 0,
        above=f"above {percent(math.floor(1000 * above) / 1000)}",
        place=f"{record['votes']}/{inputs.queries} votes · overall #{count(int(record['rank']))}",
        meter_x=round(min(zero, here), 2),
        meter_width=round(abs(here - zero), 2),
        meter_zero=round(min(zero, 99.4), 2),
    )


def _label(row: Mapping[str, Any] | None, inputs: Inputs) -> str:
    return label_in(row["columns"], inputs.label) if row else ""


def _source(row: Mapping[str, Any] | None, store: Store) -> str:
    """Which part of its file a clip shows; empty for stores that do not record it."""
    known = store.identity.known
    return clean(describe_use(row, known.clip_spec.fps), 300) if row and known else ""


def _short(name: str) -> str:
    """An id without its folders and ending, for the index of queries."""
    last = name.rstrip("/").rsplit("/", 1)[-1]
    stem, dot, ending = last.rpartition(".")
    return stem if dot and stem and len(ending) <= 4 else last or name


def _votes_note(inputs: Inputs) -> str:
    votes = inputs.tally.votes
    note = f"Without a vote: {count(int(votes[0]))} of {plural(inputs.tally.rows, 'clip')}."
    share = inputs.scoring.get("vote_share")
    ties = inputs.scoring.get("ties")
    cut = ties.get(f"{share:g}") if isinstance(ties, Mapping) and isinstance(share, float) else None
    if isinstance(cut, Mapping) and inputs.scoring.get("rank_by") == "votes":
        best = f"the best {percent(share, 0)}"
        if cut.get("tied"):
            tied, above, undecided = (int(cut[name]) for name in ("tied", "tied_above", "undecided"))
            note += f" {plural(tied, 'clip')} tie in votes where {best} end: {count(above)} are above, by mean score"
            note += f" ({count(undecided)} ordered by id alone)." if undecided else "."
        else:
            note += f" No clips tie in votes where {best} end."
    return note


def _sample_chosen(inputs: Inputs) -> NDArray[np.bool_] | None:
    return None if inputs.chosen is None else inputs.chosen.mask[:: inputs.tally.sample_step]


def _selection(inputs: Inputs) -> dict[str, Any] | None:
    if inputs.chosen is None:
        return None
    return {
        "explain": "The clips that motive select took from these scores, written as a separate dataset.",
        "facts": selection_facts(inputs.chosen, inputs.chosen_magnitudes, inputs.magnitudes),
        "column": clean(inputs.label, 60),
        "labels": composition(inputs.pool_labels, inputs.chosen_labels),
    }


def _quality(result: EvaluationResult) -> dict[str, Any]:
    left_out = result.clips_left_out + result.queries_left_out
    explain = (
        f"Precision@{result.top}: of the {result.top} clips that each query ranks highest, the fraction with the query’s own "
        f"label (column “{clean(result.label, 60)}”), over {plural(result.queries, 'query')} and "
        f"{plural(result.clips, 'clip')}. "
        f"A random ranking would reach {percent(result.chance)}. Intervals are bootstrapped over queries "
        f"({count(result.resamples)} resamples, seed {result.seed})."
    )
    if left_out:
        explain += (
            f" Left out because not every method scored them: {plural(result.clips_left_out, 'clip')}, "
            f"{plural(result.queries_left_out, 'query')}."
        )
    if result.unreadable:
        explain += f" Not readable again, so never ranked by pixels: {plural(result.unreadable, 'clip')}."
    rows = []
    for place, row in enumerate(result.rows):
        lead, low, high = (signed(100 * v, 1) for v in (row.difference, row.difference_low, row.difference_high))
        rows.append(
            {
                "name": clean(row.method, 80),
                "precision": percent(row.precision),
                "between": f"{percent(row.low)} to {percent(row.high)}",
                "ratio": decimal(row.ratio, 1),
                "lead": f"{lead} ({low} to {high})" if place else "",
            }
        )
    labels = [
        {
            "name": clean(label.label, 60),
            "clips": count(label.clips),
            "queries": count(label.queries),
            "chance": percent(label.chance),
            "precisions": [percent(row.per_label.get(label.label)) for row in result.rows],
        }
        for label in result.labels
    ]
    return {
        "explain": explain,
        "interval": f"{percent(result.confidence, 0)} interval",
        "chart": figures.precision_chart(result),
        "rows": rows,
        "chance": percent(result.chance),
        "labels": labels,
    }


def _failures(failures: Sequence[Any], shown: int) -> dict[str, Any]:
    groups = Counter((failure.stage, failure.reason) for failure in failures)
    listed = sorted(failures, key=lambda failure: (failure.stage, failure.reason, failure.clip_id))[:shown]
    if not failures:
        explain = "Every clip of the dataset has a score."
    else:
        explain = f"Clips of the dataset without a score: {count(len(failures))}."
        if len(listed) < len(failures):
            explain += f" The first {count(len(listed))} are listed; the store’s failures hold them all."
    return {
        "explain": explain,
        "groups": [
            {"reason": clean(f"{stage}: {reason}", 80), "count": count(number)}
            for (stage, reason), number in sorted(groups.items(), key=lambda item: (-item[1], item[0]))[:50]
        ],
        "rows": [
            {
                "clip_id": clean(failure.clip_id, 160),
                "stage": clean(failure.stage, 20),
                "reason": clean(failure.reason, 60),
                "detail": clean(failure.detail, 300),
            }
            for failure in listed
        ],
    }
