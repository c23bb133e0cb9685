"""Stores in object stores: the same content as on a disk, also when the server fails."""

from __future__ import annotations

import importlib.util
import secrets
from pathlib import Path

import numpy as np
import pytest
from fsspec.exceptions import FSTimeoutError

from motive.cli.main import main
from motive.data.base import Failure
from motive.errors import OptionError, StoreError
from motive.store import Store, StoreRow, compact, merge_stores, repair_store, store_info, verify_store
from motive.store.remote import RemoteFiles
from motive.workers.launch import LaunchConfig
from tests.faults.s3 import Faults, s3_server
from tests.faults.synthetic import COLUMNS, Synthetic, SyntheticJob, clip_ids, identity

needs_s3 = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("moto", "s3fs", "flask", "flask_cors")),
    reason="needs moto[server] and s3fs",
)


@pytest.fixture
def address() -> str:
    """An empty place in memory."""
    return f"memory://store-{secrets.token_hex(4)}"


def fill(location: str | Path, job: SyntheticJob, rows: int = 7) -> Store:
    store, expected = job.begin(location), job.expected()
    missing = {clip_id: vector for clip_id, vector in expected.items() if store.ids.find(clip_id) < 0}
    made = [StoreRow(clip_id, vector, {"path": clip_id, "loss": 1.0}) for clip_id, vector in missing.items()]
    for start in range(0, len(made), rows):
        store.append(made[start : start + rows])
    store.append_failures([Failure("bad", "p", "decode", "too_short", "x")])
    return Store.open(location)


def check(store: Store, job: SyntheticJob) -> None:
    expected = job.expected()
    assert store.clip_ids == sorted(expected)
    np.testing.assert_array_equal(store.vectors(), np.stack([expected[clip_id] for clip_id in sorted(expected)]))
    report = verify_store(store.location)
    assert report.ok, str(report)


def test_a_store_elsewhere_holds_what_one_on_disk_holds(address: str, tmp_path: Path) -> None:
    job = SyntheticJob(40)
    there, here = fill(address, job), fill(tmp_path / "here", job)
    check(there, job)
    assert there.columns().to_pylist() == here.columns().to_pylist()
    assert there.failures() == here.failures()
    assert store_info(address).clips == 40
    with pytest.raises(OptionError, match="path must be new"):
        Store.create(address, identity=identity(32), columns_schema=COLUMNS)
    with pytest.raises(StoreError, match="must be on a local disk"):
        _ = there.path


def test_compaction_repair_and_merging_work_there_too(address: str, tmp_path: Path) -> None:
    job = SyntheticJob(40)
    store = fill(address, job)
    compact(address, 100)
    check(Store.open(address), job)
    name = next(name for name in store.files.names("shards") if name.endswith(".safetensors"))
    data = bytearray(store.files.read(f"shards/{name}"))
    data[-1] ^= 1
    store.files.publish(f"shards/{name}", bytes(data), replace=True)
    assert not verify_store(address).ok
    report = repair_store(address, sweep=True)
    assert len(report.redo) == 40
    check(fill(address, job), job)
    assert main(["merge", address, "--out", str(tmp_path / "copy")]) == 0
    check(Store.open(tmp_path / "copy"), job)
    merge_stores(f"{address}-again", [tmp_path / "copy"])
    check(Store.open(f"{address}-again"), job)


def test_leftovers_do_not_show(address: str) -> None:
    job = SyntheticJob(10)
    store = fill(address, job)
    store.files.publish("shards/x-00000000.parquet", b"PAR1 half", replace=True)
    assert [note.file for note in verify_store(address).notes] == ["shards/x-00000000.parquet"]
    check(Store.open(address), job)


def test_an_address_made_a_path_is_refused(address: str) -> None:
    with pytest.raises(OptionError, match="must be given as text"):
        Store.open(Path(address))
    with pytest.raises(OptionError, match="one that fsspec knows"):
        Store.open("nowhere://x")


class Unsteady:
    """A file system that fails now and then: before it acts, after it acted, or with part of an answer."""

    def __init__(self, system: object, seed: int) -> None:
        self._system, self._random, self.faults = system, np.random.default_rng(seed), 0

    def __getattr__(self, name: str) -> object:
        real = getattr(self._system, name)
        if name not in ("ls", "info", "cat_file", "pipe_file", "rm_file"):
            return real

        def call(*args: object, **options: object) -> object:
            draw = self._random.random()
            if draw < 0.15:
                self.faults += 1
                raise OSError("connection reset")
            answer = real(*args, **options)
            if draw < 0.3:
                self.faults += 1
                raise TimeoutError("no answer")
            if draw < 0.4 and name == "cat_file" and options.get("end") is not None:
                self.faults += 1
                return answer[: len(answer) // 2]
            return answer

        return call


@pytest.mark.parametrize("seed", range(3))
def test_faults_of_the_line_change_nothing(address: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steady = RemoteFiles.at(address)
    unsteady = Unsteady(steady._system, seed)
    files = RemoteFiles(unsteady, steady._root, address, first_wait_s=1e-4)
    monkeypatch.setattr("motive.store.store.open_files", lambda _: files)
    job = SyntheticJob(40)
    store = fill(address, job, rows=3)
    expected = job.expected()
    assert store.clip_ids == sorted(expected)
    np.testing.assert_array_equal(store.vectors(), np.stack([expected[clip_id] for clip_id in sorted(expected)]))
    assert unsteady.faults > 20
    monkeypatch.undo()
    check(Store.open(address), job)


def test_a_server_that_stays_away_is_a_clear_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def __getattr__(self, name: str) -> object:
            def call(*args: object, **options: object) -> object:
                raise ConnectionRefusedError("nobody there")

            return call

    files = RemoteFiles(Gone(), "x", address, first_wait_s=1e-4)
    with pytest.raises(StoreError, match="must be readable, got nobody there; check the address"):
        files.names("commits")
    with pytest.raises(StoreError, match="must be writable, got nobody there"):
        files.create("x", b"1")


def test_a_request_that_hangs_is_given_up_and_made_again(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found with a real server: an upload whose connection is lost at the wrong moment waits for ever."""
    steady, limits = RemoteFiles.at(address), []

    class Hanging:
        async_impl = True

        def __getattr__(self, name: str) -> object:
            def call(*args: object, timeout: float | None = None, **options: object) -> object:
                limits.append(timeout)
                if len(limits) == 1:
                    raise FSTimeoutError
                return getattr(steady._system, name)(*args, **options)

            return getattr(steady._system, name) if name == "invalidate_cache" else call

    files = RemoteFiles(Hanging(), steady._root, address, first_wait_s=1e-4)
    files.publish("a", b"x" * (1 << 21), replace=False)
    assert steady.read("a") == b"x" * (1 << 21)
    assert limits[0] == limits[1] == 62.0, "a minute, and a second a megabyte"


@needs_s3
def test_a_real_s3_server_that_fails(tmp_path: Path) -> None:
    """moto's server on this machine; one request in eight is refused, lost, cut or slow."""
    faults = Faults(share=0.0, seed=1)
    with s3_server(faults) as bucket:
        job = SyntheticJob(
            12, unit_clips=6, work=Synthetic(bad=frozenset(clip_ids(12)[:1])), launch=LaunchConfig(workers=1)
        )
        store = fill(f"{bucket}/steady", job)
        with pytest.raises(FileExistsError):
            store.files.publish("manifest.json", b"another", replace=False)
        faults.share = 0.125
        store = fill(f"{bucket}/unsteady", job, rows=4)
        faults.share = 0.0
        check(store, job)
    assert sum(faults.seen.values()) > 3
