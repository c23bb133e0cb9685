"""Several ways to rank the same clips for the same queries, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.data import ClipReader, ClipSpec
from motive.errors import ClipError, ConfigError, DatasetError, OptionError
from motive.evaluate import baselines
from motive.evaluate.result import EvaluationResult, LabelCount, MethodResult
from motive.evaluate.retrieval import NO_LABEL, Retrieval, bootstrap_interval, retrieval_by_label
from motive.extras import require
from motive.scores.file import ScoreFile
from motive.scores.stores import ScoredStores, label_in

MAGNITUDE_CLOSENESS = "similar motion magnitude"
MAGNITUDE = "most motion"
PIXELS = "pixel similarity"
FRAME_DIFFERENCES = "frame-difference similarity"
BASELINES = (MAGNITUDE_CLOSENESS, MAGNITUDE, PIXELS, FRAME_DIFFERENCES)

_FEATURES: Mapping[str, Callable[[NDArray[np.uint8]], NDArray[np.float32]]] = {
    PIXELS: baselines.pixel_features,
    FRAME_DIFFERENCES: baselines.frame_difference_features,
}
_WHERE = "motive.evaluate.compare"
_ROWS = 4096

FramesOf = Callable[[Path, ClipSpec], NDArray[np.uint8]]
"""(path of a clip, its clip spec) -> uint8 frames [T, H, W, 3]; ClipError if unreadable."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of a comparison.

    Attributes:
        label: column of the datasets (clips and queries) that names the motion.
        top: clips counted for each query.
        baselines: which of BASELINES to add, in that order.
        confidence: of the bootstrap intervals, in (0, 1).
        resamples: of the bootstrap.
        seed: of the bootstrap.
        workers: clips decoded at the same time for the baselines that need frames.
    """

    label: str = "motion"
    top: int = 10
    baselines: tuple[str, ...] = BASELINES
    confidence: float = 0.95
    resamples: int = 10_000
    seed: int = 0
    workers: int = 2

    def __post_init__(self) -> None:
        for name, low, high in (("top", 1, 100_000), ("resamples", 100, 1_000_000), ("workers", 1, 256)):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    "EvaluateConfig",
                    f"{{{name}}} must be from {low} to {high}, got {getattr(self, name)}; choose in range",
                )
        if not 0 < self.confidence < 1:
            raise ConfigError("EvaluateConfig", f"{{confidence}} must be in (0, 1), got {self.confidence}; take 0.95")
        unknown = sorted(set(self.baselines) - set(BASELINES))
        if unknown:
            raise ConfigError(
                "EvaluateConfig",
                f"{{baselines}} must be among {', '.join(BASELINES)}, got {unknown[0]!r}; choose from these",
            )


def compare(
    methods: Mapping[str, Path],
    config: EvaluateConfig | None = None,
    *,
    frames_of: FramesOf | None = None,
) -> EvaluationResult:
    """Precision@k of clips with the query's label, for several methods and baselines.

    Every method ranks the same clips for the same queries: what one of them lacks (a still clip has no
    motion-weighted gradient, say) is left out for all, and counted. Queries should not be among the clips.

    Args:
        methods: name for people -> scores file. Labels, paths and magnitudes come from the first one's stores.
        config: label column, number of clips counted, baselines, bootstrap; None takes the defaults.
        frames_of: reads a clip's frames for the baselines that need them; None decodes them as indexing did, in
            separate processes.

    Raises:
        OptionError: a scores file is missing, or the label column names no label of a query.
        StoreError: a scores file or store is damaged.
        DatasetError: a query can no longer be read for a baseline.
    """
    config = config or EvaluateConfig()
    if not methods:
        raise OptionError(f"{_WHERE}: methods must hold at least one scores file, and is empty; pass a name and a path")
    files = {name: ScoreFile(path, _WHERE) for name, path in methods.items()}
    pool = _Pool.read(files, config)
    found = {name: pool.rank(file, config.top) for name, file in files.items()}
    kinds = dict.fromkeys(found, "attribution")
    features = [name for name in config.baselines if name in _FEATURES]
    frame_scores, unreadable = {}, 0
    if features:
        with ClipReader() as decoders:
            read = frames_of or (lambda path, spec: decoders.load_clip(path, spec).frames)
            frame_scores, unreadable = _score_frames(pool, features, config.workers, read)
    for name in config.baselines:
        scores = frame_scores[name] if name in _FEATURES else _score_magnitudes(pool, name)
        found[name] = retrieval_by_label(
            [(np.arange(len(scores)), scores)], pool.clip_labels, pool.query_labels, config.top
        )
        kinds[name] = "baseline"
    return _result(pool, found, kinds, unreadable, config)


@dataclass(frozen=True)
class _Pool:
    """The clips and queries that every method has, with what the first method's stores say about them."""

    clip_ids: Any  # pyarrow Array of str
    clips: Any  # pyarrow Table: path, magnitude_px_mean
    clip_labels: NDArray[np.int64]
    clips_left_out: int
    query_ids: tuple[str, ...]
    queries: Any
    query_labels: NDArray[np.int64]
    queries_left_out: int
    label_names: tuple[str, ...]
    clip_specs: tuple[ClipSpec, ...]
    query_specs: tuple[ClipSpec, ...]

    @classmethod
    def read(cls, files: Mapping[str, ScoreFile], config: EvaluateConfig) -> _Pool:
        first, *others = files.values()
        store = ScoredStores(first.metadata, "store", _WHERE)
        query_store = ScoredStores(first.metadata, "queries", _WHERE)
        clip_ids, clips_out = _common([file.column("clip_id") for file in files.values()])
        query_ids = tuple(name for name in first.query_ids if all(name in file.query_ids for file in others))
        all_queries = {name for file in files.values() for name in file.query_ids}
        clips = _rows(store, clip_ids)
        queries = _rows(query_store, _array(query_ids))
        clip_texts = _labels(clips, config.label)
        query_texts = _labels(queries, config.label)
        names = tuple(sorted({text for text in query_texts if text}))
        if len(clip_ids) == 0 or not names or not all(query_texts):
            missing = [name for name, text in zip(query_ids, query_texts, strict=True) if not text]
            raise OptionError(
                f"{_WHERE}: label must be a column that is filled for every query, got {config.label!r} "
                f"({len(clip_ids)} shared clips, no label for {len(missing)} of {len(query_ids)} shared queries"
                f"{f', such as {missing[0]}' if missing else ''}); name another column or complete the metadata"
            )
        codes = {name: code for code, name in enumerate(names)}
        return cls(
            clip_ids,
            clips,
            np.array([codes.get(text, NO_LABEL) for text in clip_texts], np.int64),
            clips_out,
            query_ids,
            queries,
            np.array([codes[text] for text in query_texts], np.int64),
            len(all_queries) - len(query_ids),
            names,
            _clip_specs(store, clips),
            _clip_specs(query_store, queries),
        )

    def rank(self, file: ScoreFile, top: int) -> Retrieval:
        """Retrieval of one scores file, its rows brought to the order of this pool's clips.

        Raises:
            OptionError: too few of a query's top-k clips are in the pool, or the file has another order.
        """
        found = retrieval_by_label(self._batches(file), self.clip_labels, self.query_labels, top)
        counted = min(top, self.clip_labels.size)
        if file.top_k is not None and int(found.ranked.min()) < counted:
            short = int(found.ranked.argmin())
            raise OptionError(
                f"{_WHERE}: top must be at most the clips that all methods have among a query's top-k, got {top} with "
                f"{found.ranked[short]} for {self.query_ids[short]} in {file.path}; score with a larger top_k"
            )
        return found

    def _batches(self, file: ScoreFile) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating]]]:
        pc = require("pyarrow.compute", _WHERE, extra="tables")
        own_ids = file.column("clip_id").cast(self.clip_ids.type).combine_chunks()
        places = np.asarray(pc.fill_null(pc.index_in(own_ids, value_set=self.clip_ids), -1), np.int64)
        if np.any(np.diff(places[places >= 0]) <= 0):
            raise OptionError(
                f"{_WHERE}: {file.path} lists its clips in another order than the first scores file; "
                "run motive score again for all of them"
            )
        for start, scores in file.scores(self.query_ids):
            rows = places[start : start + len(scores)]
            yield rows[rows >= 0], scores[rows >= 0]


