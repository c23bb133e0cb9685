"""Selecting from a million clips: rows per second and the memory that it takes.

    python -m benchmarks.scoring.selecting [--clips N] [--folder PATH] [--out DIR]

A store of N clips with captions of 200 bytes and four columns, and the JSON Lines table that they come from, are made
first; no video exists, so selections are written with --scores-only. Each case runs in a separate process. Its memory
is the highest resident size beyond that after the imports; files that are mapped count while they are resident. The
number of clips written and their order are checked against the scores.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.rows import Record, append, commit
from motive.curate import SelectConfig, select
from motive.scores.file import ScoreFile
from motive.scoring import score
from motive.store import ClipIds, Origin, Source, Store, StoreRow
from motive.store.tables import encode_table
from motive.store.writer import ShardWriter

DIM, SHARD = 16, 50_000
CAMERAS = ("pan", "tilt", "zoom", "static", "")
CASES: dict[str, dict[str, Any]] = {
    "same, 10%": {"top": "10%"},
    "jsonl, 10%": {"top": "10%", "format": "jsonl"},
    "jsonl, 10%, caps and quotas": {
        "top": "10%", "format": "jsonl", "max_per": ("camera=30%", "source=5"), "min_per": ("camera:zoom=25%",),
    },
    "jsonl, 1%, near-duplicates": {"top": "1%", "format": "jsonl", "max_vector_similarity": 0.95},
    "jsonl, 100%": {"top": "100%", "format": "jsonl"},
}  # fmt: skip


def row_of(number: int) -> dict[str, Any]:
    """One row of the dataset's table."""
    caption = f"clip {number}: " + "a person walks across a wide street while the camera follows slowly; " * 3
    return {
        "path": f"{number % 997:03d}/clip-{number:08d}.mp4",
        "caption": caption[:200],
        "camera": CAMERAS[number % 5],
        "source": f"film {number // 8}",
        "fps": 24 + number % 7,
    }


def make(folder: Path, clips: int) -> Path:
    """A table, its store and its scores; the path of the scores."""
    root = folder / "data"
    root.mkdir()
    source = Source(str(root), "jsonl", str(root / "clips.jsonl"), str(root / "clips.jsonl"))
    columns = {"caption": "string", "columns": "string", "path": "string"}
    store = Store.create(
        folder / "store",
        identity={"projection": {"dim": DIM}, "gradient": {}},
        columns_schema=columns,
        origin=Origin(source),
    )
    writer, rng = ShardWriter(store.files, "bench", store.manifest), np.random.default_rng(0)
    with open(root / "clips.jsonl", "x", encoding="utf-8") as table:
        for start in range(0, clips, SHARD):
            rows = [row_of(number) for number in range(start, min(start + SHARD, clips))]
            table.writelines(json.dumps(row) + "\n" for row in rows)
            named = sorted((str(row["path"]), row) for row in rows)
            facts = [
                {
                    "path": str(root / name),
                    "caption": row["caption"],
                    "columns": json.dumps({key: str(value) for key, value in row.items()}),
                }
                for name, row in named
            ]
            ids = [name for name, _ in named]
            vectors = rng.standard_normal((len(ids), DIM)).astype(np.float32)
            writer.commit_block(
                ClipIds.encode(ids, "benchmark"), vectors, encode_table(ids, facts, columns, "benchmark")
            )
    queries = Store.create(folder / "queries", identity=store.identity)
    queries.append([StoreRow("q", np.ones(DIM, np.float32))])
    score(Store.open(store.path), queries, folder / "scores.parquet")
    return folder / "scores.parquet"


def resident(peak: bool) -> int:
    """Bytes of this process in memory: at their highest, or now."""
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmRSS"))


def run(scores: Path, case: str, out: Path) -> Record:
    """One case, in this process."""
    before, start, worked = resident(False), time.perf_counter(), time.process_time()
    done = select(scores, out, SelectConfig(by="query:q", scores_only=True, **CASES[case]))
    seconds, worked, peak = time.perf_counter() - start, time.process_time() - worked, resident(True)
    values = ScoreFile(scores, "benchmark").column("query/q").to_numpy()
    table = (out / "clips.jsonl").read_text(encoding="utf-8").splitlines()
    written = [json.loads(line)["motive_score"] for line in table]
    if len(written) != len(done.clip_ids) or written != sorted(written, reverse=True):
        raise RuntimeError("benchmarks: the selection's table must hold its clips, best first; run the tests")
    if "caps" not in case and "near" not in case:
        best = np.sort(values)[::-1][: len(written)]
        if not np.array_equal(best, np.asarray(written, np.float32)):
            raise RuntimeError("benchmarks: the selection must hold the best clips; run the tests")
    return {
        "op": "select",
        "impl": case,
        "shape": [len(values), len(written)],
        "ms_median": 1e3 * seconds,
        "ms_min": 1e3 * seconds,
        "ms_max": 1e3 * seconds,
        "cpu_s": round(worked, 2),
        "rows_per_s": round(len(values) / seconds),
        "rows_per_cpu_s": round(len(values) / worked),
        "peak_bytes": peak,
        "growth_bytes": peak - before,
    }


def cases(scores: Path, folder: Path, names: Sequence[str]) -> Iterator[Record]:
    """The cases, each in a separate process."""
    for case in names:
        code = (
            "import json, sys; from pathlib import Path; from benchmarks.scoring.selecting import run; "
            "print(json.dumps(run(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))))"
        )
        out = folder / "selection"
        done = subprocess.run(
            [sys.executable, "-c", code, scores, case, out], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"benchmarks: {case} ended with {done.returncode}: {done.stderr[-2000:]}")
        yield json.loads(done.stdout)
        shutil.rmtree(out)


def main(arguments: list[str] | None = None) -> int:
    """Make the store, run the cases, print and keep their rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES), help="which to run")
    parser.add_argument("--folder", type=Path, help="where the files are put; by default a temporary folder")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args(arguments)
    shared = {
        "suite": "scoring",
        "device": "cpu, 1 thread",
        "commit": commit(),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }
    print(
        f"{'case':32} {'clips':>9} {'taken':>9} {'s':>8} {'cpu s':>8} {'rows/cpu s':>10} {'peak MB':>8} {'growth MB':>9}"
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for record in cases(make(Path(folder), options.clips), Path(folder), options.cases):
            clips, taken = record["shape"]
            print(
                f"{record['impl']:32} {clips:9} {taken:9} {record['ms_median'] / 1e3:8.1f} {record['cpu_s']:8.1f} {record['rows_per_cpu_s']:10} "
                f"{record['peak_bytes'] / 1e6:8.0f} {record['growth_bytes'] / 1e6:9.0f}",
                flush=True,
            )
            append(options.out, {**shared, **record})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
