"""Rows of results: one JSON object a line with one schema, written at once, so that a stopped run keeps its rows.

Every row has the fields of REQUIRED. The fields of TYPED mean the same in every benchmark; a benchmark may add further
ones in lower case, with their unit in the name. `ratio` is our figure divided by the baseline's, measured in the same
run: below 1 is faster, or smaller, than the baseline.
"""

from __future__ import annotations

import json
import math
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
FILE = "results.jsonl"
COMPLETE = "complete"
"""Printed on a separate line once a case is measured to its end."""

SUITES = (
    "capture",
    "ceilings",
    "counters",
    "faults",
    "kernels",
    "peers",
    "pipeline",
    "quality",
    "sanitizer",
    "scoring",
)

ROUTES = ("materialized", "factorized", "auto", None)
"""auto: chosen for each parameter; None: the op has no routes."""

_NUMBER = (int, float)
_OPTIONAL_NUMBER = (int, float, type(None))
REQUIRED: dict[str, tuple[type, ...]] = {
    "suite": (str,),  # one of SUITES
    "op": (str,),  # what was measured
    "impl": (str,),  # by which implementation or method
    "device": (str,),  # with its number of threads on a CPU
    "commit": (str, type(None)),  # None outside a repository
    "versions": (dict,),  # package -> version
}
TYPED: dict[str, tuple[type, ...]] = {
    "dtype": (str,),
    "shape": (list, tuple),  # integers
    "route": (str, type(None)),  # one of ROUTES
    "bytes": _OPTIONAL_NUMBER,  # least memory traffic, or the size for rows about memory
    "flops": _OPTIONAL_NUMBER,  # least arithmetic
    "ms_median": _NUMBER,
    "ms_min": _NUMBER,
    "ms_max": _NUMBER,
    "fraction_of_ceiling": _OPTIONAL_NUMBER,  # of the memory or arithmetic rate of this machine
    "baseline": (str,),  # the implementation that ratio compares with
    "ratio": _OPTIONAL_NUMBER,  # ours / baseline
    "not_measured": (str,),  # why a row has no figure
    "seconds": _NUMBER,  # of the whole case
    "partial": (bool,),  # the case is open
    "rehearsal": (bool,),  # without a GPU: the figures mean nothing
    "case": (str,),  # what a Sink takes as one
}


class Sink:
    """Takes the rows of a benchmark, case by case.

    Args:
        out: folder of results.jsonl; None keeps nothing.
        common: what every row has.
        show: called with each row.
        again: run cases too whose rows are there.
    """

    def __init__(
        self, out: Path | None, common: Record, show: Callable[[Record], None] | None = None, again: bool = False
    ) -> None:
        self._path = None if out is None else out / FILE
        self._common = common
        self._show = show or (lambda row: None)
        self._again = again

    def done(self, case: str) -> bool:
        """Whether the case was measured to its end, on the same device and by the same code."""
        if self._path is None or self._again:
            return False
        same = {key: self._common.get(key) for key in ("device", "commit", "rehearsal")}
        return any(
            row.get("case") == case and row.get(COMPLETE) and all(row.get(key) == same[key] for key in same)
            for row in read_lines(self._path)
        )

    def take(self, case: str, rows: Iterable[Record]) -> list[Record]:
        """Run a case that is not done: show its rows, write each as it comes, and then that the case is complete.

        Rows that are ``partial`` leave the case open.
        """
        if self.done(case):
            print(f"{case}: measured before", flush=True)
            return []
        found = []
        for row in rows:
            found.append({**self._common, **row, "case": case})
            check(found[-1])
            self._write(found[-1])
            self._show(found[-1])
        if found and not any(row.get("partial") for row in found):
            self._write({**self._common, "case": case, COMPLETE: True})
        return found

    def _write(self, row: Record) -> None:
        if self._path is not None:
            _write(self._path, row)


def check(row: Record) -> None:
    """Hold a row against the schema.

    Raises:
        ValueError: it does not fit; the message names the field.
    """
    where = f"row {row.get('suite')}/{row.get('op')}/{row.get('impl')}"
    for name in REQUIRED:
        if name not in row:
            raise ValueError(f"{where}: {name} is missing; every row has {', '.join(REQUIRED)}")
    for name, value in row.items():
        types = {**REQUIRED, **TYPED}.get(name, (int, float, str, bool, dict, list, type(None)))
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            expected = " or ".join(kind.__name__ for kind in types)
            raise ValueError(f"{where}: {name} must be {expected}, got {value!r}; see benchmarks rows.TYPED")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{where}: a field's name must be in lower case with underscores, got {name!r}; rename it")
    if row["suite"] not in SUITES:
        raise ValueError(f"{where}: suite must be one of {', '.join(SUITES)}, got {row['suite']!r}; add it to SUITES")
    if row.get("route") not in ROUTES:
        known = ", ".join(map(str, ROUTES))
        raise ValueError(f"{where}: route must be one of {known}, got {row['route']!r}; rename it")
    if not all(isinstance(size, int) for size in row.get("shape", ())):
        raise ValueError(f"{where}: shape must hold integers, got {row['shape']}; convert them")
    _check_figures(where, row)


def _check_figures(where: str, row: Record) -> None:
    names = ("ms_min", "ms_median", "ms_max")
    times = [row[name] for name in names if name in row]
    if times and (len(times) < len(names) or times != sorted(times)):
        raise ValueError(f"{where}: ms_min <= ms_median <= ms_max must all be given, got {times}; give the three")
    if "ratio" in row and "baseline" not in row:
        raise ValueError(f"{where}: ratio must come with its baseline; name the implementation it is compared with")
    if row.get("ratio") is not None and not 0 < row["ratio"] < math.inf:
        raise ValueError(f"{where}: ratio must be positive and finite, got {row['ratio']}; it is ours / baseline")


def append(out: Path | None, row: Record) -> None:
    """Add a row to results.jsonl of a folder, which is made if it is missing; None keeps nothing.

    Raises:
        ValueError: the row does not fit the schema.
    """
    check(row)
    if out is not None:
        _write(out / FILE, row)


def _write(path: Path, row: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_lines(*paths: Path) -> Iterator[Record]:
    """The lines of files that may be absent; one that was cut off is left out."""
    for path in paths:
        if not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def read_rows(*paths: Path) -> Iterator[Record]:
    """The rows of files that may be absent, without the notes that a case is complete."""
    return (row for row in read_lines(*paths) if COMPLETE not in row)


def commit() -> str | None:
    """Of the working tree, with a mark where it was changed; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude", "*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None


def common(suite: str, device: str, rehearsal: bool = False) -> Record:
    """What all rows of a run share."""
    import torch

    row: Record = {
        "suite": suite,
        "device": device,
        "commit": commit(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
        },
    }
    return {**row, "rehearsal": True} if rehearsal else row


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
