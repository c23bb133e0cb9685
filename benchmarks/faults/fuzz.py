"""Bytes of all kinds for every reader: the store's, the datasets', the configuration's. Only our own errors may come out."""

from __future__ import annotations

import json
import random
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.faults.rows import Row, require
from motive.data import read_dataset
from motive.errors import MotiveError
from motive.run.config import IndexConfig, from_json, to_json
from motive.run.plan import PlanConfig
from motive.run.record import read_record
from motive.store import Store, StoreRow, verify_store

QUICK_S, FULL_S = 8.0, 150.0
_GROWTH_MB = 64
_SLOW_S = 10.0


def run(quick: bool, folder: Path) -> list[Row]:
    """So many seconds of each reader in turn."""
    seconds, rng = QUICK_S if quick else FULL_S, random.Random(0)
    targets = {"store": _store(folder), "dataset": _dataset(folder), "configuration": _config(folder)}
    counts, slowest = dict.fromkeys(targets, 0), 0.0
    for target in targets.values():
        for _ in range(50):
            target(rng)
    before, began = _memory_mb(), time.monotonic()
    while time.monotonic() - began < seconds:
        for name, target in targets.items():
            started = time.monotonic()
            target(rng)
            slowest = max(slowest, time.monotonic() - started)
            counts[name] += 1
    growth = _memory_mb() - before
    require(slowest < _SLOW_S, f"an input took {slowest:.1f} s")
    require(growth < _GROWTH_MB, f"memory grew by {growth:.0f} MB")
    note = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    note += f" in {seconds:.0f} s; slowest {slowest:.2f} s, memory +{growth:.0f} MB"
    return [Row("fuzzing (mutated inputs)", sum(counts.values()), "only motive's own errors; no hang, no growth", note)]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a few changes of the kinds that parsers trip over."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        place = rng.randrange(len(changed) + 1)
        kind = rng.randrange(6)
        if kind == 0 and changed:
            changed[place % len(changed)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
        elif kind == 2:
            del changed[place : place + rng.randrange(1, 40)]
        elif kind == 3:
            changed[place:place] = changed[place : place + rng.randrange(1, 200)] * rng.randrange(1, 4)
        elif kind == 4:
            changed[place:place] = rng.choice(_TOKENS)
        else:
            changed = changed[: place or 1]
    return bytes(changed)


_TOKENS = (
    b"null", b"-1", b"1e999", b"NaN", b"true", b"[]", b"{}", b'""', b"9" * 400, b"\xff\xfe", b"\0" * 8, b'"\\ud800"',
    b"[" * 3000, b'{"a":' * 500, b"\xf0\x9f\x8e\xa5", b"\r", b"../../etc/passwd", b"=cmd()", b"\x1b[2J",
    (2**63).to_bytes(8, "little"), b"\xff" * 8,
)  # fmt: skip


def _store(folder: Path) -> Callable[[random.Random], None]:
    origin, place = folder / "origin", folder / "store"
    identity = {"projection": {"dim": 4}, "gradient": {"family": "x"}}
    with Store.create(origin, identity=identity, columns_schema={"loss": "float32"}).writer("w", 2) as writer:
        for clip_id in "abc":
            writer.add(StoreRow(clip_id, np.ones(4, np.float32), {"loss": 1.0}))
    expected = (["a", "b", "c"], Store.open(origin).vectors().tobytes())
    files = sorted(file.relative_to(origin) for file in origin.rglob("*") if file.is_file())
    shutil.copytree(origin, place)

    def once(rng: random.Random) -> None:
        file = rng.choice(files)
        good = (origin / file).read_bytes()
        (place / file).write_bytes(mutated(good, rng))
        try:
            store = Store.open(place)
            read = (store.clip_ids, store.vectors().tobytes())
            store.columns()
            require(read == expected, f"{file}: other content was read")
        except MotiveError:
            require(isinstance(verify_store(place).lines(), list), "verify reports")
        (place / file).write_bytes(good)

    return once


def _dataset(folder: Path) -> Callable[[random.Random], None]:
    root = folder / "dataset"
    root.mkdir()
    (root / "a.mp4").write_bytes(b"x")
    rows = [
        {"file_name": "a.mp4", "text": "a \u00e9 caption", "fps": 12},
        {"file_name": "b.mp4", "text": None, "fps": 1},
    ]
    texts = {
        "metadata.csv": b'file_name,text,fps\na.mp4,"a, caption",12\nb.mp4,,1\n',
        "metadata.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in rows),
        "metadata.json": json.dumps(rows).encode(),
        "clips.jsonl": b'{"video_path": "a.mp4", "caption": "x"}\n{"video_path": "b.mp4"}\n',
        "video.csv": b"video,prompt\na.mp4,hello\n",
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    texts["metadata.parquet"] = sink.getvalue().to_pybytes()

    def once(rng: random.Random) -> None:
        name = rng.choice(sorted(texts))
        path = root / name
        path.write_bytes(mutated(texts[name], rng))
        try:
            found = read_dataset(path)
            outside = [clip for clip in found.clips if not clip.path.is_relative_to(root)]
            require(not outside, f"{name}: a clip outside the dataset: {outside}")
        except MotiveError:
            pass
        finally:
            path.unlink()

    return once


def _config(folder: Path) -> Callable[[random.Random], None]:
    record = json.dumps(
        {"verb": "index", "arguments": {"dataset": "x", "probe": 0}, "config": to_json(IndexConfig())}
    ).encode()
    path = folder / "run.json"

    def once(rng: random.Random) -> None:
        path.write_bytes(mutated(record, rng))
        try:
            config = from_json(IndexConfig, read_record(path)["config"], "run.json")
            require(isinstance(config, IndexConfig), "a config is a config")
            PlanConfig.from_json(to_json(config))
        except MotiveError:
            return

    return once


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
