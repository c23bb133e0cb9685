"""Rows of results: one JSON object a line, written as it comes, so that a run that is ended keeps what it had."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
FILE = "results.jsonl"
COMPLETE = "complete"
"""In a line of its own: a case was measured to its end."""


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
            self._write(found[-1])
            self._show(found[-1])
        if found and not any(row.get("partial") for row in found):
            self._write({**self._common, "case": case, COMPLETE: True})
        return found

    def _write(self, row: Record) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a", encoding="utf-8") as file:
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
