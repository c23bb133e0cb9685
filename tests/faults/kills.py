"""kill -9 of whole process groups, and of single workers of a run, at named points of their work."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from motive.store import Store
from motive.workers.launch import LaunchConfig
from motive.workers.pool import Event
from tests.faults.points import Point, command
from tests.faults.rows import Row, check_equal, check_whole, require
from tests.faults.synthetic import Synthetic, SyntheticJob
from tests.faults.target import job

_LAST = {"unit": 3, "commit": 3, "write": 9, "file": 36}
"""Kind of point -> the last number that is drawn; a fresh store of eight units has more of each."""


def synthetic(kills: int, workers: int, folder: Path, clips: int = 96) -> Row:
    """Kill and resume until the number of kills is reached; every store is compared with an undisturbed run."""
    rng, expected = random.Random(workers), job(clips, workers).expected()
    places: Counter[str] = Counter()
    stores = partial = 0
    while places.total() < kills:
        location = folder / f"kill-{workers}-{stores}"
        stores += 1
        for point in _points(rng, min(kills - places.total(), rng.randrange(2, 7)), location):
            if not ended_by_kill(_target(location, clips, workers, point)):
                break  # the rest of the work never came past the point
            places[point.kind] += 1
            if (location / "manifest.json").exists():
                held = len(check_whole(str(location), f"kill at {point}"))
                partial += 0 < held < len(expected)
        finish(_target(location, clips, workers))
        check_equal(str(location), expected, f"after {places.total()} kills")
    how = f"{workers} worker processes" if workers else "one process"
    return Row(
        f"kill -9 of the process group while indexing ({how}, synthetic vectors)",
        places.total(),
        "store verifies after each; resumed, it equals an undisturbed run bit for bit",
        f"{stores} stores; {partial} kills with some clips committed and some not; " + described(places),
    )


def _points(rng: random.Random, count: int, folder: Path) -> Iterator[Point]:
    """Points of all kinds in turn, from a random one on."""
    kinds, first = list(_LAST), rng.randrange(len(_LAST))
    for number in range(count):
        kind = kinds[(first + number) % len(kinds)]
        yield Point(kind, rng.randrange(1, _LAST[kind] + 1), str(folder))


def described(places: Counter[str]) -> str:
    """Where the kills fell, for a note."""
    names = {"unit": "a unit began", "clip": "a clip began", "commit": "between two commits",
             "write": "in the middle of a write", "file": "before a file operation", "score": "between blocks"}  # fmt: skip
    return ", ".join(f"{names[kind]} {count}" for kind, count in sorted(places.items()))


def real(kills: int, folder: Path) -> list[Row]:
    """The command line itself on small video files with the built-in model: indexing, then scoring."""
    from motive.toy.pool import write_pool, write_queries

    rng = random.Random(1)
    pool = write_pool(folder / "pool", clips_per_motion=2, seed=3, motions=("bounce", "slide", "spin", "static"))
    queries = write_queries(folder / "queries", clips_per_motion=1, seed=3)
    common = ["--noise-strategy", "single", "--quiet", "--shard-rows", "2", "--batch-size", "2", "--threads", "1"]
    calm = folder / "calm"
    steps = _calm_steps(calm, "index", str(pool), "--out", str(calm), *common)
    reference = Store.open(calm)
    expected = dict(zip(reference.clip_ids, reference.vectors(), strict=True))
    done = stores = 0
    while done < kills:
        location = folder / f"real-{stores}"
        arguments = ("index", str(pool), "--out", str(location), "--workers", str(stores % 2), *common)
        stores += 1
        while done < kills:
            point = Point("file", rng.randrange(1, steps + 1), str(location))
            if not ended_by_kill(start(command(point, *arguments))):
                break
            done += 1
            if (location / "manifest.json").exists():
                check_whole(str(location), f"motive index killed at {point}")
        finish(_cli(*arguments))
        check_equal(str(location), expected, f"motive index after {done} kills")
    rows = [
        Row(
            "kill -9 of `motive index` (decoding, masks, the built-in model)",
            done,
            "store verifies after each; resumed, it equals an undisturbed run bit for bit",
            f"{stores} stores, half of them with a worker process; each before one of {steps} file operations",
        )
    ]
    return [*rows, _scoring(max(3, kills // 2), calm, queries, folder)]


def _scoring(kills: int, store: Path, queries: Path, folder: Path) -> Row:
    asked = folder / "asked"
    finish(_cli("query", str(queries), "--like", str(store), "--out", str(asked), "--quiet"))
    place, rng = folder / "scored", random.Random(2)
    place.mkdir()
    scores = place / "scores.parquet"
    arguments = ("score", str(store), str(asked), "--out", str(scores))
    steps = _calm_steps(place, *arguments)
    expected = _scores(scores)
    held = 0
    for number in range(kills):
        scores.unlink(missing_ok=True)
        point = Point("file", rng.randrange(1, steps + 1), str(place))
        require(ended_by_kill(start(command(point, *arguments))), f"motive score did not come past {point}")
        check_whole(str(store), f"kill {number + 1} of motive score")
        if scores.exists():
            held += 1
            require(_scores(scores) == expected, "a scores file that is there must be whole")
        finish(_cli(*arguments))
        require(_scores(scores) == expected, f"scores after kill {number + 1} differ")
    return Row(
        "kill -9 of `motive score`", kills, "stores unharmed; scores absent or whole; run again, they are equal",
        f"{held} times the scores were there already",
    )  # fmt: skip


def _calm_steps(folder: Path, *arguments: str) -> int:
    """Run the command line to its end; how many file operations below the folder that takes."""
    process = start(command(Point("file", 0, str(folder)), *arguments))
    said, _ = process.communicate()
    require(process.returncode in (0, 3), f"{process.args} ended with {process.returncode}")
    return int(said.split()[-1])


def workers(kills: int, folder: Path) -> Row:
    """Kill one of three workers again and again during a run.

    While kills are left, no worker comes past its second unit. So all are done before the units are.
    """
    tickets = folder / "tickets"
    tickets.mkdir()
    points = tuple(
        Point(kind, number, alone=True, tickets=str(tickets), kills=kills)
        for kind, number in (("unit", 2), ("clip", 5), ("commit", 1), ("write", 2))
    )
    asked = SyntheticJob(
        20 * (kills + 8), 20, 3, Synthetic(points=points), LaunchConfig(workers=3, max_deaths=10_000)
    )  # fmt: skip
    events: list[Event] = []
    asked.run(folder / "workers", events)
    check_equal(str(folder / "workers"), asked.expected(), "after workers were killed")
    done = sum(1 for _ in tickets.iterdir())
    require(done == kills, f"{done} of {kills} kills")
    quarantined = len(Store.open(folder / "workers").failures())
    require(quarantined == 0, f"{quarantined} clips were blamed for kills from outside")
    deaths = sum(event.kind == "died" for event in events)
    require(deaths == kills, f"{deaths} deaths were seen, of {kills}")
    return Row(
        "one of three workers killed", done, "the run ends by itself with the same vectors", f"{deaths} replaced"
    )


def _target(location: Path, clips: int, workers: int, point: Point | None = None) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "tests.faults.target", str(location), str(clips), str(workers)]
    return start([*program, str(point)] if point else program)


def start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """A process in a separate group, which a point may end as a whole."""
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True
    )


def _cli(*arguments: str) -> subprocess.Popen[bytes]:
    return start([sys.executable, "-m", "motive.cli", *arguments])


def ended_by_kill(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the end; whether a point ended it."""
    process.communicate()
    require(process.returncode in (0, 3, -signal.SIGKILL), f"{process.args} ended with {process.returncode}")
    return process.returncode == -signal.SIGKILL


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end, which must be a good one."""
    require(not ended_by_kill(process), f"{process.args} was killed")


def _scores(path: Path) -> bytes:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return repr([(name, np.asarray(table.column(name)).tolist()) for name in table.column_names]).encode()
