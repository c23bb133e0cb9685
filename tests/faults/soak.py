"""A million vectors by four writers that are killed at named points; then every byte and every vector is checked.

python -m tests.faults.soak STORE WRITER WRITERS CLIPS [POINT]     (one writer)
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from motive.store import ClipIds, Store, compact, verify_store
from motive.store.tables import encode_parquet, schema
from motive.store.writer import ShardWriter, random_writer_name
from tests.faults.kills import described
from tests.faults.points import Point, arm
from tests.faults.rows import Row, require

DIM = 64
SHARD = 4096
WRITERS = 4
DIGITS = 8
"""Of a clip id."""
_GROWTH_MB, _ALONE_MB = 64, 16
"""A writer that starts again reads the ids that are there by then; one that continues must not grow."""


def vectors(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    """Vector of each clip number, [n, DIM]: integers spread by a multiplication, exact in float32."""
    spread = numbers[:, None].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.arange(DIM, dtype=np.uint64)
    mixed = (spread ^ (spread >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return (((mixed >> np.uint64(40)).astype(np.float32) + 1) / 2**24).astype(np.float32)


def write(location: str, writer: int, writers: int, clips: int) -> None:
    """Write what is missing of one writer's share, unit by unit."""
    store = Store.open(location)
    held = np.zeros(len(store), np.int64)
    for digit in store.ids.data.reshape(-1, DIGITS).T:
        held = 10 * held + digit - ord("0")
    share = np.setdiff1d(np.arange(writer, clips, writers), held)
    del held
    shards = ShardWriter(store.files, random_writer_name(), store.manifest)
    for start in range(0, share.size, SHARD):
        part = share[start : start + SHARD]
        ids = ClipIds.encode([f"{number:0{DIGITS}d}" for number in part], "soak")
        table = pa.table([ids.to_arrow(), pa.array(part.astype(np.float32))], schema=schema({"loss": "float32"}))
        shards.commit_block(ids, vectors(part), encode_parquet(table))
        _note_memory(location, clips)


def run(quick: bool, folder: Path) -> list[Row]:
    """Writers at the same time, each of which is killed and started again; check at the end."""
    clips, location = 40_000 if quick else 1_000_000, str(folder / "soak")
    _make(location)
    with ThreadPoolExecutor(WRITERS) as threads:
        arguments = range(WRITERS), repeat(location), repeat(clips), repeat(1 if quick else 10)
        places = sum(threads.map(_keep_writing, *arguments), Counter())
    kills = places.total()
    require(kills >= WRITERS, f"{kills} kills of {WRITERS} writers")
    memory = _memory(location)
    series = [round(memory[tenth]) for tenth in sorted(memory)]
    require(quick or series[-1] - max(series[:3]) < _GROWTH_MB, f"writers grow: {series} MB")
    _check(location, clips)
    before = len(Store.open(location).commits)
    done = compact(location, 1 << 16)
    _check(location, clips)
    peak_mb = _peak_mb()
    note = (
        f"{kills} kills ({described(places)}), {before} shards, {done.after} after compaction; the largest writer by "
        f"tenths of the vectors {', '.join(map(str, series))} MB; peak of any process, checking and compacting included, "
        f"{peak_mb:.0f} MB"
    )
    row = Row("soak: vectors by 4 writers that are killed", clips, "verified; every vector right, once", note)
    return [row, _alone(quick, str(folder / "alone"), clips)]


def _keep_writing(writer: int, location: str, clips: int, kills: int) -> Counter[str]:
    """Start one writer until it has written its share; the points that ended it."""
    rng, places = random.Random(writer), Counter[str]()
    for point in _points(rng, writer, kills):
        process = _start(location, writer, clips, point=point)
        code = process.wait()
        if code == 0:
            return places
        require(code == -signal.SIGKILL, f"writer {writer} ended with {code}")
        places[point.kind] += 1
    code = _start(location, writer, clips).wait()
    require(code == 0, f"writer {writer} ended with {code}")
    return places


def _points(rng: random.Random, writer: int, kills: int) -> Iterator[Point]:
    """Points of all kinds in turn; each writer begins with another kind."""
    for number in range(kills):
        kind, most = (("commit", 2), ("write", 6))[(writer + number) % 2]
        yield Point(kind, rng.randrange(1, most + 1))


def _alone(quick: bool, location: str, clips: int) -> Row:
    """One writer from the first vector to the last: what appending itself does to memory."""
    _make(location)
    code = _start(location, 0, clips, writers=1).wait()
    require(code == 0, f"the writer ended with {code}")
    _check(location, clips)
    memory = _memory(location)
    series = [round(memory[tenth]) for tenth in sorted(memory)]
    require(quick or series[-1] - series[0] < _ALONE_MB, f"a writer grows: {series} MB")
    held = f"memory flat: {', '.join(map(str, series))} MB by tenths of the vectors"
    return Row("soak: one writer, undisturbed", clips, held, "verified; every vector right, once")


def _note_memory(location: str, clips: int) -> None:
    """Add a line to the list beside the store: how far it is, and this process' resident megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    tenth = min(9, 10 * SHARD * sum(1 for _ in Path(location, "commits").glob("*.json")) // clips)
    with open(f"{location}.memory", "a") as file:
        file.write(f"{tenth} {pages * os.sysconf('SC_PAGE_SIZE') / 2**20}\n")


def _memory(location: str) -> dict[int, float]:
    """Tenth of the vectors -> megabytes of the largest writer."""
    largest: dict[int, float] = {}
    for line in Path(f"{location}.memory").read_text().splitlines():
        tenth, megabytes = line.split()
        largest[int(tenth)] = max(largest.get(int(tenth), 0.0), float(megabytes))
    return largest


def _check(location: str, clips: int) -> None:
    report = verify_store(location)
    require(report.ok and report.clips == clips, str(report))
    require(not [note for note in report.notes if "committed" in note.reason], "a clip is doubled")
    for start, block in Store.open(location).blocks(1 << 16):
        right = vectors(np.arange(start, start + len(block)))
        require(bool((block == right).all()), f"vectors from {start} differ")


def _make(location: str) -> None:
    identity = {"projection": {"dim": DIM}, "gradient": {"family": "synthetic"}}
    Store.create(location, identity=identity, columns_schema={"loss": "float32"})


def _start(
    location: str, writer: int, clips: int, writers: int = WRITERS, point: Point | None = None
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.faults.soak", location, str(writer), str(writers), str(clips)]
    command += [str(point)] if point else []
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def _peak_mb() -> float:
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


if __name__ == "__main__":
    for text in sys.argv[5:]:
        arm(Point.parse(text))
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
