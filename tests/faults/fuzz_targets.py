"""Fuzz targets: each reader with good inputs to start from, and what must hold for any other.

The first byte of an input says which of a reader's files the rest stands in for.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from motive.data import read_dataset
from motive.data.media import ByteRange, media_of
from motive.errors import MotiveError
from motive.indexing.config import IndexConfig
from motive.indexing.record import read_record
from motive.store import Store, StoreRow, verify_store
from motive.store.files import LocalFiles
from motive.store.fingerprint import digest, digest_json
from motive.store.records import FileRecord, encode_commit, parse_commit
from motive.store.shard import digest_ids, read_ids, read_layout
from motive.store.writer import ShardWriter
from tests.faults.rows import require


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        seeds: good inputs.
        check: reads an input; raises where something other than motive's own error comes out of the reader.
    """

    seeds: Sequence[bytes]
    check: Callable[[bytes], None]


def damaged_store(folder: Path) -> Target:
    """A store with one file replaced: the same content or an error."""
    origin, place = folder / "origin", folder / "damaged"
    files = _make_store(origin)
    expected = (["a", "b", "c"], Store.open(origin).vectors().tobytes())
    shutil.copytree(origin, place)

    def check(data: bytes) -> None:
        file = files[data[0] % len(files)] if data else files[0]
        (place / file).write_bytes(data[1:])
        try:
            store = Store.open(place)
            read = (store.clip_ids, store.vectors().tobytes())
            store.columns()
            require(read == expected, f"{file}: other content was read")
        except MotiveError:
            require(isinstance(verify_store(place).lines(), list), "verify reports")
        finally:
            shutil.copyfile(origin / file, place / file)

    return Target([bytes([n]) + (origin / file).read_bytes() for n, file in enumerate(files)], check)


def forged_store(folder: Path) -> Target:
    """A store with one file replaced and every digest made to fit, as somebody could who may write to it: it is read
    or refused, and nothing else."""
    origin, place = folder / "origin", folder / "forged"
    files = _make_store(origin)
    shutil.copytree(origin, place)

    def check(data: bytes) -> None:
        file = files[data[0] % len(files)] if data else files[0]
        try:
            _forge(place, file, data[1:])
            store = Store.open(place)
            require(len(store.clip_ids) == len(store), "as many ids as clips")
            require(store.vectors().shape == (len(store), store.dim), "a vector for each clip")
            store.columns()
            store.failures()
        except MotiveError:
            require(isinstance(verify_store(place).lines(), list), "verify reports")
        finally:
            shutil.rmtree(place)
            shutil.copytree(origin, place)

    return Target([bytes([n]) + (origin / file).read_bytes() for n, file in enumerate(files)], check)


