"""The store on disk is what docs/formats/store.md says, read here without the package's own readers."""

from __future__ import annotations

import hashlib
import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from motive.data import ClipSpec
from motive.data.base import Failure
from motive.errors import StoreError
from motive.store import Code, Origin, PlanConfig, Source, Store, StoreRow, verify_store
from motive.store.files import LocalFiles
from motive.store.fingerprint import canonical_json, digest, digest_json
from motive.store.manifest import Manifest, Package, parse_manifest
from motive.store.records import parse_commit
from motive.store.shard import read_layout
from motive.store.tables import decode_table, encode_table
from tests.store.shards import commit

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def blake(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def own_digest(record: dict) -> str:
    rest = {key: value for key, value in record.items() if key != "digest"}
    return blake(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode("ascii"))


def test_hashes_are_those_of_the_specification() -> None:
    assert digest(b"motive") == "259cb928eac76526893f5d746d7239aa"
    assert canonical_json({"b": [1, 2.5, None, True], "a": "é\U0001f3a5"}) == (
        b'{"a":"\\u00e9\\ud83c\\udfa5","b":[1,2.5,null,true]}'
    )
    assert digest_json({}) == blake(b"{}")


def test_another_program_can_read_a_store(new_store, rows_of) -> None:
    store = new_store(origin=Origin(Source("/d", "folder")))
    rows = rows_of(["b", "é", "a"])
    commit(store, "w1", rows, [Failure("z", "z.mp4", "decode", "too_short", "2 frames")])
    manifest = json.loads((store.path / "manifest.json").read_bytes())
    assert list(manifest) == [
        "format", "version", "created", "package", "identity", "identity_digest", "vectors_digest", "dim", "columns",
        "segments", "origin", "digest",
    ]  # fmt: skip
    assert (manifest["format"], manifest["version"], manifest["dim"]) == ("motive.store", 2, 5)
    assert manifest["digest"] == own_digest(manifest)
    for name, part in manifest["identity"].items():
        assert manifest["identity_digest"][name] == blake(canonical_json(part))

    commits = [json.loads(path.read_bytes()) for path in sorted((store.path / "commits").glob("*.json"))]
    assert [(c["name"], c["kind"], c["rows"]) for c in commits] == [
        ("w1-00000000", "vectors", 3),
        ("w1-00000001", "failures", 1),
    ]
    for record in commits:
        assert record["digest"] == own_digest(record)
        assert record["manifest_digest"] == manifest["digest"]
        for suffix, file in record["files"].items():
            data = (store.path / "shards" / f"{record['name']}.{suffix}").read_bytes()
            assert file == {"bytes": len(data), "digest": blake(data)}

    tensors = load_file(store.path / "shards" / "w1-00000000.safetensors")
    offsets, text = tensors["ids.offsets"], tensors["ids.bytes"].tobytes()
    assert commits[0]["ids_digest"] == blake(offsets.astype("<i8").tobytes() + text)
    ids = [text[a:b].decode() for a, b in pairwise(offsets)]
    assert ids == ["a", "b", "é"]
    expected = {row.clip_id: row.vector for row in rows}
    np.testing.assert_array_equal(tensors["vectors"], np.stack([expected[clip_id] for clip_id in ids]))
    table = pq.read_table(store.path / "shards" / "w1-00000000.parquet")
    assert table.column_names == ["clip_id", *sorted(manifest["columns"])]
    assert table.column("clip_id").to_pylist() == ids
    failed = pq.read_table(store.path / "failed.parquet").to_pylist()
    assert failed == pq.read_table(store.path / "shards" / "w1-00000001.parquet").to_pylist()
    assert failed == [{"clip_id": "z", "path": "z.mp4", "stage": "decode", "reason": "too_short", "detail": "2 frames"}]


def test_the_format_of_version_one_stays_readable() -> None:
    """A store in these bytes was written once; a change that cannot read it needs a new version."""
    golden = Path(__file__).parent / "golden_store"
    store = Store.open(golden)
    assert store.clip_ids == ["a/one.mp4", "b/two.mp4", "ü.mp4"]
    np.testing.assert_array_equal(store.vectors(), np.array([[1, 2, 3], [-4, 5.5, 6], [0, 0.25, -9]], np.float32))
    assert store.columns(["path", "loss"]).to_pylist() == [
        {"path": "/data/a/one.mp4", "loss": 0.5},
        {"path": None, "loss": None},
        {"path": "/data/ü.mp4", "loss": 2.0},
    ]
    assert store.failures() == [Failure("c.mp4", "c.mp4", "decode", "too_short", "2 frames of 81")]
    assert store.version == "1b64d4efcf83f589161d315725f20eb2"
    manifest = store.manifest
    assert (manifest.version, manifest.dim, manifest.segments, manifest.vectors_digest) == (1, 3, "", "")
    assert manifest.package == Package("motive", "unknown")
    assert manifest.origin == Origin(Source("/data", "folder"))
    assert manifest.identity.to_json() == {
        "projection": {"dim": 3, "kind": "tensor_sketch", "seed": 7},
        "gradient": {"draws": [{"seed": 0, "sigma": 0.751}], "weights": "00ff"},
    }
    assert manifest.digest == "fed6b909dd665a3e9487883a864a7e38", "commits of version 1 name this digest"
    assert verify_store(store.path).ok, str(verify_store(store.path))
    assert verify_store(store.path).notes == []


def read_again(record: dict) -> Manifest:
    """A manifest of changed fields, with the digests that fit them."""
    rest = {name: value for name, value in record.items() if name != "digest"}
    rest["identity_digest"] = {name: digest_json(part) for name, part in record["identity"].items()}
    return parse_manifest(json.dumps({**rest, "digest": digest_json(rest)}).encode(), "m")


def test_a_manifest_of_version_1_comes_to_the_fields_of_version_2() -> None:
    gradient = {
        "loss": "x/1", "family": "toy", "fingerprints": {"vae": "12"}, "settings": {}, "mask": {}, "motion_source": {},
        "standard": {"fps": 16, "frames": 9, "height": 48, "width": 64}, "draws": {"count": 2, "per_draw": "separate"}, "latent_shape": [4, 3, 6, 8],
        "model_parts": {"patterns": ["blocks.*"], "names": ["blocks.0", "rest"]},
    }  # fmt: skip
    config = {"model": "some/dir", "segments": "time:2", "clips_per_pass": 4}
    source = {"root": "/d", "format": "jsonl", "location": "/d/t.jsonl", "table": "/d/t.jsonl"}
    plan = {"unit_clips": 256, "batch_clips": 4, "clips": 3, "digest": "ab"}
    code = {"versions": {"torch": "2.9", "av": None}, "commit": None}
    record = {
        "format": "motive.store", "version": 1, "created": "", "package": {"name": "motive", "version": "0.1.0"},
        "identity": {"projection": {"kind": "tensor_sketch", "dim": 3, "seed": 7}, "gradient": gradient}, "dim": 12,
        "columns": {"path": "string"},
        "extra": {"config": config, "source": source, "plan": plan, "code": code, "merged": True},
    }  # fmt: skip
    record["identity_digest"] = {name: digest_json(part) for name, part in record["identity"].items()}  # type: ignore[union-attr]
    record["digest"] = digest_json(record)
    manifest = parse_manifest(json.dumps(record).encode(), "m")
    known = manifest.identity.require("test")
    assert known.clip_spec == ClipSpec(16.0, 9, 48, 64)
    assert known.latent_shape == (4, 3, 6, 8)
    assert known.draws == {"count": 2, "combine": "concat"}
    assert manifest.identity.model_parts == ("blocks.0", "rest")
    assert (manifest.identity.projection_type, manifest.identity.projection_seed) == ("tensor_sketch", 7)
    assert (manifest.segments, manifest.origin.model) == ("time:2", "some/dir")
    assert manifest.origin.source == Source("/d", "jsonl", "/d/t.jsonl", "/d/t.jsonl")
    assert manifest.origin.plan == PlanConfig(256, 4, 3, "ab")
    assert manifest.origin.code == Code({"torch": "2.9", "av": None})
    assert manifest.origin.extra == {"merged": True}
    other = {**record, "identity": {**record["identity"], "gradient": {"standard": 1, "draws": {"per_draw": [1]}}}}  # type: ignore[dict-item]
    assert read_again(other).identity.gradient == {"standard": 1, "draws": {"per_draw": [1]}}, "not motive index's"
    odd = {**gradient, "draws": {"per_draw": [1]}}
    assert read_again({**record, "identity": {**record["identity"], "gradient": odd}}).identity.require(
        "test"
    ).draws == {"combine": [1]}  # type: ignore[dict-item]
    broken = {**record, "identity": {**record["identity"], "gradient": {"loss": "x/1"}}}  # type: ignore[dict-item]
    with pytest.raises(StoreError, match="Gradient must have clip_spec, which is absent"):
        read_again(broken)


def test_a_store_of_version_1_takes_new_shards(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent / "golden_store", tmp_path / "old")
    Store.open(tmp_path / "old").append([StoreRow("new.mp4", np.ones(3, np.float32))])
    assert Store.open(tmp_path / "old").clip_ids == ["a/one.mp4", "b/two.mp4", "new.mp4", "ü.mp4"]
    assert verify_store(tmp_path / "old").ok


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_are_refused_as_records(data: bytes) -> None:
    for parse in (lambda: parse_manifest(data, "m"), lambda: parse_commit(data, "w-00000000", "c")):
        with pytest.raises(StoreError):
            parse()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_records_with_arbitrary_fields_are_read_or_refused(data) -> None:
    """Also where the digest fits: nothing but a StoreError, and only fields of the right types come through."""
    old = {
        "format": "motive.store", "version": 1, "created": "", "package": {}, "dim": 3, "columns": {}, "extra": {},
        "identity": {"projection": {}, "gradient": {}},
        "identity_digest": {"projection": digest_json({}), "gradient": digest_json({})},
    }  # fmt: skip
    origin = {"source": None, "config": None, "plan": None, "code": None, "extra": {}}
    new = {name: value for name, value in old.items() if name != "extra"}
    new |= {"version": 2, "vectors_digest": "", "segments": "", "origin": origin}
    commit = {
        "format": "motive.store.commit", "version": 1, "name": "w-00000000", "kind": "vectors", "rows": 2,
        "files": {name: {"bytes": 1, "digest": "0" * 32} for name in ("parquet", "safetensors")},
        "ids_digest": "", "manifest_digest": "", "created": "",
    }  # fmt: skip
    for record, parse in (
        (old, parse_manifest),
        (new, parse_manifest),
        (commit, lambda b, w: parse_commit(b, "w-00000000", w)),
    ):
        good = {**record, "digest": digest_json(record)}
        parse(json.dumps(good).encode(), "record")
        name = data.draw(st.sampled_from(sorted(record)))
        changed = {**record, name: data.draw(JSON)}
        try:
            changed["digest"] = digest_json(changed)
        except ValueError:
            changed["digest"] = ""
        try:
            parse(json.dumps(changed).encode(), "record")
        except StoreError:
            continue
        assert name in (
            "created", "package", "extra", "origin", "columns", "ids_digest", "manifest_digest", "vectors_digest",
            "segments", "dim", "rows",
        )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(header=JSON | st.dictionaries(st.sampled_from(["vectors", "ids.bytes", "ids.offsets", "__metadata__"]), JSON))
def test_arbitrary_safetensors_headers_are_refused(tmp_path_factory, header) -> None:
    folder = tmp_path_factory.mktemp("headers", numbered=True)
    text = json.dumps(header).encode()
    (folder / "x").write_bytes(len(text).to_bytes(8, "little") + text + bytes(64))
    with pytest.raises(StoreError):
        read_layout(LocalFiles(folder), "x", 2, 3)


def test_damaged_parquet_is_refused_or_read_without_a_crash() -> None:
    """Below the digests, which would have refused it."""
    columns = {"path": "string", "loss": "float32", "static": "bool"}
    rows = [{"path": "x" * number, "loss": number, "static": True} for number in range(5)]
    data = encode_table(list("abcde"), rows, columns, "test")
    for place in range(0, len(data), 5):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        for damaged in (bytes(changed), data[:place]):
            try:
                table = decode_table(damaged, columns, 5, "shard")
            except StoreError:
                continue
            assert table.num_rows == len(table.to_pylist()) == 5


@pytest.mark.parametrize("length", [0, 7, 8, 1 << 63, (1 << 64) - 1])
def test_lying_header_lengths_are_refused(tmp_path: Path, length: int) -> None:
    (tmp_path / "x").write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(StoreError):
        read_layout(LocalFiles(tmp_path), "x", 2, 3)


def test_a_deep_record_is_refused_without_a_crash(new_store) -> None:
    store = new_store()
    (store.path / "manifest.json").write_bytes(b"[" * 200_000)
    with pytest.raises(StoreError, match="content must be JSON"):
        Store.open(store.path)


def test_rows_keep_their_bits(new_store) -> None:
    """Also the smallest, largest and negative zero."""
    vector = np.array([1e-45, -0.0, 3.4028235e38, -1.1754944e-38, 0.1], np.float32)
    store = new_store()
    store.append([StoreRow("a", vector)])
    assert Store.open(store.path).vectors()[0].tobytes() == vector.tobytes()
