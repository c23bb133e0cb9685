"""Every single byte of a small store flipped, and every point at which one of its files can be cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.rows import Row, require
from motive.data.base import Failure
from motive.errors import StoreError
from motive.store import Store, StoreRow


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
    return [Row("every byte flipped", flips, held, note), Row("every truncation", cuts, held, f"{len(files)} files")]


def _make(path: Path) -> None:
    identity = {"projection": {"dim": 4}, "gradient": {"family": "x"}}
    store = Store.create(path, identity=identity, columns_schema={"loss": "float32"})
    for writer, ids in (("a", "pq"), ("b", "r")):
        store.writer(writer)
        with store.writer(writer) as adding:
            for clip_id in ids:
                adding.add(StoreRow(clip_id, np.full(4, ord(clip_id), np.float32), {"loss": 1.0}))
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
