"""kill -9 of scoring at named points: after a block of scores, before a file operation, after the end."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from motive.scoring import ScoreConfig, score
from motive.store import Store, StoreRow
from tests.faults.kills import described
from tests.faults.points import Point, arm, passed, reached
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
    """Each way of scoring in turn, killed while it scores and while it writes."""
    place = _Place(folder, 4_000 if quick else 20_000, 8 if quick else 32)
    wanted, rng = 4 if quick else 60, random.Random(0)
    ways = list(WAYS)[: 2 if quick else 3]
    most, expected = {}, {}
    for way in ways:
        for kind in ("score", "file"):
            most[way, kind] = place.run(way, Point(kind, 0, str(folder)))
            expected[way] = pq.read_table(place.take())
    kills: Counter[str] = Counter()
    places: Counter[str] = Counter()
    late = 0
    for number in range(wanted):
        way, kind = ways[number % len(ways)], ("score", "file")[number // len(ways) % 2]
        if not most[way, kind]:  # a list of int8 is made without blocks that are reported
            kind = "file"
        point = Point(kind, rng.randrange(1, most[way, kind] + 1), str(folder))
        require(place.run(way, point) is None, f"motive score ({way}) did not come past {point}")
        check_whole(str(place.store), f"motive score ({way}) killed at {point}")
        kills[way] += 1
        places[kind] += 1
        if place.out.exists():
            late += 1
            require(pq.read_table(place.out).equals(expected[way]), "a scores file that is there must be whole")
        place.run(way, Point("file", 0, str(folder)))
        require(pq.read_table(place.take()).equals(expected[way]), f"scores ({way}) after a kill differ")
    check_whole(str(place.store), "after all kills")
    note = ", ".join(f"{way} {count}" for way, count in kills.items())
    return [
        Row(
            "kill -9 of the process group while scoring (synthetic vectors)",
            kills.total(),
            "stores unharmed; no scores, or whole ones; run again over what was left, they are equal",
            f"{note}; {described(places)}; the scores were there already {late} times",
        )
    ]


class _Place:
    """A store, its queries, and processes that score them; they are forked from one that has imported everything."""

    def __init__(self, folder: Path, clips: int, queries: int) -> None:
        identity = {"projection": {"dim": 64}, "gradient": {"family": "synthetic"}}
        for name, first, count in (("clips", 0, clips), ("queries", 10_000_000, queries)):
            store = Store.create(folder / name, identity=identity, columns_schema={"loss": "float32"})
            block = vectors(np.arange(first, first + count)) - np.float32(0.5)
            rows = [StoreRow(f"{number:08d}", block[number], {"loss": 1.0}) for number in range(count)]
            for start in range(0, count, 1024):
                store.append(rows[start : start + 1024])
        self.store, self._queries = folder / "clips", folder / "queries"
        self.out = folder / "scores" / "scores.parquet"
        self.out.parent.mkdir()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["pyarrow.parquet", "torch", __name__])

    def run(self, way: str, point: Point) -> int | None:
        """Score, and end at the point: how often its kind of place was passed; None if the point ended it."""
        ours, theirs = self._context.Pipe(duplex=False)
        arguments = (theirs, self.store, self._queries, self.out, way, point)
        process = self._context.Process(target=_work, args=arguments)
        process.start()
        theirs.close()
        try:
            count = ours.recv()
        except EOFError:
            count = None
        process.join()
        ours.close()
        expected = -signal.SIGKILL if count is None else 0
        require(process.exitcode == expected, f"scoring ({way}, {point}) ended with {process.exitcode}")
        return count

    def take(self) -> Path:
        """The scores, moved aside, and no cache, for the next run."""
        taken = self.out.with_name("taken.parquet")
        os.replace(self.out, taken)
        shutil.rmtree(self.store / "cache", ignore_errors=True)
        return taken


def _work(link: Connection, store: Path, queries: Path, out: Path, way: str, point: Point) -> None:
    os.setsid()
    arm(point)
    score(store, queries, out, WAYS[way], progress=lambda *_: reached("score"))
    link.send(passed(point.kind))
