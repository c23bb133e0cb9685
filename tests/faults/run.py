"""Every fault that the store, the run and the decoders must survive, made on purpose and counted.

python -m tests.faults.run --out DIR [--quick] [--sections kills,damage,...]

Each section stops with an error where a promise does not hold, so a table that is printed holds throughout.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from motive.config import to_json
from motive.versions import git_commit, versions
from tests.faults.rows import Row

Section = Callable[[bool, Path], list[Row]]

SECTIONS = (
    "kills",
    "workers",
    "real",
    "ray",
    "disks",
    "damage",
    "objects",
    "fuzz",
    "guided",
    "media",
    "soak",
    "cost",
    "scale",
)


def kills(quick: bool, folder: Path) -> list[Row]:
    """kill -9 of process groups."""
    from tests.faults import kills as section

    here = section.synthetic(6 if quick else 130, 0, folder)
    return [here, section.synthetic(3 if quick else 70, 2, folder)]


def workers(quick: bool, folder: Path) -> list[Row]:
    """kill -9 of single workers."""
    from tests.faults import kills as section

    return [section.workers(4 if quick else 40, folder)]


def real(quick: bool, folder: Path) -> list[Row]:
    """kill -9 of the command line with the built-in model."""
    from tests.faults import kills as section

    return [] if quick else section.real(20, folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder whose faults.jsonl the rows are added to")
    parser.add_argument("--quick", action="store_true", help="a few minutes: a few of each, and none that need more")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="comma-separated, of " + ", ".join(SECTIONS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.sections.split(","):
        began = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix=f"motive-faults-{name}-"))
        try:
            found = _section(name)(options.quick, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        seconds = round(time.monotonic() - began, 1)
        for row in found:
            print(f"| {row.fault} | {row.count:,} | {row.held} | {row.note} |", flush=True)
        _record(options.out / "faults.jsonl", name, options.quick, seconds, found)
    return 0


def _section(name: str) -> Section:
    if name in globals() and name in SECTIONS:
        return globals()[name]
    return importlib.import_module(f"tests.faults.{'cluster' if name == 'ray' else name}").run


def _record(path: Path, section: str, quick: bool, seconds: float, rows: list[Row]) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with path.open("a", encoding="utf-8") as file:
        for row in rows:
            line = {
                "suite": "faults",
                "op": section,
                "impl": "motive",
                "device": "cpu",
                "quick": quick,
                "seconds": seconds,
                **to_json(row),
                "time": stamp,
                "commit": git_commit(),
                "versions": versions(),
            }
            file.write(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
