"""Tables of a million clips: rows a second, and how far memory grows while they are read.

    python -m benchmarks.pipeline.datasets [--quick] [--rows N] [--kinds csv,...] [--passes rows,read] [--out DIR]

Each measurement has a new process. `rows` reads every row of the table through its format and keeps none: memory must not
grow with their number. `read` is read_dataset, which keeps a record of a clip for each row and looks for each file; all
rows name one file, under ids that differ. `list` reads the dataset and holds every clip as an object. Memory is the
largest resident size beyond that after a table of 10,000 rows, also by the row beyond those.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import ROOT
from benchmarks.harness.rows import Record, append, commit
from motive.data import dataset_format, read_dataset
from motive.data.paths import PathGuard

FORMATS = {"csv": "opensora", "parquet": "opensora", "jsonl": "jsonl", "json": "diffsynth"}
ROWS, QUICK_ROWS, WARM_ROWS = 1_000_000, 20_000, 10_000
BATCH = WARM_ROWS  # a Parquet row group, which is in memory as a whole
VIDEO = "a.mp4"


def records(kind: str, count: int) -> Iterator[dict[str, Any]]:
    """Rows as the tools write them, with a caption of 400 characters."""
    for number in range(count):
        clip_id, text = (
            f"{number:09d}",
            f"{number:09d} a person walks along a street, seen from the side. ".ljust(400, "x"),
        )
        if kind == "json":
            yield {"id": clip_id, "video": VIDEO, "prompt": text}
        elif kind == "jsonl":
            yield {"id": clip_id, "path": VIDEO, "caption": text, "fps": 24.0, "score": number / count}
        else:
            yield {"id": clip_id, "path": VIDEO, "text": text, "num_frames": 120, "height": 720, "width": 1280,
                   "aspect_ratio": 0.5625, "resolution": 921600, "fps": 24.0, "aes": number / count}  # fmt: skip


def write_table(path: Path, kind: str, count: int) -> None:
    """Write a table of that many rows, in little memory."""
    rows = records(kind, count)
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.Table.from_pylist(list(records(kind, 2))).schema
        with pq.ParquetWriter(path, schema) as writer:
            for _ in range(0, count, BATCH):
                writer.write_table(pa.Table.from_pylist(list(islice(rows, BATCH)), schema))
        return
    with open(path, "w", encoding="utf-8", newline="") as file:
        if kind == "csv":
            writer = csv.DictWriter(file, list(next(records(kind, 1))))
            writer.writeheader()
            writer.writerows(rows)
        elif kind == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:  # on one line, as the captions of public sets may be
            file.writelines(("[" if at == 0 else ", ") + json.dumps(row) for at, row in enumerate(rows))
            file.write("]")


def count_rows(path: Path, kind: str) -> int:
    """Read every row of a table and keep none."""
    reader = dataset_format(FORMATS[kind])
    found = reader.detect(path, named=True)
    if found is None:
        raise RuntimeError(f"benchmarks: {path} is no table of {FORMATS[kind]}")
    return sum(1 for _ in reader.rows(found, PathGuard(found.folder)))


def count_clips(path: Path, kind: str) -> int:
    """Read a dataset."""
    return len(read_dataset(path, FORMATS[kind]).clips)


def list_clips(path: Path, kind: str) -> int:
    """Read a dataset and hold all of its clips."""
    return len(list(read_dataset(path, FORMATS[kind]).clips))


PASSES = {"rows": count_rows, "read": count_clips, "list": list_clips}


def measure(name: str, kind: str, folder: Path) -> Record:
    """One pass in this process: seconds, rows, and growth of memory."""
    read = PASSES[name]
    read(folder / f"warm/clips.{kind}", kind)
    before = largest_bytes()
    start, cpu = time.perf_counter(), time.process_time()
    rows = read(folder / f"clips.{kind}", kind)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"rows": rows, "seconds": seconds, "cpu_s": cpu, "growth_bytes": largest_bytes() - before}


def largest_bytes() -> int:
    """The largest resident size of this process; Linux's getrusage starts with that of the process that started it."""
    try:
        text = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM"))


def in_a_new_process(name: str, kind: str, folder: Path) -> Record:
    command = [sys.executable, "-m", "benchmarks.pipeline.datasets", "--measure", name, "--kinds", kind, "--folder"]
    found = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(found.stdout.splitlines()[-1])


def run(folder: Path, count: int, kinds: list[str], passes: list[str], out: Path | None) -> None:
    """Measure each kind of table, print a line for each pass, and add its row to the results."""
    common = {"suite": "pipeline", "device": f"cpu ({platform.machine()}), 1 thread", "commit": commit()}
    print(f"{'table':8} {'pass':5} {'MB':>7} {'rows/s':>10} {'CPU s':>7} {'growth MB':>10} {'bytes/row':>10}")
    for kind in kinds:
        (folder / "warm").mkdir(exist_ok=True)
        for place, rows in ((folder, count), (folder / "warm", WARM_ROWS)):
            (place / VIDEO).write_bytes(b"x")
            write_table(place / f"clips.{kind}", kind, rows)
        size = (folder / f"clips.{kind}").stat().st_size
        for name in passes:
            found = in_a_new_process(name, kind, folder)
            if found["rows"] != count:
                raise RuntimeError(f"benchmarks: {name} of {kind} gave {found['rows']} of {count} rows; run the tests")
            rate, growth = count / found["seconds"], found["growth_bytes"]
            print(
                f"{kind:8} {name:5} {size / 1e6:7.0f} {rate:10.0f} {found['cpu_s']:7.1f} {growth / 1e6:10.1f} {growth / max(1, count - WARM_ROWS):10.0f}",
                flush=True,
            )
            taken = 1e3 * found["seconds"]
            append(out, {**common, "op": f"dataset_{name}", "impl": kind, "versions": {"python": platform.python_version()},
                         "shape": [count], "bytes": size, "ms_median": taken, "ms_min": taken, "ms_max": taken,
                         "rows_per_s": rate, "cpu_s": found["cpu_s"], "growth_bytes": growth})  # fmt: skip
        (folder / f"clips.{kind}").unlink()


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS:,} rows")
    parser.add_argument("--rows", type=int, help=f"rows of each table; {ROWS:,} if not given")
    parser.add_argument("--kinds", default=",".join(FORMATS), help="tables to read, with commas between them")
    parser.add_argument("--passes", default=",".join(PASSES), help="what to measure, with commas between them")
    parser.add_argument("--folder", type=Path, help="folder for the tables (0.6 GB each), which are removed")
    parser.add_argument("--out", type=Path, help="folder of results.jsonl")
    parser.add_argument("--measure", choices=tuple(PASSES), help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    kinds = options.kinds.split(",")
    if options.measure is not None:
        print(json.dumps(measure(options.measure, kinds[0], options.folder)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        count = options.rows or (QUICK_ROWS if options.quick else ROWS)
        run(Path(folder), count, kinds, options.passes.split(","), options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
