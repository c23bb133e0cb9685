"""Scoring stores of clips against stores of queries, exactly and in bounded memory."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from motive.errors import ConfigError, OptionError, StoreError
from motive.scores.format import FORMAT, VERSION, prepare_target
from motive.scores.stores import StoreLike, open_stores, place_of
from motive.scoring.blocks import read_blocks
from motive.scoring.config import ScoreConfig
from motive.scoring.filters import Filter
from motive.scoring.full import WHERE, FullRun, Progress, Side
from motive.scoring.int8.cache import Int8Store, int8_store
from motive.scoring.int8.levelled import int8_levels
from motive.scoring.int8.rescore import Record
from motive.scoring.int8.run import Int8Run, quantized_scores, require_devices, search_errors
from motive.scoring.int8.topk import QuantizedScores, Top, rescored_top
from motive.scoring.levels import Levels, bucket_codes, levels_of
from motive.scoring.precondition import SecondMoment, held_out_damping, second_moment
from motive.scoring.scratch import Scratch
from motive.scoring.similarity import Kernel
from motive.scoring.summary import ScoreSummary
from motive.scoring.view import View
from motive.store import Store, require_comparable
from motive.store.records import package_version, utc_now

_log = logging.getLogger(__name__)

Stores = StoreLike | Sequence[StoreLike]


def score(
    store: Stores,
    queries: StoreLike,
    out: Path | str,
    config: ScoreConfig | None = None,
    *,
    checkpoints: Sequence[tuple[Stores, StoreLike]] = (),
    progress: Progress | None = None,
) -> ScoreSummary:
    """Score every clip against every query, and let the queries vote (paper, equations 10, 17, 18).

    The result does not depend, to the bit, on shards, their order, block size or thread count. Memory holds one
    block of vectors and a few numbers a clip; the scores are on disk, beside ``out`` until they are written, or with
    ``precision="int8"`` are never all made.

    Args:
        store: the clips; of several stores, which must be of equal identity, all clips count, and of a clip that
            several hold the first store's.
        queries: the queries, indexed with the same settings.
        out: the scores file, a name that ends in .parquet; earlier scores there are replaced in one step.
        config: options; None takes the paper's.
        checkpoints: further (store, queries) pairs of the same clips and queries, made with other weights or draws;
            a score is then the mean over all pairs, added in this order.
        progress: called with (clips done, clips in all); ``motive.progress.Bar.to`` draws a bar. With float32 only.

    Raises:
        IdentityMismatch: clips and queries were indexed with different settings; names the fields.
        OptionError: a query is a zero vector, an option names no query or column, or out cannot be used.
        StoreError: a store is empty or damaged, checkpoints hold different clips, or out cannot be written.
    """
    config, out = config or ScoreConfig(), Path(out)
    require_devices(config.devices)
    pairs = _open_pairs(((store, queries), *checkpoints), config)
    prepare_target(out)
    query_ids = pairs[0].queries.clip_ids
    _require_known(config, pairs[0].queries, query_ids)
    made = [pair.kernel(config) for pair in pairs]
    kernels = [kernel for kernel, _ in made]
    removes = _removes_means(pairs, config)
    clips = _filtered([pair.view for pair in pairs], config)
    _log.info("scoring %d clips against %d queries in %s", len(clips[0]), len(query_ids), config.precision)
    moments = [moment for _, moment in made]
    if config.precision == "int8":
        record = _record(pairs, kernels, config)
        stored = int8_store(record.source, WHERE)
        _log.info("int8 vectors of %d clips: cache %s", len(clips[0]), stored.cache)
        levels = _int8_levels(pairs, record, stored, config) if removes else None
        run = Int8Run(clips[0], record, stored, query_ids, config, levels)
        run.score_clips()
        run.rank()
        return run.write(out, {**_provenance(pairs, config, moments, levels), "int8_cache": stored.cache})
    levels = None
    if removes:
        levels = levels_of([(p.view, kernel) for p, kernel in zip(pairs, kernels, strict=True)], len(query_ids), WHERE)
    sides = [Side(view, kernel) for view, kernel in zip(clips, kernels, strict=True)]
    with Scratch(out.parent, len(query_ids), len(sides[0].clips)) as scratch:
        own = None if levels is None else levels.restricted(clips[0].chosen)
        full = FullRun(sides, query_ids, config, scratch, own)
        full.score_clips(progress)
        full.count_votes()
        full.rank()
        return full.write(out, _provenance(pairs, config, moments, levels))


def topk(
    store: Stores,
    queries: StoreLike,
    top: int,
    config: ScoreConfig | None = None,
    *,
    rescore: bool = True,
    checkpoints: Sequence[tuple[Stores, StoreLike]] = (),
) -> Top:
    """Each query's best clips, without a scores file.

    Args:
        store, queries: as for score.
        top: how many clips.
        config: similarity, preconditioner, damping, model_part, filter, devices and cache count.
        checkpoints: as for score.
        rescore: score a longer list from the float32 record, extended until it is proven to hold the best ones; else
            the scores and ranks are those of the int8 vectors.

    Returns:
        Scores and rows of the stores' clips in order of id; queries in order of id.

    Raises:
        As score.
    """
    config = dataclasses.replace(config or ScoreConfig(), precision="int8")
    require_devices(config.devices)
    pairs = _open_pairs(((store, queries), *checkpoints), config)
    removes = _removes_means(pairs, config)
    record = _record(pairs, [pair.kernel(config)[0] for pair in pairs], config)
    (clips,) = _filtered([pairs[0].view], config)
    stored = int8_store(record.source, WHERE)
    levels = _int8_levels(pairs, record, stored, config) if removes else None
    quantized = quantized_scores(record, stored, clips.chosen, config.devices, levels)
    with search_errors():
        if rescore:
            return rescored_top(record.exact, quantized, record.fetch(stored), top, len(clips))
        return Top(*quantized.top(min(top, len(clips))), 0)


@dataclasses.dataclass(frozen=True)
class _Pair:
    """Clips and queries of one checkpoint."""

    view: View
    queries: Store

    @classmethod
    def open(cls, stores: Stores, queries: StoreLike, config: ScoreConfig) -> _Pair:
        opened, (asked,) = open_stores(stores), open_stores(queries)
        if not opened:
            raise OptionError(f"{WHERE}: store must be one store or several, and the list is empty; name one")
        require_comparable(opened[0], asked, WHERE)
        view = View(opened, WHERE, Path(config.cache) if config.cache else None)
        if len(asked) == 0:
            raise StoreError(
                f"{WHERE}: queries must hold at least one clip, and {asked.location} is empty; index clips"
            )
        return cls(view.part(config.model_part) if config.model_part else view, asked)

    def kernel(self, config: ScoreConfig) -> tuple[Kernel, _Moment | None]:
        """The scoring function of the queries, and what it took from the clips."""
        vectors = np.concatenate([block for _, block in read_blocks(self.queries, len(self.queries), WHERE)])
        vectors = np.ascontiguousarray(vectors[:, self.view.columns])
        zero = np.flatnonzero(~vectors.any(axis=1))
        if zero.size:
            raise OptionError(
                f"{WHERE}: queries must have vectors that are not zero, got zeros for "
                f"{self.queries.ids[int(zero[0])]!r} ({zero.size} in all); choose query clips that move"
            )
        if config.applied_preconditioner == "none":
            return Kernel.of(vectors, config, None), None
        unit = config.similarity == "cosine"
        if config.damping_auto:
            config = dataclasses.replace(config, damping=held_out_damping(self.view, unit, WHERE), damping_auto=False)
        moment, damping = second_moment(self.view, unit, WHERE), config.applied_damping
        assert damping is not None
        return Kernel.of(vectors, config, moment), _Moment(moment, damping)


@dataclasses.dataclass(frozen=True)
class _Moment:
    """A preconditioner's ingredients."""

    moment: SecondMoment
    damping: float