def _array(values: Sequence[str]) -> Any:
    pa = require("pyarrow", _WHERE, extra="tables")
    return pa.array(list(values), pa.large_string())


def _common(columns: Sequence[Any]) -> tuple[Any, int]:
    """Ids in all of the columns, in the first one's order, and how many are only in some."""
    pa, pc = require("pyarrow", _WHERE, extra="tables"), require("pyarrow.compute", _WHERE, extra="tables")
    arrays = [column.cast(pa.large_string()).combine_chunks() for column in columns]
    shared = arrays[0]
    for other in arrays[1:]:
        shared = shared.filter(pc.is_in(shared, value_set=other))
    everything = pc.count_distinct(pa.chunked_array(arrays)).as_py()
    return shared, everything - len(shared)


def _rows(store: ScoredStores, clip_ids: Any) -> Any:
    """The index rows of the given clips, in their order."""
    held, table = store.table(clip_ids, ["path", "magnitude_px_mean", "columns", *store.known(["bucket"])])
    if not held.all():
        gone = clip_ids[int(np.argmin(held))].as_py()
        raise OptionError(f"{_WHERE}: the store lacks the scored clip {gone!r}; run motive score again")
    return table


def _clip_specs(store: ScoredStores, table: Any) -> tuple[ClipSpec, ...]:
    """What each row's clip was brought to."""
    gradient = store.first.identity.require(_WHERE)
    if "bucket" not in table.column_names:
        return (gradient.clip_spec,) * len(table)
    return tuple(gradient.seen(bucket)[0] for bucket in table.column("bucket").to_pylist())


