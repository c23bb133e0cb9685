"""Caches that grow with their stores: the same bits as caches made anew, whatever happened to the shards."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from motive.errors import StoreError
from motive.scoring import ScoreConfig, score, topk
from motive.scoring.int8.cache import int8_store
from motive.scoring.precondition import second_moment
from motive.scoring.view import View
from motive.store import Store, StoreRow, compact
from tests.scoring.conftest import identity_of
from tests.store.shards import commit

BYTES = ScoreConfig(precision="int8", preconditioner="ridge", top_k=5)


def rows_of(pool: dict[str, np.ndarray], ids: list[str]) -> list[StoreRow]:
    return [StoreRow(clip_id, pool[clip_id]) for clip_id in ids]


def caches(view: View) -> tuple[list[str], list[bytes]]:
    """What became of each cache, and everything in it, made where there is an earlier one."""
    stored = int8_store(view, "test")
    moments = [second_moment(view, unit, "test") for unit in (True, False)]
    numbers = [stored.values, stored.scales, stored.norms, stored.errors]
    numbers += [number for moment in moments for number in (moment.eigenvalues, moment.eigenvectors)]
    return [stored.cache, *(moment.cache for moment in moments)], [np.ascontiguousarray(n).tobytes() for n in numbers]


def anew(stores: list[Store], folder: Path) -> list[bytes]:
    """The same numbers without any earlier cache."""
    shutil.rmtree(folder, ignore_errors=True)
    states, numbers = caches(View([Store.open(store.path) for store in stores], "test", folder))
    assert states == ["written"] * 3
    return numbers


def test_appended_clips_are_all_that_is_read(tmp_path, stored, random_vectors, monkeypatch) -> None:
    pool = random_vectors(400, 12)
    ids = sorted(pool, key=lambda clip_id: hash_of(clip_id))
    store = stored("s", pool, [ids[:100], ids[100:250]])
    assert caches(View([store], "test"))[0] == ["written"] * 3
    read = []
    whole = Store._gather
    monkeypatch.setattr(Store, "_gather", lambda *given: read.append(given[2].size) or whole(*given))
    for number, part in enumerate((ids[250:251], ids[251:390], ids[390:])):
        Store.open(store.path).append(rows_of(pool, part))
        read.clear()
        view = View([Store.open(store.path)], "test")
        states, numbers = caches(view)
        longest = max(float(np.linalg.norm(pool[i])) for i in ids[:250])
        grown_raw = max(float(np.linalg.norm(pool[i])) for i in part) <= 2.0 ** np.ceil(np.log2(longest))
        assert states[:2] == ["grown", "grown"]
        if grown_raw:
            assert sum(read) == 4 * len(part), "old clips must not be read again"
        monkeypatch.setattr(Store, "_gather", whole)
        assert numbers == anew([store], tmp_path / f"anew{number}")
        monkeypatch.setattr(Store, "_gather", lambda *given: read.append(given[2].size) or whole(*given))
    kept = sorted(path.name.split("-")[0] for path in (store.path / "cache").iterdir())
    assert kept == ["int8", "precondition", "precondition"], "caches of earlier versions go"


def hash_of(text: str) -> int:
    """A shuffle that is the same every time."""
    return int.from_bytes(text.encode(), "little") * 2654435761 % 2**32


def test_a_longer_vector_than_any_before_is_taken_in(tmp_path, stored, random_vectors) -> None:
    """Raw moments are scaled by the longest vector, so that all of them are summed again."""
    pool = random_vectors(60, 5)
    store = stored("s", pool)
    caches(View([store], "test"))
    store.append([StoreRow("long", np.full(5, 1e6, np.float32)), StoreRow("zero", np.zeros(5, np.float32))])
    states, numbers = caches(View([Store.open(store.path)], "test"))
    assert states == ["grown", "grown", "written"]
    assert numbers == anew([store], tmp_path / "anew")


def test_compacted_shards_are_known_and_replaced_clips_are_not(tmp_path, stored, random_vectors) -> None:
    pool = random_vectors(120, 6)
    ids = sorted(pool)
    store = stored("s", pool, [ids[::4], ids[1::4], ids[2::4]])
    caches(View([store], "test"))
    compact(store.path)
    again = Store.open(store.path)
    again.append(rows_of(pool, ids[3::4]))
    states, numbers = caches(View([Store.open(store.path)], "test"))
    assert states == ["grown"] * 3
    assert numbers == anew([store], tmp_path / "anew")
    (first,) = sorted(again.commits)[:1]
    commit(Store.open(store.path), "0", [StoreRow(ids[0], -pool[ids[5]])])
    changed = Store.open(store.path)
    assert sorted(changed.commits)[0] != first, "the clip's new row must come first"
    states, numbers = caches(View([changed], "test"))
    assert states == ["written"] * 3, "a clip whose vector is another one makes sums of old clips wrong"
    assert numbers == anew([store], tmp_path / "more")


def test_several_stores_grow_together_and_keep_their_own_caches(tmp_path, stored, random_vectors) -> None:
    pool = random_vectors(90, 7)
    ids = sorted(pool)
    one, two = stored("a", pool, [ids[::3]]), stored("b", pool, [ids[1::3], ids[:4]])
    caches(View([one], "test"))
    caches(View([one, two], "test"))
    Store.open(two.path).append(rows_of(pool, ids[5::3]))
    states, numbers = caches(View([Store.open(one.path), Store.open(two.path)], "test"))
    assert states == ["grown"] * 3
    assert numbers == anew([one, two], tmp_path / "anew")
    assert caches(View([one], "test"))[0] == ["read"] * 3, "one store's caches stay when both grow"


def test_bytes_of_vectors_of_another_length_are_kept(tmp_path, stored, random_vectors) -> None:
    short, long = (View([stored(f"s{k}", random_vectors(20, k))], "test", tmp_path / "shared") for k in (5, 9))
    assert [int8_store(view, "test").cache for view in (short, long, short)] == ["written", "written", "read"]


def test_scores_from_grown_caches_have_the_same_bits(tmp_path, stored, random_vectors) -> None:
    pool, queries = random_vectors(150, 8), stored("q", random_vectors(3, 8, "q", seed=2))
    other, asked = random_vectors(150, 8, seed=4), stored("p", random_vectors(3, 8, "q", seed=3))
    ids = sorted(pool)
    stores = [stored("s", pool, [ids[::2]]), stored("t", other, [ids[::2]])]
    score(stores[0], queries, tmp_path / "s.parquet", BYTES, checkpoints=[(stores[1], asked)])
    for store, vectors in zip(stores, (pool, other), strict=True):
        Store.open(store.path).append(rows_of(vectors, ids[1::2]))
    tables = []
    for cache in ("", str(tmp_path / "elsewhere")):
        config = ScoreConfig(**{**BYTES.__dict__, "cache": cache})
        found = score(stores[0].path, queries, tmp_path / "s.parquet", config, checkpoints=[(stores[1].path, asked)])
        assert found.metadata["int8_cache"] == ("written" if cache else "grown")
        tables.append(pq.read_table(found.path).to_pydict())
    assert tables[0] == tables[1]
    assert len(list((tmp_path / "elsewhere" / "cache").iterdir())) == 3, "one of bytes, and a moment a checkpoint"


def test_a_store_that_is_not_on_a_disk_is_scored_with_a_cache_that_is(tmp_path, random_vectors) -> None:
    pytest.importorskip("fsspec", reason="the package fsspec is not installed")
    pool, queries = random_vectors(80, 6), random_vectors(2, 6, "q", seed=1)
    places = [f"memory://{tmp_path.name}-{name}" for name in ("clips", "queries")]
    for place, vectors in zip(places, (pool, queries), strict=True):
        Store.create(place, identity=identity_of(6), columns_schema={}).append(rows_of(vectors, sorted(vectors)))
    without = score(*places, tmp_path / "a.parquet", ScoreConfig(precision="int8", top_k=5))
    assert "name a folder with cache" in without.metadata["int8_cache"]
    config = ScoreConfig(precision="int8", top_k=5, cache=str(tmp_path / "cache"))
    states = [score(*places, tmp_path / "b.parquet", config).metadata["int8_cache"] for _ in range(2)]
    assert states == ["written", "read"]
    assert pq.read_table(without.path).equals(pq.read_table(tmp_path / "b.parquet"))


def test_a_vector_that_is_not_the_one_in_the_cache_is_refused(tmp_path, stored, random_vectors) -> None:
    """Lists are scored from a few rows of the record, whose shards are not hashed for it."""
    store, queries = stored("s", random_vectors(50, 6)), stored("q", random_vectors(2, 6, "q"))
    best = topk(store.path, queries, 3)
    (shard,) = (store.path / "shards").glob("*.safetensors")
    data = bytearray(shard.read_bytes())
    vector = store.vectors_at(best.rows[0, :1])[0].tobytes()
    place = data.index(vector)
    data[place + 3] ^= 0x80  # the sign of the first number
    shard.write_bytes(data)
    with pytest.raises(StoreError, match="not the one that the int8 cache was made of"):
        topk(store.path, queries, 3)