def _open_pairs(given: Sequence[tuple[Stores, StoreLike]], config: ScoreConfig) -> list[_Pair]:
    """Every checkpoint, of the same clips and queries."""
    pairs = [_Pair.open(*pair, config) for pair in given]
    _require_same_clips(pairs)
    return pairs


def _removes_means(pairs: Sequence[_Pair], config: ScoreConfig) -> bool:
    """Whether the buckets are put on one level.

    Raises:
        ConfigError: bucket_means has no effect.
    """
    several = bool(bucket_codes(pairs[0].view)[0])
    if config.bucket_means is not None and not several:
        raise ConfigError(
            WHERE,
            f"{{bucket_means}} must be left out where clips have one bucket, got {config.bucket_means} for "
            f"{pairs[0].view.location}; leave it out",
        )
    return several and config.bucket_means != "keep"


def _int8_levels(pairs: Sequence[_Pair], record: Record, stored: Int8Store, config: ScoreConfig) -> Levels:
    """What is removed from the int8 scores of each bucket, by the int8 scores of all clips."""
    with search_errors():
        everything = QuantizedScores.of(record.exact, stored, None, config.devices)
        return int8_levels(everything, *bucket_codes(pairs[0].view))


def _filtered(views: Sequence[View], config: ScoreConfig) -> list[View]:
    """The clips that pass the filter, by the index columns of the first view."""
    if not config.filter:
        return list(views)
    first = views[0].keep(Filter(config.filter, WHERE))
    assert first.chosen is not None
    return [first, *(view.restrict(first.chosen) for view in views[1:])]


