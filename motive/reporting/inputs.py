"""Everything a report is made from, read from the scores, the two stores, the selection and the evaluation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.data.video.facts import FACT_NAMES
from motive.errors import OptionError
from motive.evaluate.result import EvaluationResult, load
from motive.reporting.config import ReportConfig
from motive.reporting.selection import Chosen, read_selection
from motive.reporting.tally import Tally, evenly, take_tally
from motive.scores.file import ScoreFile
from motive.scores.stores import ScoredStores, label_in
from motive.store import Store

_WHERE = "motive.reporting"


@dataclass(frozen=True)
class Inputs:
    """What the page is assembled from.

    Attributes:
        scoring: metadata of the scores.
        queries: number of queries in the scores.
        tally: the scores in brief.
        thresholds: query id -> score above which it votes.
        store, query_store: the opened stores; of several stores of clips, the first.
        clips: clip id -> path, caption and columns of the clips shown.
        query_clips: the same for the queries shown.
        magnitudes: [s] mean motion magnitude of the tally's sample, NaN where unknown.
        label: dataset column shown as label, or None.
        evaluation: the quality result, or None.
        chosen: the selection, or None.
        chosen_magnitudes: as magnitudes, for the selection's sample.
        pool_labels, chosen_labels: clips by label, in the two samples; empty without a label column or selection.
    """

    scoring: Mapping[str, Any]
    queries: int
    tally: Tally
    thresholds: Mapping[str, float]
    store: Store
    query_store: Store
    clips: Mapping[str, Mapping[str, Any]]
    query_clips: Mapping[str, Mapping[str, Any]]
    magnitudes: NDArray[np.float32]
    label: str | None
    evaluation: EvaluationResult | None
    chosen: Chosen | None
    chosen_magnitudes: NDArray[np.float32]
    pool_labels: Counter[str]
    chosen_labels: Counter[str]


def read_inputs(scores: Path, config: ReportConfig) -> Inputs:
    """Read what the page needs and no more.

    Raises:
        OptionError: no scores, or an option names something that is not there.
        StoreError: the scores or a store are damaged.
    """
    file = ScoreFile(scores, _WHERE)
    clips = ScoredStores(file.metadata, "store", _WHERE, config.store)
    queries = ScoredStores(file.metadata, "queries", _WHERE, config.query_store)
    evaluation = load(config.evaluation) if config.evaluation else None
    shown = [file.query_ids[index] for index in evenly(len(file.query_ids), config.max_queries)]
    tally = take_tally(file, shown, config.top, config.bottom, config.overlap_top)
    label = config.label or (evaluation.label if evaluation else None)
    if config.label:
        require_label(config.label, clips, tally)
    chosen = read_selection(config.selection, file) if config.selection else None
    chosen_ids = chosen.sample_ids if chosen else []
    compared = label is not None and chosen is not None
    shown_ids = sorted({str(record["clip_id"]) for record in tally.shown.values()})
    return Inputs(
        scoring=file.metadata,
        queries=len(file.query_ids),
        tally=tally,
        thresholds=_thresholds(file),
        store=clips.first,
        query_store=queries.first,
        clips=_index_rows(clips, shown_ids),
        query_clips=_index_rows(queries, shown),
        magnitudes=_magnitudes(clips, tally.sample_ids),
        label=label,
        evaluation=evaluation,
        chosen=chosen,
        chosen_magnitudes=_magnitudes(clips, chosen_ids),
        pool_labels=_label_counts(clips, tally.sample_ids if compared else [], label),
        chosen_labels=_label_counts(clips, chosen_ids if compared else [], label),
    )


def require_label(label: str, clips: ScoredStores, tally: Tally) -> None:
    """Refuse a label column that no shown clip has.

    Raises:
        OptionError: names the columns that there are.
    """
    _, table = clips.table(sorted({str(record["clip_id"]) for record in tally.shown.values()}), ["columns"])
    names = sorted({name for text in table.column("columns").to_pylist() for name in json.loads(text or "{}")})
    if label not in names:
        raise OptionError(
            f"{_WHERE}: label must be a column of the dataset ({', '.join(names) or 'it has none'}), got {label!r}; "
            "name one of these"
        )


def _thresholds(file: ScoreFile) -> dict[str, float]:
    found = file.metadata.get("thresholds")
    return {str(name): float(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def _index_rows(lookup: ScoredStores, clip_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Index rows of the given clips; clips that the store no longer holds are absent."""
    held, table = lookup.table(clip_ids, ["path", "caption", "columns", *lookup.known((*FACT_NAMES, "bucket"))])
    names = [clip_id for clip_id, there in zip(clip_ids, held, strict=True) if there]
    return dict(zip(names, table.to_pylist(), strict=True))


def _magnitudes(lookup: ScoredStores, clip_ids: Any) -> NDArray[np.float32]:
    held, table = lookup.table(clip_ids, ["magnitude_px_mean"])
    found = np.full(held.size, np.nan, np.float32)
    found[held] = table.column("magnitude_px_mean").to_numpy().astype(np.float32)
    return found


def _label_counts(lookup: ScoredStores, clip_ids: Any, label: str | None) -> Counter[str]:
    _, table = lookup.table(clip_ids, ["columns"])
    return Counter(label_in(text, label) for text in table.column("columns").to_pylist())
