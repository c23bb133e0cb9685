"""Many writers, crashes and full disks: what is committed is whole, the rest does not show."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from motive.data.base import Failure
from motive.errors import StoreError
from motive.store import Store, StoreRow, verify_store
from motive.store.files import LocalFiles
from tests.faults.points import Point
from tests.store.shards import commit

IDS = [f"{number:03d}" for number in range(40)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("names", ["abcd", ("same", "same", "same", "same")])
def test_writers_at_the_same_time_lose_and_double_nothing(new_store, rows_of, names) -> None:
    store = new_store()

    def work(part: int, name: str) -> None:
        commit(Store.open(store.path), name, rows_of(IDS[part::4]), rows_per_shard=3)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4), names))
    store.refresh()
    assert store.clip_ids == IDS
    np.testing.assert_array_equal(store.vectors(), np.stack([row.vector for row in rows_of(IDS)]))
    report = verify_store(store.path)
    assert report.ok, str(report)
    assert (report.clips, report.shards, report.notes) == (40, 16, [])


def test_a_clip_committed_twice_is_read_once_and_reported(new_store, rows_of) -> None:
    store = new_store()
    other = StoreRow("dup", np.full(5, 7, np.float32))
    commit(store, "b", [StoreRow("dup", np.full(5, 3, np.float32)), *rows_of(["y"])])
    commit(store, "a", [other, *rows_of(["x"])])
    for seen in (store, Store.open(store.path)):
        assert seen.clip_ids == ["dup", "x", "y"]
        np.testing.assert_array_equal(seen.vectors()[0], other.vector, err_msg="first by shard name, not by time")
        assert seen.columns(["clip_id"]).column("clip_id").to_pylist() == ["dup", "x", "y"]
    report = verify_store(store.path)
    assert report.ok
    assert report.clips == 3
    assert [note.reason for note in report.notes] == ["clip 'dup' was committed 2 times; readers take the first"]
    assert report.notes[0].file == "shards/a-00000000, shards/b-00000000"


def test_leftovers_of_a_crash_do_not_show(new_store, rows_of) -> None:
    store = new_store()
    commit(store, "w", rows_of(IDS[:5]))
    before = Store.open(store.path)
    # Cut short before the commit: files of the next shard, half a file, and unfinished temporary files.
    (store.path / "shards" / "w-00000001.parquet").write_bytes(b"PAR1 half a f")
    (store.path / "shards" / "w-00000002.safetensors").write_bytes(b"")
    (store.path / "commits" / ".tmp-0123").write_bytes(b'{"format": "motive.st')
    (store.path / ".tmp-4567").write_bytes(b"x")
    (store.path / "commits" / "notes.txt").write_text("not a commit")
    seen = Store.open(store.path)
    assert seen.clip_ids == before.clip_ids
    assert seen.version == before.version
    report = verify_store(seen.path)
    assert report.ok, str(report)
    assert len(report.notes) == 5
    commit(seen, "w", rows_of(IDS[5:9]))  # the same worker, started again
    assert Store.open(store.path).clip_ids == IDS[:9]
    assert (store.path / "commits" / "w-00000003.json").exists(), "names of leftovers are passed over"
    assert (store.path / "shards" / "w-00000001.parquet").read_bytes() == b"PAR1 half a f"


@pytest.mark.parametrize("step", range(5))  # two data files, their folder, the record, its folder
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_fault_at_any_step_of_a_commit_leaves_all_or_nothing(
    new_store, rows_of, monkeypatch: pytest.MonkeyPatch, step: int, fault: BaseException
) -> None:
    store = new_store()
    store.append(rows_of(IDS[:3]))
    before = Store.open(store.path)
    calls = iter(range(100))
    real = os.fsync

    def failing(handle: int) -> None:
        if next(calls) == step:
            raise fault
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(StoreError if isinstance(fault, OSError) else KeyboardInterrupt):
            store.append(rows_of(IDS[3:6]))
    seen = Store.open(store.path)
    assert seen.clip_ids in (IDS[:3], IDS[:6])
    assert verify_store(seen.path).ok, str(verify_store(seen.path))
    np.testing.assert_array_equal(seen.vectors()[:3], before.vectors())
    seen.append(rows_of(clip_id for clip_id in IDS if clip_id not in seen.done_ids()))
    assert Store.open(store.path).clip_ids == IDS
    assert verify_store(store.path).ok


def test_a_full_disk_is_one_clear_message(new_store, rows_of, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_store()
    before = files_of(store.path)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="must be writable, got No space left on device; free space"):
            store.append(rows_of(IDS[:3]))
    assert files_of(store.path) == before, "nothing is left behind"
    assert store.clip_ids == []
    store.append(rows_of(IDS[:3]))
    assert store.clip_ids == IDS[:3]


def test_publishing_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    files = LocalFiles(tmp_path)
    files.publish("a", b"1", replace=False)
    with pytest.raises(FileExistsError):
        files.publish("a", b"2", replace=False)
    files.publish("a", b"3", replace=True)
    assert files_of(tmp_path) == {"a": b"3"}


def test_a_shard_of_another_store_is_refused(new_store, rows_of, identity) -> None:
    ours, theirs = new_store("ours"), new_store("theirs", identity={**identity, "gradient": {}})
    theirs.append(rows_of(["x"]))
    for name, data in files_of(theirs.path).items():
        if name != "manifest.json":
            target = ours.path / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)
    with pytest.raises(StoreError, match="the shard belongs to another store"):
        Store.open(ours.path)
    assert not verify_store(ours.path).ok


@pytest.mark.skipif(os.name == "nt", reason="kills a process with a signal")
@pytest.mark.parametrize(("kind", "number", "shards"), [("commit", 5, 5), ("write", 14, 4), ("file", 1, 0)])
def test_a_killed_writer_leaves_only_whole_shards(new_store, kind: str, number: int, shards: int) -> None:
    """Killed between two commits, in the middle of the fifth shard's second file, and before the first file."""
    store = new_store()
    code = """
import sys, numpy as np
from motive.store import Store, StoreRow
from tests.faults.points import Point, arm
store = Store.open(sys.argv[1])
arm(Point.parse(sys.argv[2]))
for number in range(9):
    store.append([StoreRow(f"{number:06d}-{row}", np.full(5, number, np.float32)) for row in range(3)])
"""
    point = Point(kind, number, str(store.path), alone=True)
    command = [sys.executable, "-c", code, str(store.path), str(point)]
    done = subprocess.run(command, check=False, start_new_session=True)
    assert done.returncode == -signal.SIGKILL
    seen = Store.open(store.path)
    assert len(seen) == 3 * shards
    assert verify_store(seen.path).ok, str(verify_store(seen.path))
    np.testing.assert_array_equal(seen.vectors()[:, 0], [int(clip_id.split("-")[0]) for clip_id in seen.clip_ids])


def test_failures_and_vectors_of_one_writer_do_not_collide(new_store, rows_of) -> None:
    store = new_store()
    for rows in (IDS[:2], IDS[2:4]):
        for row in rows_of(rows):
            failure = Failure(f"not {row.clip_id}", "p", "decode", "too_short", "d")
            commit(Store.open(store.path), "w", [row], [failure])
    report = verify_store(store.path)
    assert report.ok, str(report)
    assert (report.clips, report.failures, report.shards, report.notes) == (4, 4, 8, [])
