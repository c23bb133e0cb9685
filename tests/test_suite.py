"""Rules for the tests themselves: no clocks, no chance, none that hides behind a small limit."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import repeat

TESTS = Path(__file__).resolve().parent
FILES = sorted(TESTS.rglob("*.py"))

CLOCKS = {"sleep", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "time_ns"}
"""Functions of ``time``; ``time.time`` is known by its module. ``process_time`` is not a clock: it stands still while a
busy machine does other things."""

MAY_SEE_THE_CLOCK = {
    "faults/cost.py": "measures what durability costs; no verdict depends on it",
    "faults/guided.py": "gives a fuzzer seconds, as its users do; never part of the suite",
    "faults/run.py": "writes how long a section took into the row",
    "faults/s3.py": "slow answers are the fault that it makes",
    "faults/scale.py": "measures how a run scales; no verdict depends on it",
    "faults/synthetic.py": "a clip may take time where scaling is measured; a task's result holds its seconds",
    "repeat.py": "prints how long a run took",
}
"""A file under tests/ -> why. A verdict may depend on the clock in none of them."""

SHORTEST_LIMIT_S = 600
"""A limit on a wait may turn a hang into a failure. A shorter one fails on a busy machine."""


def name_of(call: ast.Call) -> tuple[str, str]:
    """(object, function) of a call such as ``time.sleep()``; the object is empty for a bare name."""
    if isinstance(call.func, ast.Attribute):
        return (call.func.value.id if isinstance(call.func.value, ast.Name) else "?"), call.func.attr
    return "", call.func.id if isinstance(call.func, ast.Name) else "?"


def clocks(tree: ast.AST) -> list[str]:
    """Where a file looks at a clock, waits for one, or sets itself a short limit."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [f"line {node.lineno}: from time import {a.name}" for a in node.names if a.name != "process_time"]
        if not isinstance(node, ast.Call):
            continue
        owner, function = name_of(node)
        if (owner == "time" and (function in CLOCKS or function == "time")) or (not owner and function in CLOCKS):
            found.append(f"line {node.lineno}: {owner}.{function}")
        limits = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
        limits += node.args[:1] if function in ("wait", "join") else []
        found += [
            f"line {node.lineno}: a limit of {limit.value} s"
            for limit in limits
            if isinstance(limit, ast.Constant)
            and isinstance(limit.value, (int, float))
            and limit.value < SHORTEST_LIMIT_S
        ]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(TESTS).as_posix())
def test_no_test_depends_on_a_clock(path: Path) -> None:
    found = clocks(ast.parse(path.read_text(encoding="utf-8")))
    if path.relative_to(TESTS).as_posix() not in MAY_SEE_THE_CLOCK:
        assert not found, f"{path.name} depends on time; stop at a named point (tests/faults/points.py): {found}"


def test_exemptions_are_needed() -> None:
    idle = [name for name in MAY_SEE_THE_CLOCK if not clocks(ast.parse((TESTS / name).read_text(encoding="utf-8")))]
    assert not idle, f"these no longer look at a clock; take them off the list: {idle}"


@pytest.mark.parametrize(
    "text",
    [
        "import time\ntime.sleep(1)",
        "from time import monotonic",
        "import time\nbegan = time.time()",
        "process.wait(20)",
        "subprocess.run(command, timeout=60)",
    ],
)
def test_the_rule_finds(text: str) -> None:
    assert clocks(ast.parse(text))


def chances(tree: ast.AST) -> list[str]:
    """Generators without a seed."""
    return [
        f"line {node.lineno}: {function}()"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and not node.args and not node.keywords
        for _, function in [name_of(node)]
        if function in ("default_rng", "RandomState", "Random")
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(TESTS).as_posix())
def test_generators_have_seeds(path: Path) -> None:
    found = chances(ast.parse(path.read_text(encoding="utf-8")))
    assert not found, f"{path.name}: a test that fails once must fail again: {found}"


def test_videos_are_encoded_to_the_same_bytes() -> None:
    """Who adds a stream takes the options of motive.data.video.encode."""
    root = TESTS.parent
    for folder in ("motive", "tests", "benchmarks", "examples"):
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if "add_" + "stream(" in text:
                assert "encoder_options" in text, f"{path.relative_to(root)} must encode with encoder_options(codec)"
            if "libx264" in text and "ffmpeg" in text:
                assert "cpu-independent" in text, f"{path.relative_to(root)} must encode with cpu-independent=1"


def test_exempt_files_exist_and_have_reasons() -> None:
    for name, reason in MAY_SEE_THE_CLOCK.items():
        assert (TESTS / name).is_file(), f"{name} is gone; take it off the list"
        assert len(reason.split()) > 4, f"{name}: say why"


def test_the_copy_for_another_user_holds_what_git_knows_and_what_is_built(tmp_path: Path) -> None:
    """`make test-repeat` runs it under a user who is not root; a copy that fails or lacks a file tests nothing."""
    if not (repeat.ROOT / ".git").exists():
        pytest.skip("not a checkout of git, so nothing lists its files")
    repeat.copy_tree(tmp_path / "tree")
    names = {path.relative_to(tmp_path / "tree").as_posix() for path in (tmp_path / "tree").rglob("*.*")}
    assert {"pyproject.toml", "motive/__init__.py", "tests/test_suite.py", "tests/golden/noise.json"} <= names
    assert {path.name for path in (repeat.ROOT / "motive_kernels").glob("*.so")} <= {Path(name).name for name in names}
    assert not [name for name in names if name.startswith((".venv/", ".git/"))]


def test_the_table_of_repeated_runs_tells_failures_and_seeds() -> None:
    rows = [
        {"condition": "one core", "seed": seed, "tests": 5, "failed": failed, "seconds": 60, "note": ""}
        for seed, failed in ((1, []), (8, ["tests.a::b"]))
    ]
    assert repeat.table(rows).splitlines()[2:] == ["| one core | 2 | 5 | 1.0 | tests.a::b (seed 8) |"]


def test_each_condition_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in pytest's place writes down what a run of each condition would see."""
    monkeypatch.setattr(repeat, "PYTEST", ("-c", _SEEN, str(tmp_path)))
    monkeypatch.setattr(repeat, "copy_tree", lambda target: target.mkdir())
    for number, condition in enumerate(repeat.CONDITIONS):
        repeat.run(condition, number, tmp_path, [])
    logs = {path.stem.rsplit(" ", 1)[0]: ast.literal_eval(path.read_text()) for path in tmp_path.glob("*.log")}
    assert len(logs) == len(repeat.CONDITIONS) == 7
    assert logs["one core"]["cores"] == 1
    assert logs["TZ=Asia-Kolkata"]["TZ"] == "Asia/Kolkata"
    assert logs["LC_ALL=C"]["LC_ALL"] == "C"
    assert logs["OPENBLAS_NUM_THREADS=1"]["OPENBLAS_NUM_THREADS"] == "1"
    other = logs["unprivileged user and read-only HOME"]
    assert other["user"] != 0
    assert not other["home"], "the home must not be writable"
    assert other["umask"] == 0o077


_SEEN = """
import os
umask = os.umask(0)
names = ("TZ", "LC_ALL", "OPENBLAS_NUM_THREADS")
print({"cores": len(os.sched_getaffinity(0)), "user": os.geteuid(), "umask": umask,
       "home": os.access(os.environ["HOME"], os.W_OK), **{n: os.environ.get(n, "") for n in names}})
"""
