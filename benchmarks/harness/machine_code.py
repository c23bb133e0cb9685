"""Instruction counts of the CUDA kernels' loops, read from the machine code that the build made.

    python -m benchmarks.harness.machine_code [--objects DIR] [--write]

prints the counts that predictions.py computes with; `--write` keeps them in benchmarks/results/compiled/counts.json.
Every instruction of a loop is counted, also those of branches that are seldom taken, so a count is an upper bound of
what a warp issues. Needs cuobjdump, no GPU.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.kernels import resources

COUNTS = resources.ROOT / "benchmarks" / "results" / "compiled" / "counts.json"
ARCHITECTURES = ("sm_90a", "sm_80")
WIDE_LOAD = r"LDG\.E\S*\.128"
BARRIER = r"BAR\.SYNC"
BRANCH = re.compile(r"\bBRA\b.*?\b0x([0-9a-f]+)\b")

Counts = Mapping[str, Mapping[str, int]]
"""Kernel -> part of it -> instructions."""


@dataclass(frozen=True)
class Code:
    """Instructions of a kernel, or of a loop of it: (address, text), in order."""

    lines: tuple[tuple[int, str], ...]

    def __len__(self) -> int:
        return len(self.lines)

    def count(self, pattern: str) -> int:
        """Instructions that match."""
        return sum(bool(re.search(pattern, text)) for _, text in self.lines)

    def loops(self) -> list[Code]:
        """From the target of every backward branch to the branch, the largest first."""
        found = []
        for address, text in self.lines:
            target = BRANCH.search(text)
            if target and int(target[1], 16) < address:
                found.append(self.between(int(target[1], 16), address))
        return sorted(found, key=len, reverse=True)

    def between(self, first: int, last: int) -> Code:
        """Instructions of a range of addresses, both ends included."""
        return Code(tuple(line for line in self.lines if first <= line[0] <= last))

    def without(self, *parts: Code) -> Code:
        """Instructions that lie in none of the parts."""
        gone = {address for part in parts for address, _ in part.lines}
        return Code(tuple(line for line in self.lines if line[0] not in gone))

    def loop(self, pattern: str, times: int = 1, inner: bool = False) -> Code:
        """The largest loop with at least that many matches, or the smallest.

        Raises:
            ValueError: there is none.
        """
        found = [loop for loop in self.loops() if loop.count(pattern) >= times]
        if not found:
            raise ValueError(f"machine_code: no loop with {times} of {pattern}; the kernel has changed")
        return found[-1 if inner else 0]

    def phase(self, number: int) -> Code:
        """What lies between barriers `number` and `number` + 1 of this code."""
        barriers = [address for address, text in self.lines if re.search(BARRIER, text)]
        return self.between(barriers[number], barriers[number + 1])

    def skipped(self) -> Code:
        """The largest part that a forward branch leaves out."""
        spans = []
        for address, text in self.lines:
            target = BRANCH.search(text)
            if target and address < int(target[1], 16) <= self.lines[-1][0]:
                spans.append(self.between(address + 1, int(target[1], 16) - 1))
        return max(spans, key=len)


def _flat(code: Code) -> dict[str, int]:
    """Materialized route: `item`, `gather` of every item; `fill` of a column group, `rows` of two row runs; `few` rows."""
    item = code.loop(BARRIER, 2)
    rows = item.loop(WIDE_LOAD, 8, inner=True)
    fills = [loop for loop in item.loops() if loop.count("LDG") and len(loop) < len(item)]
    around = next(loop for loop in fills if loop.lines[0] < rows.lines[0] and loop.lines[-1] > rows.lines[-1])
    gather = item.phase(0)
    rest = item.without(*fills, gather)
    entries = rest.between(item.lines[0][0], min(fill.lines[0][0] for fill in fills)).skipped()
    return {
        "item": len(rest) - len(entries),
        "gather": len(gather),
        "fill": len(around) - len(rows),
        "rows": len(rows),
        "few": len(next(loop for loop in reversed(fills) if loop.count(WIDE_LOAD) == 4)),
    }


def _token(code: Code) -> dict[str, int]:
    """Factorized route: of a step, of each of its sides, of each chunk of columns, and of its fill and gather loops."""
    step = code.loop(BARRIER, 6)
    side = next(loop for loop in step.loops() if len(loop) < len(step) and loop.count(BARRIER) == 2)
    chunk = next(loop for loop in side.loops() if len(loop) < len(side) and loop.count(BARRIER) == 2)
    fill, gather = chunk.loop(WIDE_LOAD, inner=True), chunk.loop(r"LDS\S*\.128", inner=True)
    scalar = [loop for loop in chunk.loops() if loop.count("LDG") and loop not in (chunk, fill, gather)]
    return {
        "step": len(step) - len(side),
        "side": len(side) - len(chunk),
        "chunk": len(chunk.without(fill, gather, *scalar)),
        "fill": len(fill),
        "gather": len(gather),
    }


def _dense(code: Code) -> dict[str, int]:
    """Dense projection: of 128 columns, of a load of the staged values, and of all loops over the 128."""
    stage = code.loop(BARRIER, 2)
    loads = stage.loop("LDG", inner=True)
    inner = [loop for loop in stage.loops() if loop.count("LDS") and len(loop) < len(stage)]
    return {"stage": len(stage.without(loads, *inner)), "load": len(loads), "columns": sum(map(len, inner))}


def _elements(loop: bool) -> Callable[[Code], dict[str, int]]:
    """A kernel of one pass: its loop over wide loads, or all of it."""

    def parts(code: Code) -> dict[str, int]:
        body = code.loop(WIDE_LOAD, 4) if loop else code
        return {"pass": len(body), "loads": body.count(WIDE_LOAD)}

    return parts


def _fastfood(code: Code) -> dict[str, int]:
    """Fastfood: of a tile, of 8 values in a radix-8 pass, of a value loaded, and of four factors."""
    tile = code.loop(BARRIER, 4)
    passes = [loop for loop in tile.loops() if loop.count("LDS") >= 8 and loop.count("STS") >= 8]
    factors = tile.loop(r"STG", 4, inner=True)
    load = tile.loop(r"LDG", inner=True)
    radix8 = next(loop for loop in reversed(passes) if loop.count("FADD|FFMA") == 24)
    return {"load": len(load), "radix 8": len(radix8), "factors": len(factors)}


KERNELS: Mapping[str, tuple[str, str, Callable[[Code], dict[str, int]]]] = {
    "flat": ("tensor_sketch", "sketch_kernelINS_8bfloat16ELi2E", _flat),
    "token": ("outer_sketch_bfloat16", "outer_kernelINS_8bfloat16ELi9E", _token),
    "rademacher": ("dense_projection", "dense_kernelINS_8bfloat16ELNS_12DistributionE0E", _dense),
    "weighted_loss": ("weighted_loss", "residual_kernelINS_8bfloat16ELi8E", _elements(True)),
    "noise_latents": ("noise_latents", "mix_kernelINS_8bfloat16ELi8E", _elements(False)),
    "motion_weights": ("motion_weights", "resize_kernelINS_8bfloat16ELi8E", _elements(True)),
    "fastfood": ("fastfood", "tile_kernelINS_8bfloat16E", _fastfood),
}
"""Name -> object, part of the mangled name, how its counts are read."""


@functools.cache
def disassembly(path: Path, architecture: str) -> str:
    """Machine code of an object file, as text.

    Raises:
        FileNotFoundError: cuobjdump is missing.
    """
    command = [resources.program(), "--dump-sass", "--gpu-architecture", architecture, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def kernels(text: str) -> dict[str, Code]:
    """Mangled name -> code of every kernel of a disassembly."""
    found = {}
    for part in re.split(r"\n\s*Function : ", text)[1:]:
        lines = re.findall(r"/\*([0-9a-f]{4,})\*/\s+([^;]*?)\s*;", part)
        found[part.partition("\n")[0].strip()] = Code(tuple((int(address, 16), code) for address, code in lines))
    return found


def counts(objects: Path, architecture: str) -> dict[str, dict[str, int]]:
    """The counts of every kernel of KERNELS.

    Raises:
        FileNotFoundError: cuobjdump is missing.
        ValueError: a kernel no longer has the loops that its counts are read from.
    """
    found = {}
    for name, (source, part, read) in KERNELS.items():
        codes = [c for key, c in kernels(disassembly(objects / f"{source}.o", architecture)).items() if part in key]
        if len(codes) != 1:
            raise ValueError(f"machine_code: {len(codes)} kernels are named {part}; the kernel has changed")
        found[name] = read(codes[0])
    return found


def committed(architecture: str = "sm_90a") -> Counts:
    """The counts of counts.json."""
    return json.loads(COUNTS.read_text(encoding="utf-8"))[architecture]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=Path, help="folder of the objects; default: where the build puts them")
    parser.add_argument("--write", action="store_true", help=f"write {COUNTS.name}")
    options = parser.parse_args(arguments)
    folder = options.objects or resources.built()
    text = json.dumps({name: counts(folder, name) for name in ARCHITECTURES}, indent=1) + "\n"
    if options.write:
        COUNTS.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
