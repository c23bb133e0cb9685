"""Every single byte of a small store flipped, and every point at which one of its files can be cut."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from motive.data import Failure, read_dataset
from motive.errors import StoreError
from motive.store import Store, StoreRow
from motive.store.writer import ShardWriter
from tests.faults.fuzz_targets import tar_shard
from tests.faults.rows import Row, require


def run(quick: bool, folder: Path) -> list[Row]:
    """All of them, or every 97th."""
    path = folder / "store"
    _make(path)
    step = 97 if quick else 1
    files = sorted(file for file in path.rglob("*") if file.is_file())
    expected = _contents(path)
    flips = cuts = found = harmless = 0
    for file in files:
        data = file.read_bytes()
        for place in range(0, len(data), step):
            changed = bytearray(data)
            changed[place] ^= 1 << (place % 8)
            file.write_bytes(changed)
            detected = _check(path, file, expected, f"{file.name}, byte {place} flipped")
            flips, found, harmless = flips + 1, found + detected, harmless + (not detected)
        for length in range(0, len(data), step):
            file.write_bytes(data[:length])
            detected = _check(path, file, expected, f"{file.name} cut to {length} bytes")
            cuts, found, harmless = cuts + 1, found + detected, harmless + (not detected)
        file.write_bytes(data)
    require(_contents(path) == expected, "the files were put back")
    held = "an error that names the file, or the same content; never another value, never a crash"
    note = f"{found:,} detected, {harmless:,} harmless (copies, white space)"
    rows = [Row("every byte flipped", flips, held, note), Row("every truncation", cuts, held, f"{len(files)} files")]
    return [*rows, _shards(folder, step)]


def _shards(folder: Path, step: int) -> Row:
    """The headers of WebDataset shards, which have checksums, unlike long names and data; and every length."""
    root, done, found = folder / "shards", 0, 0
    root.mkdir()
    path = root / "x.tar"
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = tar_shard(kind)
        path.write_bytes(data)
        expected = _listed(root)
        headers = [start for start in range(0, len(data), 512) if data[start + 257 : start + 262] == b"ustar"]
        places = [place for start in headers for place in range(start, start + 512)]
        changes = [data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :] for place in places[::step]]
        for changed in [*changes, *(data[:length] for length in range(0, len(data), step))]:
            path.write_bytes(changed)
            read = _listed(root)
            require(read == expected or bool(read[1]), f"{kind}: other clips were listed and nothing was said")
            done, found = done + 1, found + bool(read[1])
    return Row(
        "WebDataset shards: every header byte flipped, every truncation", done,
        "the same clips at the same places, or failures that name the shard or the clip",
        f"{found:,} said, {done - found:,} harmless (behind the end mark, digits written another way)",
    )  # fmt: skip


def _listed(root: Path) -> tuple[list[Any], list[Failure]]:
    found = read_dataset(root, "webdataset")
    return [(clip.clip_id, clip.path, clip.caption, dict(clip.columns)) for clip in found.clips], list(found.failures)


def _make(path: Path) -> None:
    identity = {"projection": {"dim": 4}, "gradient": {"family": "x"}}
    store = Store.create(path, identity=identity, columns_schema={"loss": "float32"})
    for writer, ids in (("a", "pq"), ("b", "r")):
        rows = [StoreRow(clip_id, np.full(4, ord(clip_id), np.float32), {"loss": 1.0}) for clip_id in ids]
        ShardWriter(store.files, writer, store.manifest).commit_rows(rows, "damage")
    store.refresh()
    store.append_failures([Failure("s", "s.mp4", "decode", "too_short", "x")])


def _contents(path: Path) -> tuple[Any, ...]:
    store = Store.open(path)
    vectors = store.vectors().tobytes()
    return store.clip_ids, vectors, store.columns().to_pylist(), store.failures(), store.manifest


def _check(path: Path, file: Path, expected: tuple[Any, ...], what: str) -> bool:
    """Whether reading noticed; that it noticed, or read the same, is required."""
    try:
        read = _contents(path)
    except StoreError:
        return True
    require(read == expected, f"{what}: something else was read without an error")
    if file.name not in ("failed.parquet", "manifest.copy.json"):
        require(file.suffix == ".json", f"{what}: not noticed")
    return False
