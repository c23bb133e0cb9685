"""Counts shared-memory bank conflicts of every kernel on the CPU.

    python csrc/cuda_on_cpu/banks.py [--write]

prints, or writes to bank_conflicts.tsv, a line for each place of the sources that reads or writes shared memory: how
many steps a device takes for a warp's access there over the fewest possible, over all cases of the driver.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import run

TABLE = run.HERE / "bank_conflicts.tsv"
HEADER = "source\tfunction\tbytes\taccess\tratio"


def count() -> dict[tuple[str, str, str, str], float]:
    """Steps over the fewest possible of every (file, function, bytes, read or write)."""
    program = run.build("banks")
    totals: dict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = {op: Path(folder) / f"{op}.tsv" for op in run.ops()}
        results = list(pool.map(lambda op: run.run(program, [op], {"MOTIVE_BANKS": str(paths[op])}), run.ops()))
        for op, result in zip(run.ops(), results, strict=True):
            if result.status:
                raise SystemExit(f"{op}: {result.meaning}\n{result.output}")
        rows = [line.split("\t") for path in paths.values() for line in path.read_text().splitlines()]
    places = _places(program, sorted({row[1] for row in rows}))
    for _, code, size, access, _, served, least in rows:
        entry = totals[(*places[code], size, access)]
        entry[0] += int(served)
        entry[1] += int(least)
    return {key: served / least for key, (served, least) in totals.items()}


def _places(program: Path, codes: list[str]) -> dict[str, tuple[str, str]]:
    """File and function of return addresses, from the program's debug information."""
    tool = shutil.which("addr2line")
    if tool is None:
        raise SystemExit("addr2line is needed (binutils)")
    before = [hex(int(code, 16) - 1) for code in codes]  # inside the call
    text = subprocess.run([tool, "-f", "-C", "-e", str(program), *before], capture_output=True, text=True, check=True)
    lines = text.stdout.splitlines()
    found = {}
    for code, function, place in zip(codes, lines[::2], lines[1::2], strict=True):
        plain = _without_templates(function).partition("(")[0].split()[-1].rpartition("::")[2]
        found[code] = Path(place.partition(":")[0]).name, plain
    return found


def _without_templates(name: str) -> str:
    """A function's name without what is between <> and without (anonymous namespace)."""
    depth, kept = 0, []
    for letter in name.replace("(anonymous namespace)", "anonymous"):
        depth += letter == "<"
        if depth == 0:
            kept.append(letter)
        depth -= letter == ">"
    return "".join(kept)


def committed() -> dict[tuple[str, str, str, str], float]:
    """The ratios of bank_conflicts.tsv."""
    rows = [line.split("\t") for line in TABLE.read_text().splitlines()[1:]]
    return {(source, function, size, access): float(ratio) for source, function, size, access, ratio in rows}


def table(ratios: dict[tuple[str, str, str, str], float]) -> str:
    """The text of bank_conflicts.tsv."""
    return "\n".join([HEADER, *("\t".join([*key, f"{ratio:.2f}"]) for key, ratio in sorted(ratios.items()))]) + "\n"


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    text = table(count())
    if parser.parse_args().write:
        TABLE.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