def _record(pairs: Sequence[_Pair], kernels: Sequence[Kernel], config: ScoreConfig) -> Record:
    return Record([pair.view for pair in pairs], kernels, config.similarity == "cosine", WHERE)


def _require_same_clips(pairs: Sequence[_Pair]) -> None:
    """Refuse checkpoints that do not hold the same clips and queries."""
    for other in pairs[1:]:
        for name, ours, theirs in (
            ("clips", pairs[0].view.ids, other.view.ids),
            ("queries", pairs[0].queries.ids, other.queries.ids),
        ):
            if not (np.array_equal(ours.data, theirs.data) and np.array_equal(ours.offsets, theirs.offsets)):
                only = sorted(set(ours) ^ set(theirs))[0]
                raise StoreError(
                    f"{WHERE}: checkpoints must hold the same {name}, got {only!r} in one of {pairs[0].view.location} "
                    f"and {other.view.location} alone; index the same clips"
                )


def _require_known(config: ScoreConfig, queries: Store, query_ids: Sequence[str]) -> None:
    """Refuse options that name queries which are not there."""
    for name in ("groups", "weights"):
        unknown = sorted(set(getattr(config, name)) - set(query_ids))
        if unknown:
            raise OptionError(
                f"{WHERE}: {name} must name queries of {queries.location}, got {unknown[0]!r}; "
                "use the queries' clip ids"
            )


def _provenance(
    pairs: Sequence[_Pair], config: ScoreConfig, moments: Sequence[_Moment | None], levels: Levels | None
) -> dict[str, Any]:
    """How the scores were made: the part of the metadata that is known before the first score."""
    options, first = config.to_json(), pairs[0]
    found = [moment for moment in moments if moment is not None]
    sources = [
        {"stores": pair.view.record(), "queries": place_of(pair.queries), "queries_version": pair.queries.version}
        for pair in pairs
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "created": utc_now(),
        "package": {"name": "motive", "version": package_version()},
        "store": place_of(first.view.stores[0]),
        "queries": place_of(first.queries),
        "store_version": first.view.version,
        "queries_version": first.queries.version,
        "checkpoints": sources,
        "identities": {
            "store": dict(first.view.stores[0].manifest.identity_digest),
            "queries": dict(first.queries.manifest.identity_digest),
        },
        **options,
        "bucket_means": config.bucket_means if levels is None else "remove",
        "buckets": None if levels is None else dict(zip(levels.buckets, levels.clips, strict=True)),
        "damping": found[0].damping if found else None,
        "dampings": [moment.damping for moment in found],
        "preconditioner_cache": found[0].moment.cache if found else None,
    }
