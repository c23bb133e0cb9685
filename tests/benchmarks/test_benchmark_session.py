"""An unattended run keeps to its budget, survives what fails in it, and is taken up where it was left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.harness.session import Options, Section, Session, chosen, read_state

ROOT = Path(__file__).resolve().parents[2]


def python(name: str, code: str, **more: object) -> Section:
    """A section that takes milliseconds."""
    return Section(name, [sys.executable, "-S", "-c", code], **{"least_s": 0.1, **more})  # type: ignore[arg-type]


def statuses(out: Path) -> dict[str, str]:
    return {name: row["status"] for name, row in read_state(out / "session.json").items()}


def test_failures_do_not_end_a_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = [
        python("fine", "print('first')"),
        python("red", "raise SystemExit(3)"),
        python("endless", "while True: pass", share=0.00005),
        python("missing", "", needs=("no-such-program",)),
        python("last", "print('a number')"),
    ]
    assert not Session(Options(tmp_path, 6000)).run(plan)
    assert statuses(tmp_path) == {
        "fine": "done",
        "red": "failed with exit code 3",
        "endless": "cut after 0 s",
        "missing": "left out: no no-such-program",
        "last": "done",
    }
    log = (tmp_path / "session.log").read_text()
    assert log.index("first") < log.index("=== red") < log.index("a number")
    assert "a number" in capsys.readouterr().out


def test_a_second_run_does_what_the_first_lacked(tmp_path: Path) -> None:
    """Sections that are done are not run again, those that failed or were cut are; what always runs, always runs."""
    counted = f"open(r'{tmp_path / 'count'}', 'a').write('{{}}')"
    late = "import pathlib, sys; sys.exit(not pathlib.Path(r'{}').exists())".format(tmp_path / "present")
    plan = [
        python("build", counted.format("b"), always=True),
        python("once", counted.format("o")),
        python("late", late),
    ]
    assert not Session(Options(tmp_path, 6000)).run(plan)
    assert Session(Options(tmp_path, 6000)).lacking(plan) == ["late"]
    (tmp_path / "present").touch()
    assert Session(Options(tmp_path, 6000)).run(plan)
    assert (tmp_path / "count").read_text() == "bob"
    assert read_state(tmp_path / "session.json")["late"]["attempts"] == 2
    assert Session(Options(tmp_path, 6000, redo=frozenset({"once"}))).run(plan)
    assert (tmp_path / "count").read_text() == "bobbo"
    assert Session(Options(tmp_path)).run(plan), "without a budget nothing is taken up"
    assert (tmp_path / "count").read_text() == "bobbobo"


@pytest.mark.parametrize(
    ("budget_s", "left_s", "limit_s"),
    [(480, 480, 96), (480, 50, 50), (480, 20, 20), (480, 19.9, 0), (60, 60, 20), (60, 25, 20)],
)
def test_a_section_takes_its_share_and_no_more(budget_s: float, left_s: float, limit_s: float) -> None:
    """A fifth of the budget, never more than is left, at least 20 s or nothing."""
    section = python("x", "", share=0.2, least_s=20.0)
    assert section.limit_s(budget_s, left_s) == pytest.approx(limit_s)
    assert section.limit_s(None, None) is None


def test_a_section_is_given_its_seconds(tmp_path: Path) -> None:
    section = Section(
        "limited", [sys.executable, "-S", "-c", "import sys; print('got', sys.argv[1])", "{seconds}"], 0.5
    )
    assert Session(Options(tmp_path, 10_000)).run([section])
    assert "got 4997" in (tmp_path / "session.log").read_text()


def test_what_no_longer_fits_is_left_out_and_lacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.harness.session.time.monotonic", lambda: 0.0)
    plan = [python("late", "", least_s=9.0)]
    session = Session(Options(tmp_path, 5))
    assert session.run(plan)
    assert statuses(tmp_path)["late"] == "left out: 5 s of the budget left"
    assert session.lacking(plan) == ["late"]
    assert Session(Options(tmp_path, 6000)).run(plan)
    assert statuses(tmp_path)["late"] == "done"


def test_a_red_gate_keeps_measurements_out(tmp_path: Path) -> None:
    plan = [python("gate", "raise SystemExit(1)", gate=True), python("speed", "print(1)")]
    assert not Session(Options(tmp_path, 6000)).run(plan)
    assert statuses(tmp_path)["speed"] == "left out: gate is red"
    assert not Session(Options(tmp_path, 6000, past_red=True)).run(plan)
    assert statuses(tmp_path)["speed"] == "done"
    assert not Session(Options(tmp_path / "b", 6000)).run([python("b", "raise SystemExit(1)", required=True), plan[1]])
    assert list(statuses(tmp_path / "b")) == ["b"]


def test_a_run_that_is_ended_takes_its_section_with_it(tmp_path: Path) -> None:
    """SIGTERM ends the section's process and what that started, which hold a pipe; the state says that it began."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = f"""
