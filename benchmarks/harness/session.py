"""Sections of one unattended run: each a process with a limit, what they found written as it goes, and taken up again.

A run has a budget. A section may take at most its share of it, and what is left; one that would take longer is stopped
and recorded, and the rows that it has written stay. A later run into the same folder does what the earlier ones lack.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from motive.publish import published

ROOT = Path(__file__).resolve().parents[2]
SECONDS = "{seconds}"
"""In a command: the seconds that the section may take."""

SHOWN = 3500
"""Characters of a section's output that are printed, from its end."""

GRACE_S = 3.0
"""Between asking a process to end and ending it."""

DONE, LEFT_OUT = "done", "left out"


@dataclass(frozen=True)
class Section:
    """One command.

    Attributes:
        name: of the section.
        command: to run in the repository; SECONDS in it is replaced.
        share: of a run's budget that it may take.
        least_s: it does not start with less time than this.
        needs: programs that it cannot do without.
        always: it runs in every run, since what it makes does not outlast the machine.
        required: the run ends if it fails.
        gate: where it fails, sections after it are left out.
        environment: variables added for it.
    """

    name: str
    command: Sequence[str]
    share: float = 1.0
    least_s: float = 10.0
    needs: tuple[str, ...] = ()
    always: bool = False
    required: bool = False
    gate: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"Section: share must be in (0, 1], got {self.share}; it is a part of the budget")
        if self.least_s < 0:
            raise ValueError(f"Section: least_s must not be negative, got {self.least_s}; give seconds")

    def limit_s(self, budget_s: float | None, left_s: float | None) -> float | None:
        """Seconds that it may take of a budget with so much left; None without a budget, 0 if it is not to begin."""
        if budget_s is None or left_s is None:
            return None
        limit = min(self.share * budget_s, left_s)
        # A share may be less than what the section needs at least, in a short run; it may then have that.
        limit = min(max(limit, self.least_s), left_s)
        return limit if limit >= self.least_s else 0.0


@dataclass(frozen=True)
class Options:
    """How a session goes about its sections.

    Attributes:
        out: folder of the log, the state and the results.
        budget_s: seconds for all sections together, or None: no limit, and nothing is taken up from an earlier run.
        redo: names of sections to run again though they are done.
        past_red: continue where a gate has failed.
    """

    out: Path
    budget_s: float | None = None
    redo: frozenset[str] = frozenset()
    past_red: bool = False


