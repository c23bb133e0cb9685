"""Scores of clips of several buckets are put on one level, whatever the shards, blocks and filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from motive.errors import ConfigError
from motive.scores.file import ScoreFile
from motive.scoring import ScoreConfig, score
from motive.scoring.levels import PRIOR_CLIPS
from motive.store import Store, StoreRow
from tests.scoring.conftest import identity_of

BUCKETS = ("480x832x81", "832x480x33", "832x480x81")
COUNTS = (40, 25, 2)


@pytest.fixture
def vectors(random_vectors: Callable[..., dict]) -> dict[str, NDArray[np.float32]]:
    return random_vectors(sum(COUNTS), 12)


@pytest.fixture
def bucket_of(vectors: dict) -> dict[str, str]:
    order = np.random.default_rng(1).permutation(np.repeat(BUCKETS, COUNTS))
    return dict(zip(vectors, map(str, order), strict=True))


@pytest.fixture
def queries(stored: Callable[..., Store], random_vectors: Callable[..., dict]) -> Store:
    return stored("queries", random_vectors(4, 12, "query", seed=5))


def bucketed(path: Path, vectors: dict, bucket_of: dict[str, str], shards: Sequence[Sequence[str]]) -> Store:
    columns = {"path": "string", "bucket": "string"}
    store = Store.create(path, identity=identity_of(12), columns_schema=columns)
    for ids in shards:
        store.append([StoreRow(name, vectors[name], {"bucket": bucket_of[name]}) for name in ids])
    return Store.open(path)


def scores_of(store: Store, queries: Store, out: Path, **options: object) -> dict[str, NDArray[np.float32]]:
    score(store, queries, out, ScoreConfig(**options))  # type: ignore[arg-type]
    file = ScoreFile(out, "test")
    ids = file.column("clip_id").to_pylist()
    blocks = np.concatenate([rows for _, rows in file.scores(file.query_ids)])
    return dict(zip(ids, blocks, strict=True))


def test_each_bucket_loses_its_own_mean(
    tmp_path: Path, vectors: dict, bucket_of: dict[str, str], queries: Store
) -> None:
    store = bucketed(tmp_path / "store", vectors, bucket_of, [list(vectors)])
    raw = scores_of(store, queries, tmp_path / "raw.parquet", bucket_means="keep")
    level = scores_of(store, queries, tmp_path / "level.parquet")
    every = np.mean(list(raw.values()), axis=0, dtype=np.float64)
    for bucket, count in zip(BUCKETS, COUNTS, strict=True):
        own = [name for name in vectors if bucket_of[name] == bucket]
        mean = np.mean([raw[name] for name in own], axis=0, dtype=np.float64)
        shift = count * (mean - every) / (count + PRIOR_CLIPS)
        for name in own:
            assert level[name] == pytest.approx(raw[name] - shift, abs=1e-6)
    left = np.abs(np.mean([level[n] for n in vectors if bucket_of[n] == BUCKETS[0]], axis=0) - every)
    before = np.abs(np.mean([raw[n] for n in vectors if bucket_of[n] == BUCKETS[0]], axis=0) - every)
    assert np.all(left <= 0.3 * before + 1e-6), "a bucket with many clips keeps little of its level"
    metadata = ScoreFile(tmp_path / "level.parquet", "test").metadata
    assert metadata["bucket_means"] == "remove"
    assert metadata["buckets"] == dict(zip(BUCKETS, COUNTS, strict=True))
    assert ScoreFile(tmp_path / "raw.parquet", "test").metadata["bucket_means"] == "keep"


def test_shards_blocks_and_filters_change_no_bit(
    tmp_path: Path, vectors: dict, bucket_of: dict[str, str], queries: Store
) -> None:
    names = list(vectors)
    one = bucketed(tmp_path / "one", vectors, bucket_of, [names])
    many = bucketed(tmp_path / "many", vectors, bucket_of, [names[50:], names[:7], names[7:50]])
    expected = scores_of(one, queries, tmp_path / "one.parquet")
    found = scores_of(many, queries, tmp_path / "many.parquet", block_rows=5)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in names)
    kept = scores_of(one, queries, tmp_path / "kept.parquet", filter=f'bucket == "{BUCKETS[1]}"')
    assert set(kept) == {name for name in names if bucket_of[name] == BUCKETS[1]}
    assert all(np.array_equal(expected[name], row) for name, row in kept.items())


def test_levels_are_of_the_mean_over_checkpoints(
    tmp_path: Path, vectors: dict, bucket_of: dict[str, str], queries: Store
) -> None:
    store = bucketed(tmp_path / "store", vectors, bucket_of, [list(vectors)])
    score(store, queries, tmp_path / "two.parquet", checkpoints=[(store, queries)])
    file = ScoreFile(tmp_path / "two.parquet", "test")
    twice = np.concatenate([rows for _, rows in file.scores(file.query_ids)])
    once = np.stack(list(scores_of(store, queries, tmp_path / "one.parquet").values()))
    assert twice == pytest.approx(once, abs=1e-6)


def test_what_cannot_be_levelled_is_refused_by_its_flag(
    tmp_path: Path, vectors: dict, queries: Store, stored: Callable[..., Store]
) -> None:
    plain = stored("plain", vectors)
    same = bucketed(tmp_path / "same", vectors, dict.fromkeys(vectors, BUCKETS[0]), [list(vectors)])
    for other in (plain, same):
        with pytest.raises(ConfigError, match="bucket_means must be left out where clips have one bucket"):
            score(other, queries, tmp_path / "plain.parquet", ScoreConfig(bucket_means="keep"))
    first, second = (scores_of(s, queries, tmp_path / f"{n}.parquet") for n, s in (("a", plain), ("b", same)))
    assert all(np.array_equal(first[name], second[name]) for name in vectors), "one bucket scores as none"
