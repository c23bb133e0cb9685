"""kill -9 of whole process groups at random moments, and of single workers while a run goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from motive.store import Store
from motive.workers.launch import LaunchConfig
from motive.workers.local import Event
from tests.faults.rows import Row, check_equal, check_whole, require
from tests.faults.synthetic import Synthetic, SyntheticJob
from tests.faults.target import job

_LIMIT_S = 300.0
_LONGEST_S = 2.0


def synthetic(kills: int, workers: int, folder: Path, clips: int = 96, clip_ms: float = 4.0) -> Row:
    """Kill and resume until so many kills are done; every store is compared with an undisturbed run."""
    rng, expected = random.Random(workers), job(clips, workers, clip_ms).expected()
    done, stores, partial = 0, 0, 0
    calm = _target(folder / f"calm-{workers}", clips, workers, clip_ms)
    if calm.stdout is not None:
        calm.stdout.readline()
    began = time.monotonic()
    finish(calm)
    span_s = min(time.monotonic() - began, _LONGEST_S)  # the machine may have been busy with something else
    while done < kills:
        location = str(folder / f"kill-{workers}-{stores}")
        stores += 1
        killed = True
        while killed:
            process = _target(Path(location), clips, workers, clip_ms)
            after_s = rng.uniform(0.0, span_s)
            if done % 2:  # every other kill comes between commits, wherever the start of processes takes most time
                _reach(process, Path(location), rng.randrange(1, 4))
                after_s = rng.uniform(0.0, clip_ms / 50)
            killed = _kill_or_finish(process, done < kills, after_s)
            done += killed
            if (Path(location) / "manifest.json").exists():
                held = len(check_whole(location, f"kill {done}"))
                partial += 0 < held < len(expected)
        check_equal(location, expected, f"after {done} kills")
    how = f"{workers} worker processes" if workers else "one process"
    return Row(
        f"kill -9 of the process group while indexing ({how}, synthetic vectors)",
        done,
        "store verifies after each; resumed, it equals an undisturbed run bit for bit",
        f"{stores} stores; {partial} kills with some clips committed and some not",
    )


def real(kills: int, folder: Path) -> list[Row]:
    """The command line itself on small video files with the built-in model: indexing, then scoring."""
    from motive.toy.pool import write_pool, write_queries

    rng = random.Random(1)
    pool = write_pool(folder / "pool", clips_per_motion=2, seed=3, motions=("bounce", "slide", "spin", "static"))
    queries = write_queries(folder / "queries", clips_per_motion=1, seed=3)
    common = ["--draws-strategy", "single", "--quiet", "--shard-rows", "2", "--clips-per-pass", "2", "--threads", "1"]
    calm = folder / "calm"
    began = time.monotonic()
    finish(_cli("index", str(pool), "--out", str(calm), *common))
    span_s = time.monotonic() - began
    reference = Store.open(calm)
    expected = dict(zip(reference.clip_ids, reference.vectors(), strict=True))
    done = stores = 0
    while done < kills:
        location = str(folder / f"real-{stores}")
        workers = str(stores % 2)
        stores += 1
        killed = True
        while killed:
            process = _cli("index", str(pool), "--out", location, "--workers", workers, *common)
            killed = _kill_or_finish(process, done < kills, rng.uniform(0.3, 1.0) * span_s, wait_begun=False)
            done += killed
            if (Path(location) / "manifest.json").exists():
                check_whole(location, f"kill {done} of motive index")
        check_equal(location, expected, f"motive index after {done} kills")
    rows = [
        Row(
            "kill -9 of `motive index` (decoding, masks, the built-in model)",
            done,
            "store verifies after each; resumed, it equals an undisturbed run bit for bit",
            f"{stores} stores, half of them with a worker process",
        )
    ]
    return [*rows, _scoring(max(3, kills // 2), calm, queries, folder)]


def _scoring(kills: int, store: Path, queries: Path, folder: Path) -> Row:
    asked = folder / "asked"
    finish(_cli("query", str(queries), "--like", str(store), "--out", str(asked), "--quiet"))
    scores, rng = folder / "scores.parquet", random.Random(2)
    began = time.monotonic()
    finish(_cli("score", str(store), str(asked), "--out", str(scores)))
    span_s, expected = time.monotonic() - began, _scores(scores)
    held = 0
    for number in range(kills):
        scores.unlink(missing_ok=True)
        kill_within(_cli("score", str(store), str(asked), "--out", str(scores)), rng.uniform(0.5, 1.1) * span_s, False)
        check_whole(str(store), f"kill {number + 1} of motive score")
        if scores.exists():
            held += 1
            require(_scores(scores) == expected, "a scores file that is there must be whole")
        finish(_cli("score", str(store), str(asked), "--out", str(scores)))
        require(_scores(scores) == expected, f"scores after kill {number + 1} differ")
    return Row(
        "kill -9 of `motive score`", kills, "stores unharmed; scores absent or whole; run again, they are equal",
        f"{held} times the scores were there already",
    )  # fmt: skip


def workers(kills: int, folder: Path) -> Row:
    """Kill one of three workers again and again while a run goes on."""
    asked = SyntheticJob(60 * kills, 20, 3, Synthetic(clip_s=0.01), LaunchConfig(workers=3, max_deaths=10_000))
    events: list[Event] = []
    rng, stop, killed = random.Random(0), threading.Event(), []

    def kill() -> None:
        while not stop.wait(rng.uniform(0.1, 0.6)) and len(killed) < kills:
            alive = children(os.getpid())
            if alive:
                os.kill(rng.choice(alive), signal.SIGKILL)
                killed.append(1)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        asked.run(folder / "workers", events)
    finally:
        stop.set()
        thread.join()
    check_equal(str(folder / "workers"), asked.expected(), "after workers were killed")
    require(len(killed) >= kills, f"{len(killed)} kills only: the run was too short")
    quarantined = len(Store.open(folder / "workers").failures())
    require(quarantined == 0, f"{quarantined} clips were blamed for kills from outside")
    deaths = sum(event.kind == "died" for event in events)
    return Row(
        "one of three workers killed", len(killed), "the run ends by itself with the same vectors", f"{deaths} replaced"
    )


def _target(location: Path, clips: int, workers: int, clip_ms: float) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "tests.faults.target"]
    return start([*program, str(location), str(clips), str(workers), str(clip_ms)])


def start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True
    )


def _cli(*arguments: str) -> subprocess.Popen[bytes]:
    return start([sys.executable, "-m", "motive.cli", *arguments])


def _reach(process: subprocess.Popen[bytes], store: Path, records: int) -> None:
    """Wait until so many further records are committed, or the process has ended."""

    def committed() -> int:
        return sum(1 for _ in (store / "commits").glob("*.json"))

    wanted = committed() + records
    while process.poll() is None and committed() < wanted:
        time.sleep(0.002)


def kill_within(process: subprocess.Popen[bytes], after_s: float, wait_begun: bool = True) -> bool:
    """Kill the process group so many seconds after it has begun; whether it was still at work."""
    if wait_begun and process.stdout is not None:
        process.stdout.readline()
    try:
        process.wait(after_s)
        killed = False
    except subprocess.TimeoutExpired:
        killed = True
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        killed = False
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return killed


def _kill_or_finish(process: subprocess.Popen[bytes], kill: bool, after_s: float, wait_begun: bool = True) -> bool:
    """Kill the process group, or let it end where enough were killed; whether it was killed at work."""
    if kill:
        return kill_within(process, after_s, wait_begun)
    finish(process)
    return False


def finish(process: subprocess.Popen[bytes]) -> None:
    process.communicate(timeout=_LIMIT_S)
    require(process.returncode in (0, 3), f"{process.args} ended with {process.returncode}")


def _scores(path: Path) -> bytes:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return repr([(name, np.asarray(table.column(name)).tolist()) for name in table.column_names]).encode()


def children(parent: int) -> list[int]:
    """Process ids of a process' living children."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
        except OSError:
            continue
        if len(fields) > 1 and fields[1] == str(parent) and fields[0] != "Z":
            found.append(int(entry.name))
    return found
