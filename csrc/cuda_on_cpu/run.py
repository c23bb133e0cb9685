"""Runs every CUDA kernel on the CPU and checks its numbers.

    python csrc/cuda_on_cpu/run.py [--program threads|addresses] [op ...]

``threads`` is under ThreadSanitizer, ``addresses`` under AddressSanitizer and with the threads of each block in the
other order. The exit status is 1 if an op had a race, a wrong number or a step outside memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
MEANINGS = {1: "a wrong number", 2: "an error", 3: "a device would hang", 66: "a race"}
ENVIRONMENT = {"TSAN_OPTIONS": "atexit_sleep_ms=0:history_size=2", "ASAN_OPTIONS": "detect_stack_use_after_return=0"}


def ops() -> list[str]:
    """Every op with a driver, by name."""
    return sorted(path.stem.removeprefix("drive_") for path in HERE.glob("drive_*.cpp"))


def native_build() -> ModuleType:
    """csrc/build.py, which is a program and no package."""
    name = "motive_native_build"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE.parent / "build.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # its dataclasses look themselves up
        spec.loader.exec_module(module)
    return sys.modules[name]


def build(program: str, which: str = "drive") -> Path:
    """Build a program (threads, addresses or banks) if a source has changed; its path."""
    native = native_build()
    target = f"cuda_on_cpu/{program}/{which}"
    native.run_ninja([target], None)
    return native.build_dir() / target


@dataclass(frozen=True)
class Result:
    """What became of a run: exit status, results as a number, and all output."""

    status: int
    digest: str
    output: str

    @property
    def meaning(self) -> str:
        """The exit status in words."""
        return "right" if self.status == 0 else MEANINGS.get(self.status, f"exit status {self.status}")


def run(path: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Result:
    """Run a program at addresses that are not random, which ThreadSanitizer needs on some kernels."""
    setarch = shutil.which("setarch")
    fixed = [setarch, platform.machine(), "-R"] if setarch and _may_fix_addresses(setarch) else []
    done = subprocess.run(
        [*fixed, str(path), *arguments],
        env={**os.environ, **ENVIRONMENT, **(environment or {})},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    found = re.search(r"results (\w+)", done.stdout)
    return Result(done.returncode, found[1] if found else "", done.stdout + done.stderr)


def _may_fix_addresses(setarch: str) -> bool:
    """Some containers forbid it; where they do, addresses are as the kernel likes."""
    return subprocess.run([setarch, platform.machine(), "-R", "true"], capture_output=True, check=False).returncode == 0


def run_ops(program: str, names: Sequence[str]) -> dict[str, Result]:
    """Run ops one process each, as many at a time as there are cores, and print each result."""
    path = build(program)
    order = ["--descending"] if program == "addresses" else []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = {name: pool.submit(run, path, [*order, name]) for name in names}
        results = {}
        for name, future in futures.items():
            result = results[name] = future.result()
            print(result.output.rstrip() if result.status == 0 else f"{name}: {result.meaning}\n{result.output}")
    return results


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--program", choices=("threads", "addresses"), default="threads")
    parser.add_argument("ops", nargs="*", choices=[*ops(), []], help="all if none is named")
    arguments = parser.parse_args()
    results = run_ops(arguments.program, arguments.ops or ops())
    return int(any(result.status for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
