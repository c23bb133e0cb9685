"""Int8 scores of several buckets on one level: defined by the int8 scores, and close to the float32 ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from motive.scores.file import ScoreFile
from motive.scores.ranking import share_count
from motive.scoring import ScoreConfig, score, topk
from motive.scoring.int8 import levelled
from motive.scoring.int8.levelled import LevelledScores
from motive.scoring.levels import PRIOR_CLIPS
from motive.store import Store, StoreRow
from tests.scoring.conftest import identity_of

BUCKETS = ("480x832x81", "832x480x33", "832x480x81")
COUNTS = (60, 45, 3)
WIDTH, QUERIES = 24, 5
N = sum(COUNTS)


@pytest.fixture
def store(tmp_path: Path, random_vectors: Callable[..., dict]) -> Store:
    """Buckets whose mean scores differ, in two shards out of order."""
    vectors = random_vectors(N, WIDTH)
    names = list(vectors)
    buckets = np.random.default_rng(1).permutation(np.repeat(BUCKETS, COUNTS))
    offsets = {bucket: 0.8 * np.random.default_rng(at).standard_normal(WIDTH) for at, bucket in enumerate(BUCKETS)}
    columns = {"path": "string", "bucket": "string"}
    made = Store.create(tmp_path / "store", identity=identity_of(WIDTH), columns_schema=columns)
    for ids in (range(50, N), range(50)):
        made.append([
            StoreRow(names[at], (vectors[names[at]] + offsets[buckets[at]]).astype(np.float32), {"bucket": buckets[at]})
            for at in ids
        ])  # fmt: skip
    return Store.open(tmp_path / "store")


@pytest.fixture
def queries(stored: Callable[..., Store], random_vectors: Callable[..., dict]) -> Store:
    return stored("queries", random_vectors(QUERIES, WIDTH, "query", seed=5))


def codes_of(store: Store) -> NDArray[np.int64]:
    return np.searchsorted(BUCKETS, store.columns(["bucket"]).column("bucket").to_pylist())


def by_int8(store: Store, queries: Store, **options: object) -> NDArray[np.float32]:
    """[n, q] every int8 score without levels."""
    found = topk(store, queries, N, ScoreConfig(bucket_means="keep", **options), rescore=False)  # type: ignore[arg-type]
    every = np.empty((N, QUERIES), np.float32)
    for query in range(QUERIES):
        every[found.rows[query], query] = found.scores[query]
    return every


def by_float(store: Store, queries: Store, out: Path, **options: object) -> NDArray[np.float32]:
    """[n, q] every float32 score."""
    score(store, queries, out, ScoreConfig(**options))  # type: ignore[arg-type]
    file = ScoreFile(out, "test")
    return np.concatenate([rows for _, rows in file.scores(file.query_ids)])


def shifts_of(scores: NDArray[np.float32], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """[buckets, q] by the definition in docs/buckets.md, one clip after the other."""
    sums = np.zeros((len(BUCKETS), QUERIES))
    for row, code in zip(scores, codes, strict=True):
        sums[code] += row
    clips = np.bincount(codes)[:, None]
    return clips / (clips + PRIOR_CLIPS) * (sums / clips - sums.sum(0) / N)


def level(scores: NDArray[np.float32], shifts: NDArray[np.float64], codes: NDArray[np.int64]) -> NDArray[np.float32]:
    return (scores - shifts[codes]).astype(np.float32)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_votes_means_and_maxima_are_of_levelled_int8_scores(
    tmp_path: Path, store: Store, queries: Store, similarity: str
) -> None:
    codes = codes_of(store)
    raw = by_int8(store, queries, similarity=similarity)
    expected = level(raw, shifts_of(raw, codes), codes)
    config = ScoreConfig(precision="int8", similarity=similarity, top_k=7)  # type: ignore[arg-type]
    done = score(store, queries, tmp_path / "int8.parquet", config)
    file = ScoreFile(tmp_path / "int8.parquet", "test")
    count = share_count(config.vote_share, N)
    thresholds = np.sort(expected, axis=0)[-count]
    assert file.column("votes").to_numpy().tolist() == (expected >= thresholds).sum(1).tolist()
    assert file.column("max").to_numpy() == pytest.approx(expected.max(1), abs=1e-6)
    assert file.column("mean").to_numpy() == pytest.approx(
        expected.mean(1, dtype=np.float64), abs=1e-4 * float(np.abs(raw).max())
    ), "the mean query is rounded to 16 bits by itself"
    found = np.array([query.threshold for query in done.queries])
    assert found == pytest.approx(thresholds, rel=1e-6)
    assert [query.voted for query in done.queries] == [count] * QUERIES
    assert (file.metadata["bucket_means"], file.metadata["buckets"]) == (
        "remove", dict(zip(BUCKETS, COUNTS, strict=True)),
    )  # fmt: skip


def test_lists_are_of_float32_scores_less_the_int8_levels(tmp_path: Path, store: Store, queries: Store) -> None:
    """Each list is proven complete as without levels, and its scores differ from float32's by the shifts alone."""
    codes = codes_of(store)
    shifts = shifts_of(by_int8(store, queries), codes)
    raw = by_float(store, queries, tmp_path / "raw.parquet", bucket_means="keep")
    expected = level(raw, shifts, codes)
    found = topk(store, queries, 9)
    for query in range(QUERIES):
        order = np.lexsort((np.arange(N), -expected[:, query]))[:9]
        assert found.rows[query].tolist() == order.tolist()
        assert found.scores[query] == pytest.approx(expected[order, query], abs=1e-7)
    float_levels = by_float(store, queries, tmp_path / "levels.parquet")
    # An int8 score of width 24 is off by less than 0.01, so the mean of several by no more.
    assert np.abs(shifts - shifts_of(raw, codes)).max() < 0.003
    assert np.abs(expected - float_levels).max() < 0.003
    plain = topk(store, queries, 9, ScoreConfig(bucket_means="keep"))
    assert any(set(a) != set(b) for a, b in zip(found.rows, plain.rows, strict=True)), "the levels count for something"


