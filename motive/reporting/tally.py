"""Everything the report needs from the scores, in two passes over the file that keep no more than it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.extras import require
from motive.scores.file import ScoreFile, columns_to_matrix
from motive.scores.format import QUERY_PREFIX
from motive.scores.top import TopRows

_WHERE = "motive.reporting"
BINS = 48
SAMPLE = 200_000
"""Largest number of rows that the scatter and its correlation are computed from."""


@dataclass(frozen=True)
class QueryTally:
    """One query's column of scores.

    Attributes:
        query_id: as in the scores.
        top, bottom: rows of the clips shown, best first and worst first; no row is in both.
        leaders: rows of the query's top-k list, for the overlap between queries.
        low, high: range of the finite scores; NaN if there is none.
        counts: [BINS] clips by score, over equal steps from low to high.
        unscored: clips without a finite score.
    """

    query_id: str
    top: NDArray[np.int64]
    bottom: NDArray[np.int64]
    leaders: NDArray[np.int64]
    low: float
    high: float
    counts: NDArray[np.int64]
    unscored: int


@dataclass(frozen=True)
class Tally:
    """The scores file in brief.

    Attributes:
        rows: clips scored.
        queries: the queries shown.
        votes: [v] clips by number of votes, 0 first.
        leaders: k of the queries' top-k lists.
        shown: row -> the columns of that row, for every row in some top or bottom list.
        top_k: clips whose scores the file holds for each query; None for all of them.
        sample_step: one row in this many is in the sample that the scatter and its correlation use.
        sample_ids: clip ids of those rows (pyarrow Array).
        sample_means: [s] their mean scores.
    """

    rows: int
    queries: tuple[QueryTally, ...]
    votes: NDArray[np.int64]
    leaders: int
    shown: Mapping[int, Mapping[str, Any]]
    sample_step: int
    sample_ids: Any
    sample_means: NDArray[np.float32]
    top_k: int | None = None


def evenly(count: int, wanted: int) -> list[int]:
    """Up to ``wanted`` indices below ``count``, evenly spaced, so that a sorted list is seen from end to end."""
    if count <= wanted:
        return list(range(count))
    return [(2 * index + 1) * count // (2 * wanted) for index in range(wanted)]


def sample_step(rows: int) -> int:
    """One row in how many is sampled, so that at most SAMPLE rows are."""
    return max(1, -(-rows // SAMPLE))


def take_tally(file: ScoreFile, query_ids: Sequence[str], top: int, bottom: int, overlap_top: int) -> Tally:
    """Read the scores twice: once for ranges, ranks and votes, once for histograms and the rows shown.

    Args:
        file: the scores.
        query_ids: the queries shown.
        top, bottom: clips shown from each end; in a pool smaller than both, each end gets at most half. Where the
            file has the scores of a query's best clips alone, there is no other end.
        overlap_top: longest top-k list compared between queries; at most a tenth of the clips, at least 10.
    """
    head, tail = min(top, max(1, (file.rows + 1) // 2)), min(bottom, file.rows // 2)
    leaders = max(1, min(overlap_top, max(10, file.rows // 10), file.rows))
    if file.top_k is not None and file.top_k < file.rows:
        head, leaders, tail = min(head, file.top_k), min(leaders, file.top_k), 0
    first = _first_pass(file, query_ids, max(head, leaders), tail)
    tops = [first.best.rows(q)[:head] for q in range(len(query_ids))]
    bottoms = [rows[~np.isin(rows, tops[q])] for q, rows in enumerate(map(first.worst.rows, range(len(query_ids))))]
    wanted = np.unique(np.concatenate([*tops, *bottoms]))
    counts, shown = _second_pass(file, query_ids, first.low, first.high, wanted)
    queries = tuple(
        QueryTally(
            query_id,
            tops[q],
            bottoms[q],
            first.best.rows(q)[:leaders],
            float(first.low[q]),
            float(first.high[q]),
            counts[q],
            int(file.rows - first.finite[q]),
        )
        for q, query_id in enumerate(query_ids)
    )
    sample = (sample_step(file.rows), first.sample_ids, first.sample_means)
    return Tally(file.rows, queries, first.votes, leaders, shown, *sample, file.top_k)


@dataclass
class _FirstPass:
    best: TopRows
    worst: TopRows
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    finite: NDArray[np.int64]
    votes: NDArray[np.int64]
    sample_ids: Any
    sample_means: NDArray[np.float32]


def _first_pass(file: ScoreFile, query_ids: Sequence[str], head: int, tail: int) -> _FirstPass:
    pa = require("pyarrow", _WHERE, extra="tables")
    size = len(query_ids)
    state = _FirstPass(
        TopRows(size, head),
        TopRows(size, tail, largest=False),
        np.full(size, np.inf),
        np.full(size, -np.inf),
        np.zeros(size, np.int64),
        np.zeros(1, np.int64),
        None,
        np.empty(0, np.float32),
    )
    step = sample_step(file.rows)
    ids, means = [], []
    for start, batch in file.batches(["clip_id", "votes", "mean", *(QUERY_PREFIX + name for name in query_ids)]):
        scores = columns_to_matrix(batch.select(range(3, 3 + size)))
        rows = np.arange(start, start + len(scores))
        state.best.update(rows, scores)
        state.worst.update(rows, scores)
        good = np.isfinite(scores)
        state.low = np.minimum(state.low, np.where(good, scores, np.inf).min(axis=0, initial=np.inf))
        state.high = np.maximum(state.high, np.where(good, scores, -np.inf).max(axis=0, initial=-np.inf))
        state.finite += good.sum(axis=0)
        votes = np.bincount(batch.column(1).to_numpy(zero_copy_only=False).astype(np.int64), minlength=state.votes.size)
        votes[: state.votes.size] += state.votes
        state.votes = votes
        sampled = np.flatnonzero(rows % step == 0)
        ids.append(batch.column(0).cast(pa.large_string()).take(pa.array(sampled)))
        means.append(batch.column(2).to_numpy(zero_copy_only=False).astype(np.float32)[sampled])
    state.sample_ids = pa.chunked_array(ids, pa.large_string()).combine_chunks()
    state.sample_means = np.concatenate(means) if means else state.sample_means
    return state


def _second_pass(
    file: ScoreFile,
    query_ids: Sequence[str],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    wanted: NDArray[np.int64],
) -> tuple[NDArray[np.int64], dict[int, dict[str, Any]]]:
    counts = np.zeros((len(query_ids), BINS), np.int64)
    shown: dict[int, dict[str, Any]] = {}
    own = ["clip_id", "votes", "mean", "rank", "percentile"]
    for start, batch in file.batches([*own, *(QUERY_PREFIX + name for name in query_ids)]):
        scores = columns_to_matrix(batch.select(range(len(own), len(own) + len(query_ids))))
        for q in range(len(query_ids)):
            counts[q] += _histogram(scores[:, q], low[q], high[q])
        here = wanted[(wanted >= start) & (wanted < start + batch.num_rows)] - start
        shown.update(_records(batch, start, here))
    return counts, shown


def _histogram(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.int64]:
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size or not high > low:
        counts = np.zeros(BINS, np.int64)
        counts[BINS // 2] = finite.size
        return counts
    places = ((finite - low) * (BINS / (high - low))).astype(np.int64)
    return np.bincount(np.minimum(places, BINS - 1), minlength=BINS)


def _records(batch: Any, start: int, places: Iterable[int]) -> dict[int, dict[str, Any]]:
    pa = require("pyarrow", _WHERE, extra="tables")
    rows = list(map(int, places))
    records = batch.take(pa.array(rows, pa.int64())).to_pylist()
    return {start + row: record for row, record in zip(rows, records, strict=True)}
