"""The suite again and again under conditions that differ from a developer's machine; a table of failures for each.

python -m tests.repeat N [--out DIR] [--only NAME,...] [--seed S] [-- PYTEST ARGUMENTS]

Runs cycle through the conditions. Each run is appended to DIR/runs.jsonl when it ends, and DIR/table.md is written
again, so an interrupted program leaves its table. The exit code is 1 if a test failed in any run.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import random
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTEST = (
    "-m",
    "pytest",
    "-n",
    "2",
    "--dist",
    "loadfile",
    "--no-loadscope-reorder",
    "-p",
    "no:cacheprovider",
    "-o",
    "faulthandler_timeout=7200",
    "-o",
    "faulthandler_exit_on_timeout=true",
)
USER = "nobody"


@dataclass(frozen=True)
class Condition:
    """Under what a run is made.

    Attributes:
        name: in the table.
        environment: variables that are added.
        cores: that the run may use; 0 for all.
        busy: processes that spin beside it.
        unprivileged: as a user who is not root, with a home that cannot be written and a umask of 077.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: int = 0
    busy: int = 0
    unprivileged: bool = False


CONDITIONS = (
    Condition("random order"),
    Condition("TZ=Asia/Kolkata", {"TZ": "Asia/Kolkata"}),
    Condition("LC_ALL=C", {"LC_ALL": "C", "LANG": "C", "LANGUAGE": ""}),
    Condition("one core", cores=1),
    Condition("unprivileged user and read-only HOME", unprivileged=True),
    Condition("two busy loops", busy=2),
    Condition("OPENBLAS_NUM_THREADS=1", {"OPENBLAS_NUM_THREADS": "1"}),
)


@dataclass(frozen=True)
class Place:
    """Where and how a run is started.

    Attributes:
        root: the tree.
        prefix: words before the command.
        environment: variables that are added.
        note: what the table says about it.
    """

    root: Path = ROOT
    prefix: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def run(condition: Condition, seed: int, folder: Path, extra: Sequence[str]) -> dict[str, object]:
    """One run of the suite; its row."""
    with unprivileged(folder) if condition.unprivileged else nullcontext(Place()) as place, spinning(condition.busy):
        report = Path(place.environment.get("TMPDIR", folder)) / "report.xml"
        report.unlink(missing_ok=True)
        command = [sys.executable, *PYTEST, f"--randomly-seed={seed}", f"--junitxml={report}", *extra]
        began = time.monotonic()
        done = subprocess.run(
            [*place.prefix, *command],
            cwd=place.root,
            env={**os.environ, **condition.environment, **place.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: prepare(condition),
            check=False,
        )
        seconds = time.monotonic() - began
        failed, count = read_report(report)
    if done.returncode and not failed:
        failed = [f"pytest ended with {done.returncode}"]
    (folder / f"{condition.name.replace('/', '-')} {seed}.log").write_bytes(done.stdout)
    return {
        "condition": condition.name,
        "seed": seed,
        "tests": count,
        "failed": failed,
        "seconds": round(seconds),
        "note": place.note,
    }


def prepare(condition: Condition) -> None:
    """In the new process: cores and umask."""
    if condition.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: condition.cores])
    if condition.unprivileged:
        os.umask(0o077)


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """Processes that use all the processor time they get."""
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextmanager
def unprivileged(folder: Path) -> Iterator[Place]:
    """A copy of the tree, a home that cannot be written and a temporary folder of a user who is not root."""
    with tempfile.TemporaryDirectory(prefix="motive-repeat-") as made:
        base = Path(made)
        tree, home, temporary = base / "tree", base / "home", base / "tmp"
        copy_tree(tree)
        for path in (home, temporary):
            path.mkdir()
        prefix, note = (), "as oneself"
        if os.geteuid() == 0:
            account = pwd.getpwnam(USER)
            base.chmod(0o755)
            for path in [temporary, tree, *tree.rglob("*")]:
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
            prefix, note = dropping(account)
        home.chmod(0o555)
        environment = {
            "HOME": str(home),
            "MOTIVE_TEST_HOME": "read-only",
            "TMPDIR": str(temporary),
            "PYTHONPATH": str(tree),
        }
        try:
            yield Place(tree, prefix, environment, note)
        finally:
            home.chmod(0o755)


def copy_tree(target: Path) -> None:
    """The files that git knows or would add, and what is built in place."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    built = [path.relative_to(ROOT) for path in (ROOT / "motive_kernels").glob("*.so")]
    for name in [*map(Path, os.fsdecode(listed.stdout).rstrip("\0").split("\0")), *built]:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def dropping(account: pwd.struct_passwd) -> tuple[tuple[str, ...], str]:
    """The words that drop root's rights, and a note.

    Where the interpreter lies in a folder that only root may enter, the right to read everything is kept.
    """
    if shutil.which("setpriv") is None:
        raise SystemExit("tests.repeat: the unprivileged run needs setpriv; install util-linux")
    drop = ("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
    asked = "import subprocess, sys, pytest; subprocess.run([sys.executable, '-c', '']); print(sys.base_prefix)"
    probe = subprocess.run([*drop, sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    if probe.returncode == 0 and probe.stdout.strip() == sys.base_prefix:  # the same interpreter, not one from PATH
        return (*drop, "--"), f"as {USER}"
    keep = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
    return (*drop, *keep, "--"), f"as {USER}, who may read root's files, since the interpreter is there"


def read_report(path: Path) -> tuple[list[str], int]:
    """(names of the tests that failed, number of tests) of a JUnit file; nothing where it was not written."""
    if not path.exists():
        return [], 0
    cases = list(ElementTree.parse(path).iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return sorted({f"{case.get('classname')}::{case.get('name')}" for case in failed}), len(cases)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """A line for each condition: its runs, tests, minutes and failures with their seeds."""
    lines = ["| condition | runs | tests | minutes a run | failures |", "|---|---|---|---|---|"]
    for condition in CONDITIONS:
        ours = [row for row in rows if row["condition"] == condition.name]
        if not ours:
            continue
        tests = max(int(str(row["tests"])) for row in ours)
        minutes = sum(float(str(row["seconds"])) for row in ours) / len(ours) / 60
        failures = [f"{name} (seed {row['seed']})" for row in ours for name in row["failed"]]  # type: ignore[attr-defined]
        note = f" ({ours[0]['note']})" if ours[0]["note"] else ""
        said = "; ".join(failures) or "none"
        lines.append(f"| {condition.name}{note} | {len(ours)} | {tests:,} | {minutes:.1f} | {said} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run, and write the table after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=int, help="runs of the suite in all")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "repeat", help="folder for logs and the table")
    parser.add_argument("--only", default="", help="names of conditions, comma-separated")
    parser.add_argument("--seed", type=int, help="of the first run; further runs count on from it")
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    extra = sys.argv[cut + 1 :]
    options = parser.parse_args(sys.argv[1:cut])
    chosen = [c for c in CONDITIONS if not options.only or c.name in options.only.split(",")]
    if not chosen or options.runs < 1:
        parser.error(f"runs must be at least 1, and --only one of {', '.join(c.name for c in CONDITIONS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    rows: list[dict[str, object]] = []
    for number in range(options.runs):
        rows.append(run(chosen[number % len(chosen)], first + number, options.out, extra))
        with open(options.out / "runs.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        (options.out / "table.md").write_text(table(rows), encoding="utf-8")
        print(f"run {number + 1} of {options.runs}\n{table(rows)}", flush=True)
    return int(any(row["failed"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