def test_without_rescoring_the_lists_are_of_int8(store: Store, queries: Store) -> None:
    codes = codes_of(store)
    raw = by_int8(store, queries)
    expected = level(raw, shifts_of(raw, codes), codes)
    found = topk(store, queries, 11, rescore=False)
    for query in range(QUERIES):
        order = np.lexsort((np.arange(N), -expected[:, query]))[:11]
        assert found.rows[query].tolist() == order.tolist()
        assert found.scores[query] == pytest.approx(expected[order, query], abs=1e-7)


def test_blocks_tiles_and_shards_change_no_bit(
    tmp_path: Path, store: Store, queries: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(queries.clip_ids)
    config = ScoreConfig(
        precision="int8", top_k=6, filter='bucket != "832x480x81"', weights={names[1]: 3.0},
        groups={names[0]: "a", names[1]: "b", names[2]: "a"},
    )  # fmt: skip
    score(store, queries, tmp_path / "one.parquet", config)
    monkeypatch.setattr(levelled, "_TILE_QUERIES", 2)
    monkeypatch.setattr(levelled, "_BLOCK_SCORES", 14)
    score(store, queries, tmp_path / "many.parquet", config)
    one, many = (ScoreFile(tmp_path / f"{name}.parquet", "test") for name in ("one", "many"))
    assert one.column("clip_id").to_pylist() == many.column("clip_id").to_pylist()
    assert len(one.column("clip_id")) == N - COUNTS[2]
    assert all(one.column(name).equals(many.column(name)) for name in one.names)


def test_levels_are_those_of_all_clips_also_where_some_are_ranked(store: Store, queries: Store) -> None:
    every = topk(store, queries, N)
    some = topk(store, queries, COUNTS[1], ScoreConfig(filter=f'bucket == "{BUCKETS[1]}"'))
    scores = {(q, row): s for q in range(QUERIES) for row, s in zip(every.rows[q], every.scores[q], strict=True)}
    for query in range(QUERIES):
        assert all(scores[query, row] == found for row, found in zip(some.rows[query], some.scores[query], strict=True))


def test_checkpoints_are_levelled_by_their_mean(store: Store, queries: Store) -> None:
    once, twice = topk(store, queries, 5), topk(store, queries, 5, checkpoints=[(store, queries)])
    assert np.array_equal(once.rows, twice.rows)
    assert once.scores == pytest.approx(twice.scores, abs=0.003)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([-2.5, -1.0, -0.0, 0.0, 2.0**-100, 0.25, 0.5, 0.75, 3.0]), min_size=1, max_size=30),
    st.data(),
)
def test_the_threshold_is_the_kth_largest(values: list[float], data: st.DataObject) -> None:
    """Ties, signs and both zeros."""
    count = data.draw(st.integers(1, len(values)))
    share = count / len(values)
    scores = _scores_of(np.array(values, np.float32))
    votes, thresholds, seen = scores.vote(share, None)
    expected = np.sort(np.array(values, np.float32))[-share_count(share, len(values))]
    assert thresholds.tolist() == [expected]
    assert votes.tolist() == [int(value >= expected) for value in values]
    assert seen.voted.tolist() == [sum(votes.tolist())]
    assert seen.tied.tolist() == [sum(value == expected for value in values)]
    assert (seen.lowest.tolist(), seen.highest.tolist()) == ([min(values)], [max(values)])


def _scores_of(values: NDArray[np.float32]) -> LevelledScores:
    """Levelled scores that are these: the negated shifts of clips that score 0, each a bucket by itself."""
    n = len(values)
    return LevelledScores(
        directions=torch.ones(1, 4, dtype=torch.float64),
        values=torch.zeros(n, 4, dtype=torch.int8),
        scales=torch.ones(n),
        keep=None,
        devices=(),
        missed=np.zeros(1),
        sizes=np.ones(1),
        lengths=None,
        errors=np.zeros(n, np.float32),
        codes=np.arange(n),
        shifts=-values.astype(np.float64)[:, None],
    )