import sys
from pathlib import Path
from benchmarks.harness.session import Options, Section, Session
child = "import subprocess, sys; held = open(sys.argv[1], 'w'); " \
    "p = subprocess.Popen(['sleep', 'infinity'], pass_fds=[held.fileno()]); print('at work', file=held, flush=True); p.wait()"
Session(Options(Path({str(tmp_path)!r}), 6000)).run([Section("long", [sys.executable, "-S", "-c", child, {str(pipe)!r}])])
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)
    with open(pipe) as held:
        assert held.readline() == "at work\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
        assert held.read() == "", "the pipe ends when nobody holds it any more"
    assert statuses(tmp_path)["long"] == "began and was not finished"


def test_a_damaged_state_is_none(tmp_path: Path) -> None:
    for text in ("", "[]", '{"a": 1}', '{"a": {"status": "do'):
        (tmp_path / "session.json").write_text(text)
        assert read_state(tmp_path / "session.json") == {}


def test_unknown_sections_are_named() -> None:
    plan = [python("materialized", ""), python("build", "", always=True)]
    assert [section.name for section in chosen(plan, ["materialized"])] == ["materialized", "build"]
    with pytest.raises(ValueError, match="got tokens"):
        chosen(plan, ["materialized", "tokens"])
    with pytest.raises(ValueError, match="share must be in"):
        python("x", "", share=1.5)


def test_rows_of_a_case_are_written_once(tmp_path: Path) -> None:
    from benchmarks.harness.rows import Sink, read_rows

    common = {"suite": "kernels", "impl": "cuda", "device": "card", "commit": "abc", "versions": {}}
    sink = Sink(tmp_path, common)
    assert len(sink.take("a", iter([{"op": "x", "bytes": 1.0}, {"op": "y", "bytes": 2.0}]))) == 2

    def fails():
        yield {"op": "x", "bytes": 1.0}
        raise RuntimeError("the card has gone")

    with pytest.raises(RuntimeError, match="has gone"):
        sink.take("b", fails())
    assert sink.take("a", fails()) == []
    with open(tmp_path / "results.jsonl", "a") as file:
        file.write('{"op": "cut')
    assert [row["case"] for row in read_rows(tmp_path / "results.jsonl")] == ["a", "a", "b"]
    assert not sink.done("b"), "it has a row and was not measured to its end"
    assert not Sink(tmp_path, {**common, "device": "another"}).done("a")
    assert not Sink(tmp_path, common, again=True).done("a")


def test_partial_rows_are_measured_again(tmp_path: Path) -> None:
    from benchmarks.harness.rows import Sink

    sink = Sink(tmp_path, {"suite": "sanitizer", "impl": "small", "device": "card", "commit": None, "versions": {}})
    sink.take("tool", [{"op": "memcheck", "partial": True}])
    assert not sink.done("tool")
    sink.take("tool", [{"op": "memcheck", "verdict": "clean"}])
    assert sink.done("tool")
    assert json.loads((tmp_path / "results.jsonl").read_text().splitlines()[0])["partial"]
