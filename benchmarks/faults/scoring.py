"""kill -9 of scoring while it is at work, over a store that is large enough for that.

python -m benchmarks.faults.scoring STORE QUERIES OUT WAY     (what is killed)
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.faults.kills import finish, kill_within, start
from benchmarks.faults.rows import Row, check_whole, require
from benchmarks.faults.soak import vectors
from motive.scoring import ScoreConfig, score
from motive.store import Store, StoreRow

WAYS = {
    "float32": ScoreConfig(block_rows=32),
    "ridge": ScoreConfig(preconditioner="ridge", lambda_auto=True, block_rows=32),
    "int8": ScoreConfig(precision="int8"),
}
"""Ridge and int8 also write a cache beside the store, which is taken away before each run that is killed."""


def run(quick: bool, folder: Path) -> list[Row]:
    """Each way of scoring in turn, until enough runs were killed before their end."""
    store, queries = _stores(folder, 2_000 if quick else 24_000, 8 if quick else 48)
    wanted, rng = 3 if quick else 60, random.Random(0)
    expected, spans = {}, {}
    for way in WAYS:
        process = _target(store, queries, folder / f"{way}.parquet", way)
        began = _begun(process)
        finish(process)
        spans[way], expected[way] = time.monotonic() - began, pq.read_table(folder / f"{way}.parquet")
    kills: Counter[str] = Counter()
    late = 0
    while kills.total() < wanted:
        way = list(WAYS)[(kills.total() + late) % len(WAYS)]
        out = folder / "scores" / "scores.parquet"
        shutil.rmtree(out.parent, ignore_errors=True)
        shutil.rmtree(store / "cache", ignore_errors=True)
        out.parent.mkdir()
        kill_within(_target(store, queries, out, way), rng.uniform(0.0, spans[way]))
        check_whole(str(store), f"kill of motive score ({way})")
        if out.exists():
            late += 1
            require(pq.read_table(out).equals(expected[way]), "a scores file that is there must be whole")
        else:
            kills[way] += 1
        finish(_target(store, queries, out, way))
        require(pq.read_table(out).equals(expected[way]), f"scores ({way}) after a kill differ")
        check_whole(str(store), f"scored again ({way})")
    note = ", ".join(f"{way} {count}" for way, count in kills.items())
    return [
        Row(
            "kill -9 of the process group while scoring (synthetic vectors)",
            kills.total(),
            "stores unharmed; no scores, or whole ones; run again over what was left, they are equal",
            f"each was at work and had no scores yet: {note}; {late} further kills came after the scores",
        )
    ]


def _stores(folder: Path, clips: int, queries: int) -> tuple[Path, Path]:
    identity = {"projection": {"dim": 64}, "gradient": {"family": "synthetic"}}
    for name, start_at, count in (("clips", 0, clips), ("queries", 10_000_000, queries)):
        store = Store.create(folder / name, identity=identity, columns_schema={"loss": "float32"})
        block = vectors(np.arange(start_at, start_at + count)) - np.float32(0.5)
        with store.writer(rows_per_shard=1024) as writer:
            for number in range(count):
                writer.add(StoreRow(f"{number:08d}", block[number], {"loss": 1.0}))
    return folder / "clips", folder / "queries"


def _target(store: Path, queries: Path, out: Path, way: str) -> subprocess.Popen[bytes]:
    return start([sys.executable, "-m", "benchmarks.faults.scoring", str(store), str(queries), str(out), way])


def _begun(process: subprocess.Popen[bytes]) -> float:
    if process.stdout is not None:
        process.stdout.readline()
    return time.monotonic()


def main() -> None:
    store, queries, out, way = sys.argv[1:]
    print("begun", flush=True)
    score(store, queries, out, WAYS[way])


if __name__ == "__main__":
    main()
