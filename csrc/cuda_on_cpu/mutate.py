"""Removes each barrier and wait of the CUDA kernels in turn: the programs of csrc/cuda_on_cpu must notice.

    python csrc/cuda_on_cpu/mutate.py [--write] [--only FILE]

For every __syncthreads, __syncwarp, __pipeline_wait_prior and mbarrier wait the file is copied without it, what includes
it is compiled again, and the ops that it belongs to run under ThreadSanitizer, then, if that says nothing, under
AddressSanitizer. The exit status is 1 if a removal goes unnoticed and EXCEPTIONS does not say why it may, or if an
exception is noticed after all. `--write` keeps the table in mutations.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import run

SOURCES = run.HERE.parent / "cuda"
WAITS = re.compile(r"^\s*(__syncthreads|__syncwarp|__pipeline_wait_prior|wait_for_phase)\b[^;]*;", re.MULTILINE)
FUNCTION = re.compile(
    r"^(?:static |inline )*(?:__global__|__device__) [^{};]*?\b(?!__)([a-z]\w*)\((?=\w[\w:]*[ *&])", re.MULTILINE
)
PROGRAMS = ("threads", "addresses")
TABLE = run.HERE / "mutations.md"

EXCEPTIONS = {
    ("fastfood.cu", "tile_kernel 2"): "the barrier after make_signs lies between add_tile's reads and the next tile's "
    "writes, and signs were last read two barriers before",
    (
        "outer_sketch.cuh",
        "outer_kernel 1",
    ): "what it guards is first read after the barriers of the first chunk; a layer without columns is not launched",
}
"""(file, the function it is in, with a number if there are several) -> why its removal changes nothing."""


@dataclass(frozen=True)
class Mutation:
    """One wait: its file, line, and the function that it is in with its number there."""

    path: Path
    line: int
    place: str
    start: int
    end: int

    def text(self) -> str:
        """The file without the wait, with the same lines."""
        whole = self.path.read_text()
        return whole[: self.start] + re.sub(r"[^\n]", " ", whole[self.start : self.end]) + whole[self.end :]


def mutations() -> Iterator[Mutation]:
    """Every wait of every CUDA source, in order."""
    for path in sorted([*SOURCES.glob("*.cu"), *SOURCES.glob("*.cuh"), *SOURCES.glob("*.h")]):
        text, seen = path.read_text(), dict[str, int]()
        for found in WAITS.finditer(text):
            function = FUNCTION.findall(text[: found.start()])[-1]
            seen[function] = seen.get(function, 0) + 1
            start = found.start(1)
            yield Mutation(path, text.count("\n", 0, start) + 1, f"{function} {seen[function]}", start, found.end())


def units(path: Path) -> list[Path]:
    """The .cu files that a file is compiled in."""
    if path.suffix == ".cu":
        return [path]
    return sorted({unit for user in _users(path) for unit in units(user)})


def _users(path: Path) -> list[Path]:
    return [other for other in SOURCES.iterdir() if other.is_file() and f'#include "{path.name}"' in other.read_text()]


def ops_of(path: Path) -> list[str]:
    """The ops whose launchers are in these units: outer_sketch_float32.cu belongs to outer_sketch."""
    return sorted({op for unit in units(path) for op in run.ops() if unit.stem.startswith(op)})


def compile_without(mutation: Mutation, program: str, folder: Path) -> Path:
    """The driver with one wait less."""
    native = run.native_build()
    sources = folder / "cuda"
    shutil.copytree(SOURCES, sources, dirs_exist_ok=True)
    (sources / mutation.path.name).write_text(mutation.text())
    built = native.build_dir() / "cuda_on_cpu" / program
    objects = {path.stem: path for path in (built / "kernels").glob("*.o")}
    compiler = os.environ.get("CXX") or "c++"
    include = [run.HERE / "include", run.HERE, run.HERE.parent / "include", sources]
    for unit in units(mutation.path):
        target = folder / program / "kernels" / f"{unit.stem}.o"
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = [*native.ON_CPU_FLAGS, *native.ON_CPU_PROGRAMS[program], *(f"-I{path}" for path in include)]
        _call([compiler, "-x", "c++", *flags, "-c", str(sources / unit.name), "-o", str(target)])
        objects[unit.stem] = target
    others = [
        *(built.parent / "driver").glob("*.o"),
        *(built / "machine").glob("*.o"),
        native.build_dir() / "libmotive.a",
    ]
    target = folder / program / "drive"
    sanitize = [flag for flag in native.ON_CPU_PROGRAMS[program] if "sanitize" in flag]
    link = [*sanitize, "-no-pie", "-pthread", f"-Wl,-T,{run.HERE / 'shared_memory.ld'}", "-o", str(target)]
    _call([compiler, *map(str, [*objects.values(), *others]), *link])
    return target


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")


def verdict(mutation: Mutation) -> str:
    """How the removal was noticed; empty if it was not."""
    with tempfile.TemporaryDirectory() as temporary:
        for program in PROGRAMS:
            path = compile_without(mutation, program, Path(temporary))
            order = ["--descending"] if program == "addresses" else []
            for op in ops_of(mutation.path):
                result = run.run(path, [*order, "--stop", op], {"TSAN_OPTIONS": "atexit_sleep_ms=0:halt_on_error=1"})
                if result.status:
                    return f"{result.meaning} ({op}, {program})"
    return ""


def report(rows: list[tuple[Mutation, str]]) -> str:
    """The table of mutations.md."""
    noticed = sum(bool(found) for _, found in rows)
    lines = [
        "# Waits removed one at a time",
        "",
        f"`make cuda-mutations` on {datetime.date.today()}, {platform.machine()}, {_compiler()}: {noticed} of "
        f"{len(rows)} removals noticed, {len(rows) - noticed} excepted.",
        "",
        "| file | wait in | noticed by |",
        "|---|---|---|",
    ]
    for mutation, found in rows:
        reason = found or f"nothing: {EXCEPTIONS[mutation.path.name, mutation.place]}"
        lines.append(f"| {mutation.path.name} | {mutation.place} | {reason} |")
    return "\n".join(lines) + "\n"


def _compiler() -> str:
    done = subprocess.run([os.environ.get("CXX") or "c++", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.partition("\n")[0]


def main() -> int:
    """Remove, compile and run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    parser.add_argument("--only", help="a file name")
    arguments = parser.parse_args()
    for program in PROGRAMS:
        run.build(program)
    chosen = [m for m in mutations() if arguments.only in (None, m.path.name)]
    rows, wrong = [], 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutation, found in zip(chosen, pool.map(verdict, chosen), strict=True):
            excepted = (mutation.path.name, mutation.place) in EXCEPTIONS
            wrong += bool(found) == excepted
            print(f"{mutation.path.name}:{mutation.line} {mutation.place}: {found or 'nothing'}", flush=True)
            rows.append((mutation, found))
    if arguments.write and not wrong:
        TABLE.write_text(report(rows))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
