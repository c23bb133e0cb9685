"""The session on a GPU machine can be planned and rehearsed without one, and survives what fails in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_session
from benchmarks.gpu_session import Step
from benchmarks.kernels import gpu, gpu_small, wan

ROOT = Path(__file__).resolve().parents[2]


def python(name: str, code: str, **options: object) -> Step:
    """A step that takes milliseconds."""
    return Step(name, [sys.executable, "-S", "-c", code], **{"limit_s": 20.0, **options})  # type: ignore[arg-type]


def test_plan_names_what_exists(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_session.main(["--dry", "--out", "somewhere"]) == 0
    printed = capsys.readouterr().out.splitlines()
    plan = gpu_session.steps(Path("somewhere"))
    assert [line.split()[0] for line in printed] == [step.name for step in plan]
    for step in plan:
        for word in step.command:
            if word.startswith("benchmarks."):
                assert (ROOT / word.replace(".", "/")).with_suffix(".py").exists(), word
            elif word.startswith("tests/") or word.endswith(".py"):
                assert (ROOT / word).exists(), word


def test_failures_do_not_end_a_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = [
        python("fine", "print('first')"),
        python("red", "raise SystemExit(3)"),
        python("endless", "while True: pass", limit_s=0.3),
        python("missing", "", needs="no-such-program"),
        python("last", "print('a number')"),
    ]
    assert gpu_session.session(plan, tmp_path, 60) == 1
    summary = {row["step"]: row["status"] for row in json.loads((tmp_path / "summary.json").read_text())}
    assert summary == {
        "fine": "done",
        "red": "failed with exit code 3",
        "endless": "stopped after 0 s",
        "missing": "left out: no no-such-program",
        "last": "done",
    }
    log = (tmp_path / "session.log").read_text()
    assert log.index("first") < log.index("=== red") < log.index("a number")
    assert "a number" in capsys.readouterr().out


def test_budget_and_required_steps_end_a_session(tmp_path: Path) -> None:
    assert (
        gpu_session.session([python("build", "raise SystemExit(1)", required=True), python("next", "")], tmp_path, 60)
        == 1
    )
    assert len(json.loads((tmp_path / "summary.json").read_text())) == 1
    assert gpu_session.session([python("late", "")], tmp_path, 5) == 0
    assert "left out: 5 s" in json.loads((tmp_path / "summary.json").read_text())[0]["status"]


def test_unknown_steps_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_session.main(["--only", "bench_flat,bench_tokens", "--dry"])
    assert "got bench_tokens" in capsys.readouterr().err


def test_every_benchmark_row_can_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--rehearse", "--quick"]) == 0
    printed = capsys.readouterr().out
    for word in ("tensor_sketch_into, whole model", "outer_sketch_into, whole model", "weight_gradient", "gaussian"):
        assert word in printed


def test_sanitizer_cases_can_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_small.main(["--rehearse"]) == 0
    assert "every cpp kernel ran" in capsys.readouterr().out


def test_model_of_the_targets_has_all_its_parameters() -> None:
    counts = [1] * len(wan.parameters())
    for index, shape in enumerate(wan.parameters().values()):
        for length in shape:
            counts[index] *= length
    assert sum(counts) == wan.PARAMETERS