def _labels(table: Any, column: str) -> list[str]:
    """The label of each row, empty for none."""
    return [label_in(text, column) for text in table.column("columns").to_pylist()]


def _score_magnitudes(pool: _Pool, name: str) -> NDArray[np.float32]:
    clips = np.asarray(pool.clips.column("magnitude_px_mean").to_numpy(), np.float32)
    queries = np.asarray(pool.queries.column("magnitude_px_mean").to_numpy(), np.float32)
    score = baselines.magnitude_scores if name == MAGNITUDE else baselines.magnitude_closeness_scores
    return score(clips, queries)


def _score_frames(
    pool: _Pool, names: Sequence[str], workers: int, frames_of: FramesOf
) -> tuple[dict[str, NDArray[np.float32]], int]:
    """Scores [n, q] of the baselines that look at frames, reading each clip once; how many could not be read."""

    def features(path: str, clip_spec: ClipSpec) -> list[NDArray[np.float32]] | ClipError:
        try:
            frames = frames_of(Path(path), clip_spec)
        except ClipError as error:
            return error
        return [_FEATURES[name](frames) for name in names]

    query_features = []
    query_paths = pool.queries.column("path").to_pylist()
    for name, path, clip_spec in zip(pool.query_ids, query_paths, pool.query_specs, strict=True):
        found = features(path, clip_spec)
        if isinstance(found, ClipError):
            raise DatasetError(
                f"{_WHERE}: query {name} must be readable for the baselines, got {found}; restore the file"
            ) from found
        query_features.append(found)
    queries = [np.stack([found[i] for found in query_features]) for i in range(len(names))]
    scores = {name: np.full((len(pool.clip_ids), len(query_features)), np.nan, np.float32) for name in names}
    unreadable = 0
    paths = pool.clips.column("path").to_pylist()
    with ThreadPoolExecutor(workers) as threads:
        for start in range(0, len(paths), _ROWS):
            rows = slice(start, start + _ROWS)
            for row, found in enumerate(threads.map(features, paths[rows], pool.clip_specs[rows]), start):
                if isinstance(found, ClipError):
                    unreadable += 1
                    continue
                for i, name in enumerate(names):
                    scores[name][row] = baselines.cosine_scores(found[i][None], queries[i])[0]
    return scores, unreadable


def _result(
    pool: _Pool, found: Mapping[str, Retrieval], kinds: Mapping[str, str], unreadable: int, config: EvaluateConfig
) -> EvaluationResult:
    reference = next(iter(found.values()))
    chance = float(reference.chance.mean())

    def interval(values: NDArray[np.float64]) -> tuple[float, float]:
        return bootstrap_interval(values, resamples=config.resamples, seed=config.seed, confidence=config.confidence)

    members = {name: pool.query_labels == code for code, name in enumerate(pool.label_names)}
    rows = []
    for name, one in found.items():
        precision = float(one.precisions.mean())
        difference = reference.precisions - one.precisions
        rows.append(
            MethodResult(
                name,
                kinds[name],
                precision,
                *interval(one.precisions),
                precision / chance if chance > 0 else None,
                float(difference.mean()),
                *interval(difference),
                {label: float(one.precisions[own].mean()) for label, own in members.items()},
            )
        )
    labels = tuple(
        LabelCount(
            label,
            int(np.count_nonzero(pool.clip_labels == code)),
            int(members[label].sum()),
            float(reference.chance[members[label]].mean()),
        )
        for code, label in enumerate(pool.label_names)
    )
    return EvaluationResult(
        label=config.label,
        top=config.top,
        clips=len(pool.clip_ids),
        clips_left_out=pool.clips_left_out,
        queries=len(pool.query_ids),
        queries_left_out=pool.queries_left_out,
        unreadable=unreadable,
        chance=chance,
        confidence=config.confidence,
        resamples=config.resamples,
        seed=config.seed,
        labels=labels,
        rows=tuple(rows),
    )
