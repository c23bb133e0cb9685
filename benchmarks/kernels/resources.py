"""Registers, stack and shared memory of each compiled CUDA kernel, and the resident warps that they allow.

    python -m benchmarks.kernels.resources [--objects DIR] [--write FILE]

Reads the objects that csrc/build.py makes (libmotive_cuda.a), without a GPU. Shared memory that is asked for at launch
is not in an object, so the share of resident warps counts registers, threads and fixed shared memory alone.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.rows import table

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = "sm_90a"
REGISTERS, WARPS, BLOCKS, SHARED = 65536, 64, 32, 228 * 1024
"""Of one Hopper multiprocessor."""

RESERVED = 1024
"""Bytes of shared memory that the system takes for each block."""


@dataclass(frozen=True)
class Usage:
    """One kernel's.

    Attributes:
        kernel: its name.
        registers, stack, shared: a thread's registers, its bytes of stack, a block's bytes of shared memory.
        threads: the most of a block.
    """

    kernel: str
    registers: int
    stack: int
    shared: int
    threads: int

    @property
    def resident(self) -> float:
        """Share of a multiprocessor's warps that fit at once."""
        warps = -(-self.threads // 32)
        each = -(-self.registers * 32 // 256) * 256 * warps
        blocks = min(REGISTERS // max(each, 1), WARPS // warps, BLOCKS, SHARED // (self.shared + RESERVED))
        return blocks * warps / WARPS


def program() -> str:
    """cuobjdump, of the toolkit or of Triton's package.

    Raises:
        FileNotFoundError: there is none.
    """
    found = shutil.which("cuobjdump")
    spec = importlib.util.find_spec("triton")
    if found is None and spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        found = str(bundled) if bundled.exists() else None
    if found is None:
        raise FileNotFoundError("resources: cuobjdump is neither on PATH nor in triton's package; install one")
    return found


def usages(resources: str, elf: str) -> list[Usage]:
    """The kernels of one object from cuobjdump's --dump-resource-usage and --dump-elf."""
    threads: dict[str, int] = {}
    kernel = ""
    for line in elf.splitlines():
        if match := re.match(r"\.nv\.info\.(\S+)", line):
            kernel = match[1]
        elif match := re.search(r"Value:\s+0x([0-9a-f]+) 0x([0-9a-f]+) 0x([0-9a-f]+)", line):
            sides = [int(side, 16) for side in match.groups()]
            threads[kernel] = sides[0] * sides[1] * sides[2]
    found, name, here = [], "", False
    for line in resources.splitlines():
        if match := re.search(r"arch = (\S+)", line):
            here = match[1] == ARCHITECTURE
        elif match := re.search(r"Function (\S+):", line):
            name = match[1]
        elif here and (match := re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)", line)):
            registers, stack, shared = map(int, match.groups())
            found.append(Usage(name, registers, stack, shared, threads.get(name, 1024)))
    return found


def of_object(path: Path) -> list[Usage]:
    """The kernels of an object file."""

    def output(*arguments: str) -> str:
        return subprocess.run([program(), *arguments, str(path)], check=True, capture_output=True, text=True).stdout

    return usages(output("--dump-resource-usage"), output("--dump-elf", "--gpu-architecture", ARCHITECTURE))


def readable(names: list[str]) -> list[str]:
    """C++ names without what all share; as they are where c++filt is not there."""
    if shutil.which("c++filt") is None:
        return names
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    found = []
    for line in done.splitlines():
        short = re.sub(r"\(anonymous namespace\)::|_GLOBAL__N_\w+::|motive::cuda::|motive::", "", line)
        inner = short.find(">(") if "<" in short else -1
        found.append(
            short.removeprefix("void ").split("(")[0] if inner < 0 else short[: inner + 1].removeprefix("void ")
        )
    return found


def report(objects: Path) -> Iterator[str]:
    """Markdown, a table for each object."""
    yield f"# What the compiler gave each kernel ({ARCHITECTURE})\n"
    yield f"`python -m benchmarks.kernels.resources --write {'{file}'}` after `python csrc/build.py libmotive_cuda.a`.\n"
    for path in sorted(objects.glob("*.o")):
        found = of_object(path)
        names = readable([usage.kernel for usage in found])
        rows = sorted(
            (name, u.threads, u.registers, u.stack, u.shared, f"{100 * u.resident:.0f} %")
            for name, u in zip(names, found, strict=True)
        )
        if rows:
            header = ["kernel", "threads", "registers", "stack", "fixed shared, bytes", "resident warps"]
            yield f"## {path.stem}\n\n{table(header, ((f'`{name}`', *rest) for name, *rest in rows))}"


def built() -> Path:
    """Where csrc/build.py puts the objects."""
    sys.path.insert(0, str(ROOT / "csrc"))
    return importlib.import_module("build").build_dir() / "cuda"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=Path, help="folder of the objects; default: where the build puts them")
    parser.add_argument("--write", type=Path, help="file for the tables")
    options = parser.parse_args(arguments)
    try:
        text = "\n".join(report(options.objects or built()))
    except FileNotFoundError as error:
        print(f"not reported: {error}")
        return 0
    if options.write is None:
        print(text)
    else:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(text.replace("{file}", options.write.name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
