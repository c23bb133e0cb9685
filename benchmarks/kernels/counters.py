"""Hardware counters of every kernel at its real shape, by ncu: a few metrics, one row a kernel.

    python -m benchmarks.kernels.counters --seconds S [--out DIR] [--again]
    python -m benchmarks.kernels.counters --launch [--rehearse]     # what is profiled: each kernel a few times

A machine whose counters cannot be read gives one row that says so.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch

from benchmarks.harness.device import Setting, parse, synchronize
from benchmarks.harness.rows import Record, Sink
from motive_kernels.ops import registry
from motive_kernels.ops.cases import Draw
from motive_kernels.runtime import dispatch

ROOT = Path(__file__).resolve().parents[2]
CASE = "counters"
METRICS = {
    "gpu__time_duration.sum": "ns",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dram_percent",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "sm_percent",
    "l1tex__throughput.avg.pct_of_peak_sustained_active": "l1_percent",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "warps_percent",
    "dram__bytes_read.sum": "bytes_read",
    "launch__registers_per_thread": "registers",
}
"""ncu's name -> ours."""

UNITS = {"nsecond": 1.0, "ns": 1.0, "usecond": 1e3, "us": 1e3, "msecond": 1e6, "ms": 1e6, "second": 1e9, "s": 1e9,
         "byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}  # fmt: skip


def own_kernels() -> list[str]:
    """Name of every CUDA and Triton kernel of ours; torch's are not profiled."""
    sources = [*(ROOT / "csrc" / "cuda").glob("*.cu*"), *(ROOT / "motive_kernels").rglob("triton.py")]
    return sorted({name for path in sources for name in re.findall(r"\b(\w+_kernel)\(", path.read_text())})


def launch(setting: Setting) -> None:
    """The large case of every op, twice."""
    draw = Draw(torch.bfloat16, setting.device, 32 if setting.rehearsal else 1)
    for name in registry.names():
        for case in registry.cases(name).large(draw):
            op = dispatch.OPS[case.op]
            run = op.choose(None, setting.device, torch.bfloat16 if torch.bfloat16 in op.dtypes else torch.int8)
            for _ in range(2):
                run(*case.arguments)
    synchronize(setting.device)


def parsed(text: str) -> list[Record]:
    """A row for each kernel from ncu's long CSV: the median over its launches."""
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        return []
    found: dict[str, dict[str, list[float]]] = {}
    shapes: dict[str, str] = {}
    for row in csv.DictReader(lines[start:]):
        name, value = METRICS.get(row.get("Metric Name") or ""), (row.get("Metric Value") or "").replace(",", "")
        kernel = (row.get("Kernel Name") or "").split("(")[0].removeprefix("void ").strip()
        if name is None or not kernel:
            continue
        try:
            number = float(value) * UNITS.get(row.get("Metric Unit") or "", 1.0)
        except ValueError:
            continue  # a counter that this card does not have
        found.setdefault(kernel, {}).setdefault(name, []).append(number)
        shapes[kernel] = f"{row.get('Grid Size', '')} x {row.get('Block Size', '')}"
    return [
        {"op": kernel, "impl": "ncu", "launch": shapes[kernel], **{name: median(v) for name, v in metrics.items()}}
        for kernel, metrics in sorted(found.items())
    ]


def profile(limit_s: float) -> Iterator[Record]:
    """The kernels' rows, or one that says why there are none."""
    command = ["ncu", "--csv", "--clock-control", "none"]
    command += [
        "--metrics",
        ",".join(METRICS),
        "--kernel-name",
        f"regex:^({'|'.join(own_kernels())})$",
        "--launch-count",
        "80",
    ]
    command += [sys.executable, "-m", "benchmarks.kernels.counters", "--launch"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit_s)
    except FileNotFoundError:
        yield {"op": "ncu", "impl": "ncu", "not_measured": "no ncu"}
        return
    except subprocess.TimeoutExpired:
        yield {"op": "ncu", "impl": "ncu", "not_measured": f"took longer than {limit_s:.0f} s", "partial": True}
        return
    rows = parsed(done.stdout)
    if rows:
        yield from rows
        return
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line or "rror" in line]
    yield {"op": "ncu", "impl": "ncu", "not_measured": (lines or ["no counters were read"])[-1][:200]}


def show(row: Record) -> None:
    if "not_measured" in row:
        print(f"ncu: {row['not_measured']}", flush=True)
        return
    percents = " ".join(
        f"{key.removesuffix('_percent')} {row[key]:.0f} %"
        for key in METRICS.values()
        if "percent" in key and key in row
    )
    print(f"{row['op'][:60]:60} {row.get('ns', 0) / 1e3:9.1f} us  {percents}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    def extend(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=120.0, help="that ncu may take")
        parser.add_argument("--launch", action="store_true", help="only launch the kernels")

    setting, options = parse(__doc__ or "", arguments, extend)
    if setting is None:
        return 0
    if options.launch or setting.rehearsal:
        launch(setting)
        print("every kernel was launched")
        return 0
    Sink(options.out, setting.common("counters"), show, options.again).take(CASE, profile(options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
