"""Time of ``motive data check`` on a table of many clips, without opening any video.

    python -m benchmarks.pipeline.dataset_check [--rows 100000] [--folder DIR] [--out DIR]

The dataset is a VideoFolder with a CSV of eight columns in the manner of Open-Sora's, in folders of 1,000 files. The
files have sizes of videos (100 kB to 10 MB, log-uniform) and hold no more than their number, so that they take little
space; one in 1,000 is a copy of another, one in 1,000 has no row, and one row in 1,000 has no file. The folder is made
once, and reading it once first brings its directories into memory.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import platform
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness.rows import Record, append, common
from motive.data import ClipSpec, Part, read_dataset
from motive.data.check.survey import Look, survey
from motive.data.video.buckets import ClipSpecs
from motive.data.video.trainer_buckets import trainer_buckets

COLUMNS = ("file_name", "text", "num_frames", "height", "width", "aspect_ratio", "resolution", "fps")
SHAPES = ((480, 832, 24.0), (1080, 1920, 30.0), (720, 1280, 25.0), (1920, 1080, 30.0))
WORDS = ("red", "car", "drives", "past", "old", "house", "people", "watch", "green", "hills", "rain", "falls")
RARE = 1000
TARGET_S = 20.0


def make(folder: Path, rows: int) -> None:
    """Write the dataset."""
    chosen = random.Random(0)
    with open(folder / "metadata.csv", "x", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for at in range(rows):
            name, kind = f"{at // 1000:04d}/clip_{at:07d}.mp4", at % RARE
            if kind != 1:
                size = int(10 ** chosen.uniform(5, 7))
                _write(folder / name, 11_111 if kind in (2, 3) else size, b"copy" if kind in (2, 3) else name.encode())
            if kind != 4:
                high, wide, fps = chosen.choice(SHAPES)
                caption = " ".join(chosen.choices(WORDS, k=20))
                table.writerow([name, caption, chosen.randint(40, 400), high, wide, high / wide, high * wide, fps])


def _write(path: Path, size: int, content: bytes) -> None:
    if not path.parent.is_dir():
        path.parent.mkdir()
    with open(path, "xb") as file:
        file.write(content)
        file.truncate(size)


def measure(folder: Path, rows: int) -> Iterator[Record]:
    """A row for reading the dataset, one for the whole check by a clip spec, and one by buckets."""
    read_dataset(folder)
    began, cpu_began = time.perf_counter(), time.process_time()
    dataset = read_dataset(folder)
    read_s, read_cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    yield _row("read_dataset", rows, read_s, read_cpu_s)
    for op, specs in (("data_check", ClipSpecs(ClipSpec())), ("data_check_buckets", _buckets())):
        began, cpu_began = time.perf_counter(), time.process_time()
        found = survey(dataset, specs, Look(headers=False))
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        counts = {finding.name: finding.count for finding in found.findings}
        expected = {"missing_file": rows // RARE, "file_without_row": rows // RARE, "same_bytes": 2 * (rows // RARE)}
        wrong = {name: counts[name] for name, count in expected.items() if counts[name] != count}
        if wrong:
            raise SystemExit(f"the check counted {wrong}, expected {expected}")
        yield _row(op, rows, read_s + seconds, read_cpu_s + cpu_s)


def _buckets() -> ClipSpecs:
    """Those that a musubi-tuner configuration of 832 x 480 stands for, in three lengths."""
    part = Part("", frames=(21, 41, 81), sizes=((832, 480),), keeps_aspect=True)
    buckets = trainer_buckets([part], ClipSpec(), lambda spec: spec.height % 16 == spec.width % 16 == 0)
    return ClipSpecs(buckets[0].spec(ClipSpec()), buckets)


def _row(op: str, rows: int, seconds: float, cpu_s: float) -> Record:
    times = dict.fromkeys(("ms_min", "ms_median", "ms_max"), 1e3 * seconds)
    return {"op": op, "impl": "motive", "shape": [rows], **times, "cpu_ms": 1e3 * cpu_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="of the table, about")
    parser.add_argument("--folder", type=Path, help="where the dataset is made, and kept [a temporary folder]")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    rows = max(1, math.ceil(options.rows / RARE)) * RARE
    print(f"{platform.platform()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "metadata.csv").exists():
            make(folder, rows)
        for row in measure(folder, rows):
            append(options.out, {**common("pipeline", "cpu, 1 thread"), **row})
            target = f", target {TARGET_S:g} s for 100,000" if row["op"] != "read_dataset" else ""
            print(
                f"{row['op']:18} {rows:,} rows  {row['ms_median'] / 1e3:6.2f} s{target}; {row['cpu_ms'] / 1e3:.2f} s of CPU time"
            )


if __name__ == "__main__":
    main()
