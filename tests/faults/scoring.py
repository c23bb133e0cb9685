"""kill -9 of scoring while it is at work, over a store that is large enough for that."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from motive.scoring import ScoreConfig, score
from motive.store import Store, StoreRow
from tests.faults.rows import Row, check_whole, require
from tests.faults.soak import vectors

BLOCK = 64
WAYS = {
    "float32": ScoreConfig(block_rows=BLOCK),
    "ridge": ScoreConfig(preconditioner="ridge", block_rows=BLOCK),
    "int8": ScoreConfig(precision="int8"),
}
"""Ridge and int8 also write a cache beside the store, which is taken away before each run that is killed."""


def run(quick: bool, folder: Path) -> list[Row]:
    """Each way of scoring in turn, until enough runs were killed before their end."""
    clips = 4_000 if quick else 20_000
    place = _Place(folder, clips, 8 if quick else 32)
    wanted, rng = 4 if quick else 60, random.Random(0)
    ways = list(WAYS)[: 2 if quick else 3]
    spans = {way: place.finish(way) for way in ways}
    expected = {way: pq.read_table(place.take()) for way in ways for _ in [place.finish(way)]}
    kills: Counter[str] = Counter()
    late = 0
    while kills.total() < wanted:
        way = ways[(kills.total() + late) % len(ways)]
        place.kill(way, rng.randrange(clips + 1), rng.uniform(0.0, spans[way] if way == "int8" else 0.02))
        check_whole(str(place.store), f"kill of motive score ({way})")
        if place.out.exists():
            late += 1
            require(pq.read_table(place.out).equals(expected[way]), "a scores file that is there must be whole")
        else:
            kills[way] += 1
        place.finish(way)
        require(pq.read_table(place.take()).equals(expected[way]), f"scores ({way}) after a kill differ")
    check_whole(str(place.store), "after all kills")
    note = ", ".join(f"{way} {count}" for way, count in kills.items())
    return [
        Row(
            "kill -9 of the process group while scoring (synthetic vectors)",
            kills.total(),
            "stores unharmed; no scores, or whole ones; run again over what was left, they are equal",
            f"each was at work and had no scores yet: {note}; {late} further kills came after the scores",
        )
    ]


class _Place:
    """A store, its queries, and processes that score them; they are forked from one that has imported everything."""

    def __init__(self, folder: Path, clips: int, queries: int) -> None:
        identity = {"projection": {"dim": 64}, "gradient": {"family": "synthetic"}}
        for name, first, count in (("clips", 0, clips), ("queries", 10_000_000, queries)):
            store = Store.create(folder / name, identity=identity, columns_schema={"loss": "float32"})
            block = vectors(np.arange(first, first + count)) - np.float32(0.5)
            with store.writer(rows_per_shard=1024) as writer:
                for number in range(count):
                    writer.add(StoreRow(f"{number:08d}", block[number], {"loss": 1.0}))
        self.store, self._queries = folder / "clips", folder / "queries"
        self.out = folder / "scores" / "scores.parquet"
        self.out.parent.mkdir()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["pyarrow.parquet", "torch", __name__])

    def finish(self, way: str) -> float:
        """Score to the end; the seconds that it took."""
        process, link = self._start(way)
        began = time.monotonic()
        process.join(300.0)
        link.close()
        require(process.exitcode == 0, f"scoring ({way}) ended with {process.exitcode}")
        return time.monotonic() - began

    def kill(self, way: str, after_clips: int, after_s: float) -> None:
        """Kill once so many clips are scored (int8 does not say) and so much time is over."""
        process, link = self._start(way)
        done = 0
        while way != "int8" and done < after_clips:
            try:
                done = link.recv()
            except EOFError:
                break
        process.join(after_s)
        if process.exitcode is None:
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        link.close()

    def take(self) -> Path:
        """The scores, moved aside, and no cache, for the next run."""
        taken = self.out.with_name("taken.parquet")
        os.replace(self.out, taken)
        shutil.rmtree(self.store / "cache", ignore_errors=True)
        return taken

    def _start(self, way: str) -> tuple[BaseProcess, Connection]:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(theirs, self.store, self._queries, self.out, way))
        process.start()
        theirs.close()
        ours.recv()
        return process, ours


def _work(link: Connection, store: Path, queries: Path, out: Path, way: str) -> None:
    os.setsid()
    link.send(0)
    score(store, queries, out, WAYS[way], progress=lambda done, _: link.send(done))
