"""Damage to any byte of a store is found, or harmless."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motive.data.base import Failure
from motive.errors import StoreError
from motive.store import ClipIds, Store, StoreRow, verify_store
from motive.store.files import LocalFiles
from motive.store.fingerprint import digest
from motive.store.index import ShardFiles, load_commit, read_table
from motive.store.manifest import parse_manifest
from motive.store.records import (
    Commit,
    FileRecord,
    commit_file,
    encode_commit,
    parse_commit,
    shard_file,
    utc_now,
)
from motive.store.shard import encode_vectors
from motive.store.tables import FAILURE_COLUMNS, encode_table
from tests.store.shards import commit

COLUMNS = {"path": "string"}


@pytest.fixture
def tiny(new_store, rows_of) -> Path:
    """Two shards of vectors, one of failures, written as small as they get."""
    store = new_store(columns_schema=COLUMNS)
    rows = [StoreRow(row.clip_id, row.vector, {"path": "p"}) for row in rows_of(["a", "b", "c"])]
    commit(store, "w", rows, [Failure("d", "p", "decode", "too_short", "x")], rows_per_shard=2)
    return store.path


def contents(path: Path) -> tuple[Any, ...]:
    """Everything that a reader can get from a store."""
    store = Store.open(path)
    vectors = store.vectors().tobytes()
    return store.clip_ids, vectors, store.columns().to_pylist(), store.failures(), store.identity, store.manifest


def flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << (place % 8)
    return bytes(changed)


def check(tiny: Path, what: str, expected: tuple[Any, ...]) -> None:
    """Reading and verifying a damaged store: no crash; what is read is right unless a StoreError says otherwise."""
    message, read = "", expected
    try:
        read = contents(tiny)
    except StoreError as error:
        message = str(error)
    report = verify_store(tiny)
    assert read == expected, f"{what}: read something else without an error"
    if message:
        assert re.search(r": .*; ", message, re.DOTALL), f"{what}: the message says no remedy: {message}"
        assert not report.ok, f"{what}: reading failed and verify found nothing"
    else:
        assert "json" in what, f"{what}: only white space in a record may change unnoticed"


FILES = ["manifest.json", "commits/w-00000000.json", "commits/w-00000002.json"]
FILES += ["shards/w-00000000.safetensors", "shards/w-00000000.parquet", "shards/w-00000002.parquet"]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_found_by_readers_and_by_verify(tiny: Path, name: str) -> None:
    """A sample of places; the next two tests go through them all, one layer below."""
    expected, file = contents(tiny), tiny / name
    data = file.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 25)):
        file.write_bytes(flipped(data, place))
        check(tiny, f"{name}, byte {place} flipped", expected)
    file.write_bytes(data)
    assert verify_store(tiny).ok


@pytest.mark.parametrize("name", FILES[:3])
def test_every_flipped_byte_of_a_record_is_found(tiny: Path, name: str) -> None:
    data, shard = (tiny / name).read_bytes(), Path(name).stem

    def parse(changed: bytes) -> Any:
        return parse_manifest(changed, "m") if shard == "manifest" else parse_commit(changed, shard, "c")

    good = parse(data)
    for place in range(len(data)):
        try:
            read = parse(flipped(data, place))
        except StoreError:
            continue
        assert read == good, f"byte {place} of {name} flipped: read {read}"
        assert data[place : place + 1].isspace(), f"byte {place} of {name} flipped: not found"


@pytest.mark.parametrize("name", FILES[3:])
def test_every_flipped_byte_of_a_shard_is_found(tiny: Path, name: str) -> None:
    files = LocalFiles(tiny)
    manifest = Store.open(tiny).manifest
    record = load_commit(files, Path(name).stem, manifest.digest)
    columns = manifest.columns if record.kind == "vectors" else FAILURE_COLUMNS
    ids = None if name.endswith("parquet") else ShardFiles(files, 5, check=True).ids(record).tolist()
    data = (tiny / name).read_bytes()
    for place in range(len(data)):
        (tiny / name).write_bytes(flipped(data, place))
        shard = ShardFiles(files, 5, check=True)
        with pytest.raises(StoreError):
            read_table(files, record, columns) if ids is None else shard.vectors(record, 0, record.rows)
        if ids is not None:
            try:
                assert shard.ids(record).tolist() == ids, f"byte {place} flipped: other ids"
            except StoreError:
                continue


def test_every_flipped_byte_of_the_copy_of_the_failures_is_harmless(tiny: Path) -> None:
    expected = contents(tiny)
    file = tiny / "failed.parquet"
    data = file.read_bytes()
    for place in range(0, len(data), 40):
        file.write_bytes(flipped(data, place))
        assert contents(tiny) == expected, f"byte {place} flipped"
        assert verify_store(tiny).ok, f"byte {place} flipped: a copy is no part of the record"
    file.write_bytes(b"")
    assert [note.file for note in verify_store(tiny).notes] == ["failed.parquet"]


@pytest.mark.parametrize("name", FILES)
def test_a_truncation_is_found(tiny: Path, name: str) -> None:
    expected, file = contents(tiny), tiny / name
    data = file.read_bytes()
    for length in {*range(0, 20, 3), *range(0, len(data), max(1, len(data) // 20)), len(data) - 1}:
        file.write_bytes(data[:length])
        check(tiny, f"{name} cut after {length} of {len(data)} bytes", expected)
    file.write_bytes(data + b"\0")
    check(tiny, f"{name} with a byte more", expected)
    file.unlink()
    report = verify_store(tiny)
    if name.startswith("commits"):
        assert report.ok, "without its commit, a shard does not exist"
        assert report.notes
    else:
        assert not report.ok
        with pytest.raises(StoreError):
            contents(tiny)


def test_a_lost_commit_loses_its_clips_and_leaves_a_note(tiny: Path) -> None:
    (tiny / "commits" / "w-00000000.json").unlink()
    report = verify_store(tiny)
    assert report.ok
    assert Store.open(tiny).clip_ids == ["c"]
    assert sorted(note.file for note in report.notes) == [
        "shards/w-00000000.parquet",
        "shards/w-00000000.safetensors",
    ]


def test_swapped_commits_are_found(tiny: Path) -> None:
    a, b = tiny / "commits" / "w-00000000.json", tiny / "commits" / "w-00000001.json"
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    with pytest.raises(StoreError, match="name must be 'w-00000000' like the file"):
        Store.open(tiny)
    assert len(verify_store(tiny).problems) == 2


def test_the_report_names_each_file_and_reason(tiny: Path) -> None:
    (tiny / "shards" / "w-00000001.parquet").unlink()
    file = tiny / "shards" / "w-00000000.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    report = verify_store(tiny)
    assert {(problem.file, problem.reason.split(",")[0].split(" must")[0]) for problem in report.problems} == {
        ("shards/w-00000000.safetensors", "content"),
        ("shards/w-00000001.parquet", "the file"),
    }
    lines = report.lines()
    assert lines[0].startswith(f"{tiny}: 2 problems; 0 clips in 1 shards")
    assert len(lines) == 1 + len(report.problems) + len(report.notes)


def test_what_is_no_store_is_reported_not_raised(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        report = verify_store(path)
        assert not report.ok
        assert report.problems[0].file == "manifest.json"


def test_vectors_that_are_not_finite_are_found_though_their_digest_fits(tmp_path: Path, identity: dict) -> None:
    """A writer of other software may hash what it should not have stored."""
    store = Store.create(tmp_path / "s", identity=identity, columns_schema=COLUMNS)
    for name, ids, value, reason in (
        ("x-00000000", ["a", "b"], np.nan, "vectors must be finite, got NaN or infinity for 'b'"),
        ("y-00000000", ["d", "c"], 1.0, "ids must be sorted and unique"),
    ):
        vectors = np.ones((2, 5), np.float32)
        vectors[1, 2] = value
        tensors, ids_digest = encode_vectors(ClipIds.encode(ids, "test"), vectors)
        contents = {"safetensors": tensors, "parquet": encode_table(ids, [{}, {}], COLUMNS, "test")}
        for suffix, data in contents.items():
            (store.path / "shards").mkdir(exist_ok=True)
            (store.path / shard_file(name, suffix)).write_bytes(data)
        files = {suffix: FileRecord(len(data), digest(data)) for suffix, data in contents.items()}
        record, _ = encode_commit(Commit(name, "vectors", 2, files, ids_digest, store.manifest.digest, utc_now()))
        (store.path / "commits").mkdir(exist_ok=True)
        (store.path / commit_file(name)).write_bytes(record)
        assert reason in [problem.reason for problem in verify_store(store.path).problems]