def dataset(folder: Path) -> Target:
    """Tables of clips, and a caption beside a video: no clip outside the dataset's folder."""
    root = folder / "dataset"
    root.mkdir()
    (root / "a.mp4").write_bytes(b"x")
    rows = [
        {"file_name": "a.mp4", "text": "a \u00e9 caption", "fps": 12},
        {"file_name": "b.mp4", "text": None, "fps": 1},
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    texts = {
        "metadata.csv": b'file_name,text,fps\na.mp4,"a, caption",12\nb.mp4,,1\n',
        "metadata.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in rows),
        "metadata.json": json.dumps([{"video": "a.mp4", "prompt": "x"}, {"video": "b.mp4"}]).encode(),
        "clips.jsonl": b'{"video_path": "a.mp4", "caption": "x", "id": 1}\n{"video_path": "b.mp4"}\n',
        "video.csv": b"video,prompt\na.mp4,hello\n",
        "metadata.parquet": sink.getvalue().to_pybytes(),
        "a.txt": "a caption \u732b\n".encode(),
    }
    return _read(root, texts)


def webdataset(folder: Path) -> Target:
    """Tar shards of three kinds, half of them with checksums made to fit; clips must lie inside the shard."""
    root = folder / "shards"
    root.mkdir()
    path = root / "x.tar"

    def check(data: bytes) -> None:
        path.write_bytes(_checksummed(data[1:]) if data and data[0] % 2 else data[1:])
        try:
            for clip in read_dataset(root).clips:
                media = media_of(clip.path)
                inside = isinstance(media, ByteRange) and media.file == path and ".." not in clip.path.parts
                require(inside, f"a clip outside the shard: {clip}")
                if isinstance(media, ByteRange):
                    require(media.start + media.length <= len(data) - 1, f"bytes past the end: {clip}")
        except MotiveError:
            return

    kinds = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    return Target([bytes([fits]) + tar_shard(kind) for kind in kinds for fits in (0, 1)], check)


def _checksummed(data: bytes) -> bytes:
    """The bytes with the checksum of every tar header made to fit."""
    changed = bytearray(data)
    for start in range(0, len(data) - 511, 512):
        if changed[start + 257 : start + 262] == b"ustar":
            changed[start + 148 : start + 156] = b" " * 8
            changed[start + 148 : start + 156] = b"%06o\0 " % sum(changed[start : start + 512])
    return bytes(changed)


def tar_shard(kind: int) -> bytes:
    """A shard of two clips, one with a name too long for a plain header."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=kind) as archive:
        for name, data in (
            ("a.mp4", b"A" * 20),
            ("a.txt", "a caption \u732b".encode()),
            (f"{'folder/' * 16}b.mp4", b"B" * 600),
            (f"{'folder/' * 16}b.json", b'{"caption": "x", "id": "b", "fps": 12}'),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def config(folder: Path) -> Target:
    """run.json, from which a run is repeated."""
    path = folder / "run.json"
    good = {"verb": "index", "arguments": {"dataset": "x", "probe": 0}, "config": IndexConfig().to_json()}

    def check(data: bytes) -> None:
        path.write_bytes(data[1:])
        try:
            record = read_record(path)
            arguments = (Path(record["arguments"]["dataset"]), record["arguments"].get("probe", 0) + 0)
            require(record["verb"] in ("index", "query") and len(arguments) == 2, "a record can be replayed")
            found = IndexConfig.from_json(record["config"], "run.json")
            require(IndexConfig.from_json(found.to_json(), "run.json") == found, "a config is read back as it was")
        except MotiveError:
            return

    return Target([b"\0" + json.dumps(good).encode()], check)


TARGETS: Mapping[str, Callable[[Path], Target]] = {
    "damaged store": damaged_store,
    "forged store": forged_store,
    "dataset": dataset,
    "webdataset": webdataset,
    "configuration": config,
}


def _read(root: Path, texts: Mapping[str, bytes]) -> Target:
    """Reading one of the files, or the folder where it is a caption."""
    names = sorted(texts)

    def check(data: bytes) -> None:
        path = root / (names[data[0] % len(names)] if data else names[0])
        path.write_bytes(data[1:])
        try:
            found = read_dataset(root if path.suffix == ".txt" else path)
            outside = [clip for clip in found.clips if not clip.path.is_relative_to(root) or ".." in clip.path.parts]
            require(not outside, f"{path.name}: a clip outside the dataset: {outside}")
        except MotiveError:
            pass
        finally:
            path.unlink()

    return Target([bytes([n]) + texts[name] for n, name in enumerate(names)], check)


def _make_store(origin: Path) -> list[Path]:
    """A store of three clips in two shards; its files."""
    if not origin.exists():
        identity = {"projection": {"dim": 4}, "gradient": {"family": "x"}}
        store = Store.create(origin, identity=identity, columns_schema={"loss": "float32", "path": "string"})
        writer = ShardWriter(store.files, "w", store.manifest)
        for shard in ("ab", "c"):
            rows = [StoreRow(clip_id, np.ones(4, np.float32), {"loss": 1.0, "path": "/x"}) for clip_id in shard]
            writer.commit_rows(rows, "fuzz")
    return sorted(file.relative_to(origin) for file in origin.rglob("*") if file.is_file())


def _forge(place: Path, file: Path, data: bytes) -> None:
    """Put a file in place and make every digest fit it."""
    if file.parent.name == "shards":
        (place / file).write_bytes(data)
        _recommit(place, file, data)
        return
    try:
        record = json.loads(data)
        if not isinstance(record, dict):
            raise ValueError("not an object")
        if isinstance(record.get("identity"), dict):
            record["identity_digest"] = {name: digest_json(part) for name, part in record["identity"].items()}
        record["digest"] = digest_json({key: value for key, value in record.items() if key != "digest"})
        (place / file).write_text(json.dumps(record), encoding="utf-8")
    except (ValueError, TypeError, RecursionError):
        (place / file).write_bytes(data)
        return
    if file.name == "manifest.json":
        for commit in (place / "commits").iterdir():
            _amend(commit, manifest_digest=record["digest"])


def _recommit(place: Path, file: Path, data: bytes) -> None:
    path = place / "commits" / f"{file.stem}.json"
    commit = parse_commit(path.read_bytes(), file.stem, "forge")
    changes: dict[str, Any] = {
        "files": {**commit.files, file.suffix[1:]: FileRecord(len(data), digest(data))},
    }
    if file.suffix == ".safetensors":
        files, name = LocalFiles(place), file.as_posix()
        layout = read_layout(files, name, commit.rows, 4)
        offsets = files.read(name, layout.ids_offsets, (commit.rows + 1) * 8)
        changes["ids_digest"] = digest(offsets + files.read(name, layout.ids_bytes, layout.ids_size))
        ids = read_ids(files, name, layout, commit.rows, changes["ids_digest"])
        require(digest_ids(ids) == changes["ids_digest"], "the digest of ids is that of their bytes")
    _amend(path, **changes)


def _amend(path: Path, **changes: Any) -> None:
    commit = parse_commit(path.read_bytes(), path.stem, "forge")
    path.write_bytes(encode_commit(replace(commit, **changes))[0])
