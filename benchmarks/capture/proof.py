"""The cost of proving a capture's plan on its first batch, relative to a later batch of the same capture.

    python -m benchmarks.capture.proof [--quick] [--threads N] [--out DIR]

The model and batch are those of benchmarks.capture.forward_backward. A capture proves its plan once, so a run of m
batches takes (first - later) / (m later) more time than one without.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch

import motive_kernels as mk
from benchmarks.capture.models import TARGET, Bench, Size
from benchmarks.harness.rows import Record, append
from benchmarks.kernels.projection_types import complete

QUICK = Size(2, 512, 1, (2, 16, 16), 2, 256)


def records(size: Size, repeats: int) -> Iterator[Record]:
    """The first batch with and without the proof, and a later one."""
    bench = Bench(size)
    times: dict[str, list[float]] = {"later batch": [], "first batch, proved": [], "first batch, looked at": []}
    for number in range(repeats + 1):
        proved = mk.GradientCapture(bench.model, bench.projector)
        unproved = mk.GradientCapture(bench.model, bench.projector, verify=False)
        captures = {"first batch, proved": proved, "first batch, looked at": unproved, "later batch": proved}
        for name, capture in captures.items():
            begin = time.perf_counter()
            capture(bench.losses)
            if number:
                times[name].append((time.perf_counter() - begin) * 1e3)
    later = median(times["later batch"])
    for name, found in times.items():
        yield {
            "suite": "capture",
            "op": "capture, first batch",
            "impl": name,
            "dtype": "float32",
            "shape": [size.batch, size.tokens, 128 * size.heads, size.ffn, size.layers],
            "ms_median": median(found),
            "ms_min": min(found),
            "ms_max": max(found),
            "baseline": "later batch",
            "ratio": median(found) / later,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model, two repetitions")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of every row")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for record in records(QUICK if options.quick else TARGET, 2 if options.quick else 3):
        print(f"{record['impl']:26} {record['ms_median']:10.1f} ms {record['ratio']:7.2f}", flush=True)
        append(options.out, complete(record))


if __name__ == "__main__":
    main()
