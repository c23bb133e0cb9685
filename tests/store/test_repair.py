"""Repair, merge, compaction and info: the rest stays byte for byte what it was, and nothing is lost in between."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from motive.cli.main import main
from motive.data.base import Failure
from motive.errors import IdentityMismatch, StoreError
from motive.store import Origin, Source, Store, StoreRow, compact, merge_stores, repair_store, store_info, verify_store
from motive.store.files import LocalFiles
from motive.store.merge import missing_rows
from tests.store.shards import commit

IDS = [f"clip-{number:02d}" for number in range(17)]


@pytest.fixture
def store(new_store, rows_of) -> Store:
    """Seventeen clips in shards of three by two writers, two failures."""
    made = new_store()
    for name, part in (("a", IDS[::2]), ("b", IDS[1::2])):
        commit(made, name, rows_of(part), [Failure(f"bad-{name}", "p", "decode", "too_short", "x")], rows_per_shard=3)
    return made


def content(store: Store) -> tuple:
    return store.clip_ids, store.vectors().tobytes(), store.columns().to_pylist(), store.failures()


DAMAGE = {
    "vectors": ("shards/a-00000001.safetensors", "flip"),
    "vectors cut": ("shards/a-00000001.safetensors", "cut"),
    "vectors gone": ("shards/a-00000001.safetensors", "gone"),
    "columns": ("shards/a-00000001.parquet", "flip"),
    "record": ("commits/a-00000001.json", "flip"),
    "record cut": ("commits/a-00000001.json", "cut"),
}


def damage(file: Path, how: str) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.unlink() if how == "gone" else file.write_bytes(bytes(data) if how == "flip" else bytes(data[:-7]))


@pytest.mark.parametrize("case", DAMAGE)
def test_repair_takes_out_what_is_broken_and_a_rerun_restores_the_store(store, rows_of, case: str) -> None:
    before = content(store)
    rest = [clip_id for clip_id in IDS if clip_id not in IDS[::2][3:6]]
    damage(store.path / DAMAGE[case][0], DAMAGE[case][1])
    report = repair_store(store.path)
    assert list(report.quarantined) == ["a-00000001"]
    assert report.redo == ([] if "record" in case else IDS[::2][3:6]), "ids are read from whichever file is whole"
    assert report.unnamed == (["a-00000001"] if "record" in case else [])
    assert verify_store(store.path).problems == []
    seen = Store.open(store.path)
    assert seen.clip_ids == rest
    quarantined = sorted(path.name for path in (store.path / "quarantine").rglob("*.*"))
    assert "redo.jsonl" in quarantined
    assert "a-00000001.json" in quarantined
    seen.append(rows_of(clip_id for clip_id in IDS if clip_id not in seen.done_ids()))
    assert content(Store.open(store.path)) == before
    assert repair_store(store.path).quarantined == {}, "a sound store is left as it is"


@pytest.mark.parametrize("name", ["manifest.json", "manifest.copy.json"])
def test_either_copy_of_the_manifest_is_enough(store, name: str) -> None:
    before = content(store)
    damage(store.path / name, "cut")
    assert verify_store(store.path).ok is (name != "manifest.json")
    repair_store(store.path)
    assert content(Store.open(store.path)) == before
    assert verify_store(store.path).notes == []
    for each in ("manifest.json", "manifest.copy.json"):
        damage(store.path / each, "flip")
    with pytest.raises(StoreError, match=r"manifest.json or manifest.copy.json must be whole, got neither"):
        repair_store(store.path)


@pytest.mark.parametrize("rows", [1, 4, 7, 100])
@pytest.mark.parametrize("keep", [False, True])
def test_compaction_keeps_every_clip_and_leaves_fewer_shards(store, rows: int, keep: bool) -> None:
    before = content(store)
    done = compact(store.path, rows, keep_replaced=keep)
    after = Store.open(store.path)
    assert content(after) == before
    assert done.clips == len(IDS)
    assert done.after <= done.before
    report = verify_store(store.path)
    assert report.ok, str(report)
    assert bool(report.notes) is (keep and done.after < done.before), str(report)
    store.refresh()
    assert content(store) == before, "a reader that was open sees the new shards after refresh()"
    repair_store(store.path, sweep=True)
    assert verify_store(store.path).notes == []
    assert content(Store.open(store.path)) == before


def test_compaction_keeps_the_row_that_counts_of_a_clip_committed_twice(new_store, rows_of) -> None:
    store = new_store()
    for name, value, ids in (("c", 3, "xyz"), ("a", 1, "x"), ("b", 2, "xy")):
        commit(store, name, [StoreRow(clip_id, np.full(5, value, np.float32)) for clip_id in ids])
    before = content(store)
    for rows in (1, 2, 100):
        compact(store.path, rows)
        assert content(Store.open(store.path)) == before
    assert verify_store(store.path).notes == []


def test_a_compaction_cut_short_anywhere_leaves_a_whole_store(store, tmp_path, monkeypatch) -> None:
    before = content(store)
    step, cut = 0, True
    while cut:
        path = shutil.copytree(store.path, tmp_path / f"cut-{step}")
        calls, cut = iter(range(10_000)), False

        def counted(real, calls=calls, step=step):
            def call(*args, **kwargs):
                if next(calls) == step:
                    raise KeyboardInterrupt
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in ("create", "publish", "remove"):
                patch.setattr(LocalFiles, name, counted(getattr(LocalFiles, name)))
            try:
                compact(path, 6)
            except KeyboardInterrupt:
                cut = True
        assert content(Store.open(path)) == before, f"cut at step {step}"
        assert verify_store(path).ok, f"cut at step {step}"
        compact(path, 6)
        assert content(Store.open(path)) == before, f"again after a cut at step {step}"
        step += 1
    assert step > 20


def test_merging_says_which_datasets_the_result_does_not_name(new_store, rows_of, tmp_path: Path) -> None:
    stores = []
    for name, root in (("a", "/one"), ("b", "/two"), ("c", "/one")):
        store = new_store(name, origin=Origin(source=Source(root, "folder", location=root)))
        store.append(rows_of([f"{name}.mp4"]))
        stores.append(store.path)
    done = merge_stores(tmp_path / "m", stores)
    assert (done.added, done.dataset, done.other_datasets) == (3, "/one", ("/two",))
    assert done.lines()[1].endswith("motive select cannot write those of /two")
    assert len(merge_stores(tmp_path / "n", stores[::2]).lines()) == 1


def test_merging_keeps_the_first_source_and_can_be_repeated(new_store, rows_of, tmp_path: Path) -> None:
    a, b = new_store("a"), new_store("b")
    a.append(rows_of(IDS[:9]))
    b.append([*rows_of(IDS[9:]), StoreRow(IDS[0], np.full(5, 9, np.float32))])
    b.append_failures([Failure("bad", "p", "decode", "too_short", "x")])
    for _ in range(2):
        done = merge_stores(tmp_path / "m", [a.path, b.path], rows_per_shard=4)
        merged = Store.open(tmp_path / "m")
        assert merged.clip_ids == IDS
        np.testing.assert_array_equal(merged.vectors(), np.stack([row.vector for row in rows_of(IDS)]))
        assert [failure.clip_id for failure in merged.failures()] == ["bad"]
        assert verify_store(merged.path).ok
    assert (done.added, done.already) == (0, 18)
    other = new_store("other", identity={"projection": {"dim": 5, "seed": 1}, "gradient": {}})
    with pytest.raises(IdentityMismatch):
        merge_stores(tmp_path / "m", [other.path])


def test_merging_keeps_the_segments_of_a_clip_in_one_shard(new_store, rows_of, tmp_path: Path) -> None:
    source = new_store("a", segments="regions")
    names = {"a": ("ball", "rest"), "a#m": ("ball", "rest"), "b": ("cat", "dog", "rest"), "c": ("rest",)}
    ids = [f"{clip}#{name}" for clip, parts in names.items() for name in parts]
    source.append(rows_of(sorted(ids)))
    for rows in range(1, 10):
        out = tmp_path / f"m{rows}"
        merge_stores(out, [source.path], rows_per_shard=rows)
        merged = Store.open(out)
        assert content(merged) == content(source)
        assert verify_store(out).problems == []
        shards = [part.to_pylist() for part in map(pq.read_table, out.glob("shards/*.parquet"))]
        clips = [{row["clip_id"].rpartition("#")[0] for row in shard} for shard in shards]
        assert sum(map(len, clips)) == len(names), f"a clip is cut apart by {rows} rows"


def test_repair_names_clips_that_keep_some_of_their_segments(new_store, rows_of) -> None:
    store = new_store("a", segments="time:2")
    for part in (["a#t0", "a#t1", "b#t0"], ["b#t1", "c#t0", "c#t1"], ["c#t0", "c#t1"]):
        commit(store, "w", rows_of(part))
    damage(store.path / "shards/w-00000001.safetensors", "flip")
    report = repair_store(store.path)
    assert report.redo == []
    assert [note for note in report.notes if "segments are lost" in note] == report.notes
    assert len(report.notes) == 1, "c is whole in another shard"
    assert report.notes[0].startswith("clip 'b': some of its segments are lost")


def test_missing_rows_are_those_of_a_set_difference(rows_of) -> None:
    from motive.store import ClipIds

    held, wanted = sorted(["a", "bb", "ccc"]), sorted(["a", "b", "bb", "bbb", "d"])
    found = missing_rows(ClipIds.encode(held, "t"), ClipIds.encode(wanted, "t"))
    assert [wanted[row] for row in found] == [clip_id for clip_id in wanted if clip_id not in held]


def test_info_and_the_verbs(store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = store_info(store.path)
    assert (info.clips, info.shards, info.writers, info.failures) == (17, 8, 2, {"too_short": 2})
    assert main(["info", str(store.path)]) == 0
    assert "17 of width 5" in capsys.readouterr().out
    assert main(["compact", str(store.path)]) == 0
    assert main(["merge", str(store.path), "--out", str(tmp_path / "copy")]) == 0
    shutil.rmtree(store.path / "shards")
    assert main(["verify", str(store.path)]) == 1
    assert main(["repair", str(store.path)]) == 0
    assert main(["verify", str(store.path)]) == 0
    assert main(["info", str(tmp_path / "none")]) == 1
    assert "must be a store" in capsys.readouterr().err
