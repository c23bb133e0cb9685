"""Starts `motive --help` and the like in new processes, and times them and what their libraries take to load.

    python -m benchmarks.pipeline.startup [--runs N] [--out DIR]

Each run is a new process, the cases in turn; times are of the whole process. The baseline of a case is a process that
imports what the case needs at least.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness.machine import ROOT
from benchmarks.harness.rows import append, common

CASES = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import argparse'": ["-c", "import argparse"],
    "python -c 'import torch'": ["-c", "import torch"],
    "motive --help": ["-m", "motive.cli", "--help"],
    "motive --version": ["-m", "motive.cli", "--version"],
    "motive index --help": ["-m", "motive.cli", "index", "--help"],
    "motive verify --help": ["-m", "motive.cli", "verify", "--help"],
}
BASELINES = {
    "motive --help": "python -c 'import argparse'",
    "motive --version": "python -c 'import argparse'",
    "motive index --help": "python -c 'import torch'",
    "motive verify --help": "python -c 'import argparse'",
}


def measure(runs: int) -> dict[str, list[float]]:
    """Milliseconds of each case; the first round, which reads files into memory, does not count."""
    found: dict[str, list[float]] = {name: [] for name in CASES}
    for number in range(runs + 1):
        for name, arguments in CASES.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
            if number:
                found[name].append(1e3 * (time.perf_counter() - began))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="of each case [5]")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    print(f"{platform.platform()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    found = measure(options.runs)
    for name, times in found.items():
        median, baseline = statistics.median(times), BASELINES.get(name)
        row = {"op": name, "impl": "motive" if baseline else "python", "ms_median": median}
        if baseline:
            row |= {"baseline": baseline, "ratio": median / statistics.median(found[baseline])}
        append(options.out, {**common("pipeline", "cpu"), **row, "ms_min": min(times), "ms_max": max(times)})
        relative = f", {row['ratio']:.1f} x {baseline}" if baseline else ""
        print(f"{name:28} {median:7.0f} ms ({min(times):.0f} to {max(times):.0f}){relative}")


if __name__ == "__main__":
    main()
