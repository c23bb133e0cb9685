"""Rows of results: one JSON object a line, a case at a time, so that a run that is ended keeps what it had."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
FILE = "results.jsonl"


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
        """Whether the case's rows are there, of the same device and code, and none of them ``partial``."""
        if self._path is None or self._again:
            return False
        same = {key: self._common.get(key) for key in ("device", "commit", "rehearsal")}
        found = [
            row
            for row in read_rows(self._path)
            if row.get("case") == case and all(row.get(key) == value for key, value in same.items())
        ]
        last = latest(found).get(case, [])
        return bool(last) and not any(row.get("partial") for row in last)

    def take(self, case: str, rows: Iterable[Record]) -> list[Record]:
        """Run a case that is not done: show its rows one by one, and write them together when all are there."""
        if self.done(case):
            print(f"{case}: measured before", flush=True)
            return []
        found = []
        for row in rows:
            found.append({**self._common, **row, "case": case})
            self._show(found[-1])
        if self._path is not None and found:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "a", encoding="utf-8") as file:
                file.write("".join(json.dumps(row) + "\n" for row in found))
        return found


def read_rows(*paths: Path) -> Iterator[Record]:
    """The rows of files that may be absent; a last line that was cut off is left out."""
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


def latest(rows: Iterable[Record]) -> dict[str, list[Record]]:
    """Case -> the rows of its last run; rows that are alike but for their figures replace each other."""
    cases: dict[str, dict[str, Record]] = {}
    for row in rows:
        if "case" in row:
            own = json.dumps([row.get(key) for key in ("op", "impl", "dtype", "shape", "stage")], default=str)
            cases.setdefault(row["case"], {})[own] = row
    return {case: list(found.values()) for case, found in cases.items()}


def find(cases: dict[str, list[Record]], case: str, **wanted: Any) -> Record | None:
    """The last row of a case with these values."""
    for row in reversed(cases.get(case, [])):
        if all(row.get(key) == value for key, value in wanted.items()):
            return row
    return None


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
