"""A million vectors by four writers that are killed at random; then every byte and every vector is checked.

python -m tests.faults.soak STORE WRITER WRITERS CLIPS     (one writer)
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from motive.store import ClipIds, Store, compact, verify_store
from motive.store.tables import encode_parquet, schema
from motive.store.writer import ShardWriter, random_writer_name
from tests.faults.rows import Row, require

DIM = 64
SHARD = 4096
WRITERS = 4
DIGITS = 8
"""Of a clip id."""
_GROWTH_MB, _ALONE_MB = 64, 16
"""A writer that starts again reads the ids that are there by then; one that goes on must not grow."""


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


def run(quick: bool, folder: Path) -> list[Row]:
    """Start the writers, kill them now and then, check at the end."""
    clips, rng = 40_000 if quick else 1_000_000, random.Random(0)
    location = str(folder / "soak")
    _make(location)
    began, kills = time.monotonic(), 0
    running = {number: _start(location, number, clips) for number in range(WRITERS)}
    limit = 4 if quick else 40
    memory: dict[int, float] = {}
    while running:
        time.sleep(rng.uniform(0.3, 1.5))
        tenth = _tenth(location, clips)
        memory[tenth] = max(memory.get(tenth, 0.0), *(_memory_mb(process.pid) for process in running.values()))
        for number, process in list(running.items()):
            if process.poll() == 0:
                del running[number]
            elif process.poll() is not None:
                running[number] = _start(location, number, clips)
        if running and kills < limit:
            os.kill(running[rng.choice(sorted(running))].pid, signal.SIGKILL)
            kills += 1
    seconds = time.monotonic() - began
    series = [round(memory[tenth]) for tenth in sorted(memory)]
    require(quick or series[-1] - max(series[:3]) < _GROWTH_MB, f"writers grow: {series} MB")
    _check(location, clips)
    before = len(Store.open(location).commits)
    done = compact(location, 1 << 16)
    _check(location, clips)
    peak_mb = _peak_mb()
    note = (
        f"{kills} kills, {seconds:.0f} s, {before} shards, {done.after} after compaction; the largest writer by tenths of "
        f"the vectors {', '.join(map(str, series))} MB; peak of any process, checking and compacting included, {peak_mb:.0f} MB"
    )
    row = Row("soak: vectors by 4 writers with random kills", clips, "verified; every vector right, once", note)
    return [row, _alone(quick, str(folder / "alone"), clips)]


def _alone(quick: bool, location: str, clips: int) -> Row:
    """One writer from the first vector to the last: what appending itself does to memory."""
    _make(location)
    process, memory = _start(location, 0, clips, writers=1), dict[int, float]()
    while process.poll() is None:
        time.sleep(0.1)
        tenth = _tenth(location, clips)
        memory[tenth] = max(memory.get(tenth, 0.0), _memory_mb(process.pid))
    require(process.returncode == 0, f"the writer ended with {process.returncode}")
    _check(location, clips)
    series = [round(memory[tenth]) for tenth in sorted(memory)]
    require(quick or series[-1] - series[0] < _ALONE_MB, f"a writer grows: {series} MB")
    held = f"memory flat: {', '.join(map(str, series))} MB by tenths of the vectors"
    return Row("soak: one writer, undisturbed", clips, held, "verified; every vector right, once")


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


def _tenth(location: str, clips: int) -> int:
    """How far the store is, 0 to 9."""
    return min(9, 10 * SHARD * sum(1 for _ in Path(location, "commits").glob("*.json")) // clips)


def _start(location: str, writer: int, clips: int, writers: int = WRITERS) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.faults.soak", location, str(writer), str(writers), str(clips)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _memory_mb(process: int) -> float:
    """Resident memory of a process; 0 where it has gone."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, IndexError):
        return 0.0


def _peak_mb() -> float:
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