class Session:
    """Runs sections one after the other and keeps in ``session.json`` what became of each."""

    def __init__(self, options: Options) -> None:
        self.options = options
        options.out.mkdir(parents=True, exist_ok=True)
        self.log = options.out / "session.log"
        self._path = options.out / "session.json"
        self.state: dict[str, dict[str, Any]] = {} if options.budget_s is None else read_state(self._path)
        self._begin = time.monotonic()

    def left_s(self) -> float | None:
        """Seconds of the budget that are left."""
        budget = self.options.budget_s
        return None if budget is None else budget - (time.monotonic() - self._begin)

    def run(self, plan: Sequence[Section]) -> bool:
        """Every section that is not done yet, within the budget; True if none failed."""
        red = None
        with ended_by_signals():
            for section in plan:
                if red is not None and not self.options.past_red:
                    self._note(section, {"status": f"{LEFT_OUT}: {red} is red"})
                    continue
                before = self.state.get(section.name, {})
                if before.get("status") == DONE and not section.always and section.name not in self.options.redo:
                    self._say(section.name, "done before")
                    continue
                self._note(section, self._run(section))
                status = self.state[section.name]["status"]
                if status == DONE or status.startswith(LEFT_OUT):
                    continue
                if section.required:
                    break
                if section.gate:
                    red = section.name
        ours = [self.state[section.name]["status"] for section in plan if section.name in self.state]
        return all(status == DONE or status.startswith(LEFT_OUT) for status in ours)

    def lacking(self, plan: Sequence[Section]) -> list[str]:
        """Names of the sections that another run would take up."""
        return [section.name for section in plan if self.state.get(section.name, {}).get("status") != DONE]

    def _run(self, section: Section) -> dict[str, Any]:
        missing = [program for program in section.needs if shutil.which(program) is None]
        if missing:
            return {"status": f"{LEFT_OUT}: no {', '.join(missing)}"}
        left = self.left_s()
        limit = section.limit_s(self.options.budget_s, left)
        if limit == 0.0:
            return {"status": f"{LEFT_OUT}: {max(0.0, left or 0.0):.0f} s of the budget left"}
        # Seen by whoever looks into the folder after this process has been ended.
        self._keep(section.name, {"status": "began and was not finished"})
        begin = time.monotonic()
        size = self.log.stat().st_size if self.log.exists() else 0
        code = self._process(section, limit)
        result = {"status": _status(code, limit), "seconds": round(time.monotonic() - begin, 1)}
        print(self.log.read_bytes()[size:].decode(errors="replace")[-SHOWN:], flush=True)
        return result

    def _process(self, section: Section, limit: float | None) -> int | None:
        """The exit code of the section's process, or None if it was stopped."""
        seconds = "0" if limit is None else f"{max(1.0, limit - GRACE_S):.0f}"
        command = [word.replace(SECONDS, seconds) for word in section.command]
        environment = {**os.environ, **section.environment, "PYTHONUNBUFFERED": "1"}
        with open(self.log, "a", encoding="utf-8") as file:
            print(f"\n=== {section.name}: {shlex.join(command)}", file=file, flush=True)
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=environment, preexec_fn=os.setpgrp
            )
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:
                _end(process)

    def _note(self, section: Section, result: dict[str, Any]) -> None:
        before = self.state.get(section.name, {})
        if str(result["status"]).startswith(LEFT_OUT) and before.get("status", LEFT_OUT)[: len(LEFT_OUT)] != LEFT_OUT:
            result = {**before, "then": result["status"]}  # what is known of it says more
        self._keep(section.name, result)
        self._say(section.name, result["status"], result.get("seconds"))

    def _keep(self, name: str, result: Mapping[str, Any]) -> None:
        attempts = self.state.get(name, {}).get("attempts", 0)
        began = not str(result["status"]).startswith(LEFT_OUT) and "seconds" not in result
        self.state[name] = {**result, "attempts": attempts + began}
        with published(self._path) as temporary:
            temporary.write_text(json.dumps(self.state, indent=1) + "\n", encoding="utf-8")

    def _say(self, name: str, status: str, seconds: float | None = None) -> None:
        left = self.left_s()
        rest = "" if left is None else f"   ({max(0.0, left):.0f} s left)"
        print(f"{name:20} {'' if seconds is None else seconds:>7} s  {status}{rest}", flush=True)


def _status(code: int | None, limit: float | None) -> str:
    if code is None:
        return f"cut after {limit:.0f} s"
    if code < 0:
        return f"failed by signal {-code}"
    return DONE if code == 0 else f"failed with exit code {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


@contextmanager
def ended_by_signals():
    """Let SIGTERM and SIGHUP unwind as an interrupt does, so that no process of a section is left behind."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def read_state(path: Path) -> dict[str, dict[str, Any]]:
    """What earlier runs into a folder came to; nothing where there is no such file, or no whole one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: row for name, row in found.items() if isinstance(row, dict) and "status" in row}


def chosen(plan: Sequence[Section], only: Sequence[str]) -> list[Section]:
    """The sections of these names, and those that every run needs.

    Raises:
        ValueError: a name that the plan does not have.
    """
    known = [section.name for section in plan]
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise ValueError(f"run: --only and --redo must name sections ({', '.join(known)}), got {unknown[0]}; see --dry")
    return [section for section in plan if not only or section.always or section.name in only]


def with_environment(plan: Sequence[Section], variables: Mapping[str, str]) -> list[Section]:
    """The plan with variables for every section."""
    return [replace(section, environment={**variables, **section.environment}) for section in plan]


def show(plan: Sequence[Section], budget_s: float | None) -> None:
    """Print a plan: each section with the most that it may take."""
    for section in plan:
        limit = section.limit_s(budget_s, budget_s)
        time_s = "no limit" if limit is None else f"{limit:4.0f} s"
        needs = f" (needs {', '.join(section.needs)})" if section.needs else ""
        print(f"{section.name:20} {time_s:>8}{needs}: {shlex.join(section.command)}")
