"""Promises of a store to its readers and writers."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from motive.errors import OptionError, StoreError
from motive.store import INDEX_COLUMNS, Code, Origin, PlanConfig, Source, Store, StoreRow, verify_store
from motive.store.writer import ShardWriter

IDS = [f"videos/{number:03d}é.mp4" for number in range(23)]


def test_reading_gives_back_what_was_written_sorted_by_id(new_store, rows_of) -> None:
    store, rows = new_store(), rows_of(IDS)
    shuffled = random.Random(0).sample(rows, len(rows))
    store.append(shuffled)
    for seen in (store, Store.open(store.path)):
        assert seen.clip_ids == IDS
        assert len(seen) == len(IDS)
        vectors = seen.vectors()
        assert vectors.dtype == np.float32
        np.testing.assert_array_equal(vectors, np.stack([row.vector for row in rows]))
        assert seen.columns(["clip_id", "path"]).to_pylist() == [
            {"clip_id": clip_id, "path": f"/v/{clip_id}"} for clip_id in IDS
        ]
        assert seen.done_ids() == set(IDS)
        assert verify_store(seen.path).ok, str(verify_store(seen.path))


@pytest.mark.parametrize("cuts", [[1], [0, 7, 8, 20], list(range(1, 23))])
def test_the_split_into_shards_does_not_show(new_store, rows_of, cuts: list[int]) -> None:
    whole, split = new_store("whole"), new_store("split")
    whole.append(rows_of(IDS))
    mixed = random.Random(1).sample(rows_of(IDS), len(IDS))
    for start, stop in zip([0, *cuts], [*cuts, len(IDS)], strict=True):
        split.append(mixed[start:stop])
    again = Store.open(split.path)
    assert again.clip_ids == whole.clip_ids
    np.testing.assert_array_equal(again.vectors(), whole.vectors())
    assert again.columns().equals(whole.columns())
    assert again.version == split.version != whole.version


@pytest.mark.parametrize("rows", [1, 4, 23, 100])
def test_blocks_are_slices_of_the_whole(new_store, rows_of, rows: int) -> None:
    store = new_store()
    for start in range(0, len(IDS), 5):
        store.append(rows_of(IDS[start::5] if start < 5 else []))
    store.append(rows_of(clip_id for clip_id in IDS if clip_id not in store.done_ids()))
    starts, vectors = zip(*store.blocks(rows), strict=True)
    assert list(starts) == list(range(0, len(IDS), rows))
    assert [len(block) for block in vectors[:-1]] == [rows] * (len(starts) - 1)
    np.testing.assert_array_equal(np.concatenate(vectors), store.vectors())


def test_columns_of_chosen_rows_come_in_the_order_asked_for(new_store, rows_of) -> None:
    store = new_store()
    for start in range(3):
        store.append(rows_of(IDS[start::3]))
    rows = np.array([20, 3, 3, 0, 11])
    table = store.columns(["loss", "clip_id"], rows)
    assert table.column_names == ["loss", "clip_id"]
    assert table.column("clip_id").to_pylist() == [IDS[row] for row in rows]
    assert store.columns(["path"], np.array([], np.int64)).num_rows == 0


def test_columns_left_out_are_null_and_unknown_ones_refused(new_store) -> None:
    store = new_store()
    store.append([StoreRow("a", np.ones(5, np.float32)), StoreRow("b", np.ones(5, np.float32), {"loss": None})])
    nulls = {"path": None, "loss": None, "static": None}
    assert store.columns().to_pylist() == [{"clip_id": "a", **nulls}, {"clip_id": "b", **nulls}]
    with pytest.raises(OptionError, match="must be among loss, path, static, got 'lost'"):
        store.append([StoreRow("c", np.ones(5, np.float32), {"lost": 1})])
    with pytest.raises(OptionError, match="column loss must be float32"):
        store.append([StoreRow("c", np.ones(5, np.float32), {"loss": "high"})])
    with pytest.raises(OptionError, match=r"Store\.columns: names must be among"):
        store.columns(["lost"])
    assert store.clip_ids == ["a", "b"]


def test_appending_after_opening_is_seen_at_once_and_by_others_after_refresh(new_store, rows_of) -> None:
    first = new_store()
    first.append(rows_of(IDS[:3]))
    second = Store.open(first.path)
    assert second.clip_ids == IDS[:3]
    before = second.version
    second.append(rows_of(IDS[3:5]))
    assert second.clip_ids == IDS[:5]
    assert second.version != before
    assert first.clip_ids == IDS[:3]
    first.refresh()
    assert first.clip_ids == IDS[:5]
    assert first.version == second.version
    np.testing.assert_array_equal(first.vectors(), second.vectors())


def test_an_empty_store_is_a_store(new_store) -> None:
    store = Store.open(new_store().path)
    assert store.clip_ids == []
    assert store.vectors().shape == (0, 5)
    assert store.columns().num_rows == 0
    assert list(store.blocks()) == []
    assert store.failures() == []
    assert verify_store(store.path).ok
    store.append([])
    store.append_failures([])
    assert len(store) == 0


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        (np.array([1, 2, np.nan, 4, 5], np.float32), "vector of 'bad' must be finite"),
        (np.array([1, 2, np.inf, 4, 5], np.float32), "vector of 'bad' must be finite"),
        (np.ones(4, np.float32), r"must be float32 \[5\], got float32 \[4\]"),
        (np.ones(5, np.float64), r"must be float32 \[5\], got float64 \[5\]"),
        (np.ones((1, 5), np.float32), r"got float32 \[1, 5\]"),
    ],
)
def test_vectors_that_do_not_fit_are_refused_by_clip(new_store, rows_of, vector: np.ndarray, reason: str) -> None:
    store = new_store()
    with pytest.raises(OptionError, match=reason):
        store.append([*rows_of(["good"]), StoreRow("bad", vector)])
    assert Store.open(store.path).clip_ids == []


def test_an_id_twice_in_one_shard_is_refused(new_store, rows_of) -> None:
    with pytest.raises(OptionError, match="clip_id must be unique, got 'a' twice"):
        new_store().append(rows_of(["a", "b", "a"]))


@pytest.mark.parametrize("name", ["", "a/b", "..", "a.b", "x" * 65, 7])
def test_writer_names_that_could_leave_the_folder_are_refused(new_store, name: object) -> None:
    store = new_store()
    with pytest.raises(OptionError, match=r"ShardWriter: name must be"):
        ShardWriter(store.files, name, store.manifest)  # type: ignore[arg-type]


def test_creating_needs_a_free_folder(new_store, tmp_path: Path, identity: dict) -> None:
    store = new_store()
    with pytest.raises(OptionError, match="path must be new, got the store"):
        Store.create(store.path, identity=identity)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(OptionError, match=r"with thesis\.txt in it"):
        Store.create(tmp_path / "full", identity=identity)
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="path must be a folder"):
        Store.create(tmp_path / "file", identity=identity)
    (tmp_path / "cut short" / "commits").mkdir(parents=True)
    (tmp_path / "cut short" / ".tmp-12").write_text("{")
    assert len(Store.create(tmp_path / "cut short", identity=identity)) == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"identity": {"projection": {"dim": 5}}}, "Identity must have gradient, which is absent"),
        ({"identity": {"projection": {"dim": 5}, "gradient": 3}}, "Identity.gradient must be an object, got 3"),
        ({"identity": {"projection": {"dim": 5}, "gradient": {"a": float("nan")}}}, "identity must be made of JSON"),
        ({"identity": {"projection": {"dim": 5}, "gradient": {"a": Path("x")}}}, "identity must be made of JSON"),
        ({"identity": {"projection": {}, "gradient": {}}}, "dim must be in identity.projection or given"),
        ({"dim": 0}, "dim must be an integer from 1"),
        ({"columns_schema": {"x": "float16"}}, "columns.x must be one of string"),
        ({"columns_schema": {"clip_id": "string"}}, "names other than clip_id"),
        ({"origin": Origin(extra={"a": object()})}, "origin must be made of JSON"),
    ],
)
def test_what_a_manifest_cannot_hold_is_refused(new_store, change: dict, reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        new_store(**change)


def test_the_manifest_keeps_identity_and_extra_fields(new_store, identity: dict) -> None:
    origin = Origin(
        Source("/data", "folder", location="/data"),
        {"vectors": {"model": "toy"}, "run": {}},
        PlanConfig.of(IDS, 4, 2),
        Code({"torch": "2.9", "av": None}, "abc"),
        {"sizes": (1, 2)},
    )
    store = new_store(origin=origin, segments="time:2", vectors_digest="0" * 32)
    for seen in (store, Store.open(store.path)):
        assert seen.identity.to_json() == identity
        assert seen.manifest.origin == replace(origin, extra={"sizes": [1, 2]})
        assert seen.manifest.origin.model == "toy"
        assert (seen.segments, seen.manifest.vectors_digest) == ("time:2", "0" * 32)
        assert seen.dim == 5
    assert dict(sorted(INDEX_COLUMNS.items())) == new_store("index", columns_schema=INDEX_COLUMNS).manifest.columns


def test_opening_what_is_no_store_says_so(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(StoreError, match=r"Store\.open: path must be a store with a manifest\.json"):
            Store.open(path)


def test_a_store_of_another_version_names_both(new_store) -> None:
    store = new_store()
    manifest = json.loads((store.path / "manifest.json").read_text())
    (store.path / "manifest.json").write_text(json.dumps({**manifest, "version": 3}))
    with pytest.raises(StoreError, match="version must be 1 or 2, got 3"):
        Store.open(store.path)


def test_damage_is_noticed_when_vectors_are_read(new_store, rows_of) -> None:
    store = new_store()
    store.append(rows_of(IDS))
    path = next((store.path / "shards").glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert Store.open(store.path).clip_ids == IDS, "ids have their own digest"
    with pytest.raises(StoreError, match="content must have digest"):
        Store.open(store.path).vectors()
    assert Store.open(store.path, check=False).vectors().shape == (23, 5), "unless check=False trusts the disk"


def test_vectors_and_ids_need_no_parquet(new_store, rows_of, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_store()
    store.append(rows_of(IDS))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    seen = Store.open(store.path)
    assert seen.clip_ids == IDS
    assert seen.vectors().shape == (23, 5)
