"""NVIDIA's compute-sanitizer over every CUDA kernel: memcheck, racecheck, synccheck, initcheck.

    python -m benchmarks.kernels.sanitize --seconds S [--out DIR] [--again] [--rehearse]

Each tool runs over the C++ example (without Python: quick) and then over benchmarks.kernels.gpu_small, in a fair part
of the time. A row a tool and program: clean, its errors, or what stopped it. --rehearse runs the programs that a CPU
can run, without the tool.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.harness.device import parse
from benchmarks.harness.rows import Record, Sink

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:error|hazard)")
NEW_ERRORS = 9
"""Exit code by which the tool says that it found something."""


def example() -> Path | None:
    """The C++ example for CUDA, built; None where there is no nvcc."""
    sys.path.insert(0, str(ROOT / "csrc"))
    native = importlib.import_module("build")
    nvcc = native.find_nvcc()
    if nvcc is None:
        return None
    native.run_ninja(["standalone_cuda"], nvcc)
    return native.build_dir() / "standalone_cuda"


def programs(rehearsal: bool) -> dict[str, list[str]]:
    """Name -> command of what is run."""
    small = [sys.executable, "-m", "benchmarks.kernels.gpu_small"]
    if rehearsal:
        return {"gpu_small": [*small, "--rehearse"]}
    built = example()
    found = {} if built is None else {"standalone_cuda": [str(built)]}
    return {**found, "gpu_small": small}


def verdict(code: int | None, output: str, limit_s: float) -> str:
    """One line on a run of a tool from its exit code (None: stopped) and what it printed."""
    found = SUMMARY.findall(output)
    if code is None:
        return f"stopped after {limit_s:.0f} s, {sum(map(int, found)) if found else 'nothing'} found until then"
    if found and any(map(int, found)):
        return f"{max(map(int, found))} errors"
    if code == 0:
        return "clean"
    last = [line for line in output.strip().splitlines() if line.strip()]
    return f"exit code {code}: {(last or ['no output'])[-1][:160]}"


def run(command: list[str], limit_s: float, environment: Mapping[str, str]) -> tuple[int | None, str]:
    """Exit code, or None if it was stopped, and all output."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        output = process.communicate(timeout=limit_s)[0]
        return process.returncode, output
    except subprocess.TimeoutExpired:
        process.kill()
        return None, process.communicate()[0]


def tool_rows(tool: str, limit_s: float, rehearsal: bool) -> Iterator[Record]:
    """A row for each program."""
    begin, chosen = time.monotonic(), programs(rehearsal)
    for number, (name, command) in enumerate(chosen.items()):
        part_s = max(1.0, (limit_s - (time.monotonic() - begin)) / (len(chosen) - number))
        prefix = [] if rehearsal else ["compute-sanitizer", "--tool", tool, "--error-exitcode", str(NEW_ERRORS)]
        start = time.monotonic()
        # Torch's own allocator hides what lies between two tensors.
        code, output = run([*prefix, *command], part_s, {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})
        print(output[-1500:], flush=True)
        yield {"op": tool, "impl": name, "verdict": verdict(code, output, part_s),
               "seconds": round(time.monotonic() - start, 1), **({"partial": True} if code is None else {})}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    def extend(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=300.0, help="for all tools together")

    setting, options = parse(__doc__ or "", arguments, extend)
    if setting is None:
        return 0
    if not setting.rehearsal and shutil.which("compute-sanitizer") is None:
        print("not run: no compute-sanitizer")
        return 0
    sink = Sink(
        options.out,
        setting.common("sanitizer"),
        lambda row: print(f"{row['op']:10} {row['impl']:16} {row['verdict']} ({row['seconds']} s)", flush=True),
        options.again,
    )
    begin, found = time.monotonic(), []
    tools = TOOLS[:1] if setting.rehearsal else TOOLS
    for number, tool in enumerate(tools):
        limit_s = (options.seconds - (time.monotonic() - begin)) / (len(tools) - number)
        found += sink.take(f"sanitizer/{tool}", tool_rows(tool, limit_s, setting.rehearsal))
    return 1 if any(row["verdict"] != "clean" for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
