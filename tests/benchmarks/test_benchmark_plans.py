"""Every plan names what exists, can be rehearsed without a GPU, and gives result files that can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.harness import tables
from benchmarks.harness.plans import SUITES, Choice, cpu_plan, plan_for
from benchmarks.harness.rows import read_rows
from benchmarks.harness.session import Section
from benchmarks.kernels import counters, gpu, gpu_peers, gpu_small, sanitize, wan
from benchmarks.scoring import gpu as search

ROOT = Path(__file__).resolve().parents[2]


def gpu_plans() -> list[Section]:
    folder = Path("somewhere")
    return plan_for(Choice("all", folder, wheels=folder, peers=folder), "cuda")


@pytest.mark.parametrize("plan", [gpu_plans(), cpu_plan(Choice("all", Path("somewhere")))], ids=["gpu", "cpu"])
def test_plans_name_what_exists(plan: list[Section]) -> None:
    assert len({section.name for section in plan}) == len(plan)
    for section in plan:
        for word in section.command:
            if word.startswith("benchmarks."):
                assert (ROOT / word.replace(".", "/")).with_suffix(".py").exists(), word
            elif word.startswith("tests/") or word.endswith(".py"):
                assert (ROOT / word).exists(), word


def test_correctness_comes_before_speed() -> None:
    names = [section.name for section in gpu_plans()]
    assert names[:5] == ["versions", "wheels", "build", "gate", "ceilings"]
    assert [section.name for section in gpu_plans() if section.gate] == ["gate"]


def test_suites_of_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--dry", "--device", "cuda", "--suite", "kernels", "--budget-min", "8"]) == 0
    printed = capsys.readouterr().out
    assert "168 s" in printed, "the gate may take 0.35 of 8 minutes"
    assert "predicted, H200 data sheet" in printed
    with pytest.raises(SystemExit):
        run.main(["--dry", "--device", "cuda", "--suite", "quality"])
    assert "must be kernels" in capsys.readouterr().err
    for suite in (*SUITES, "all"):
        assert run.main(["--dry", "--device", "cpu", "--suite", suite]) == 0
    with pytest.raises(SystemExit):
        run.main(["--device", "cuda", "--only", "materialized,tokens", "--dry"])
    assert "got tokens" in capsys.readouterr().err


def test_kernel_rows_can_be_made_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows of a rehearsal fill the tables and are marked as one."""
    out = ["--rehearse", "--quick", "--out", str(tmp_path)]
    assert gpu.main(out) == 0
    assert gpu_peers.main(out) == 0
    rows = list(read_rows(tmp_path / "results.jsonl"))
    assert all(row["rehearsal"] for row in rows)
    assert {"materialized/model", "materialized/layers", "factorized/1x1950", "factorized/8x1950", "types"} < {
        row["case"] for row in rows
    }
    tables.write(tmp_path)
    text = (tmp_path / "tables.md").read_text()
    for word in ("A rehearsal", "tensor_sketch_into, whole model", "weight_gradient", "torch.compile", "No module"):
        assert word in text
    capsys.readouterr()
    assert gpu.main(out) == 0
    assert "materialized/model: measured before" in capsys.readouterr().out


def test_sanitizer_and_profiler_cases_can_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_small.main(["--rehearse"]) == 0
    assert counters.main(["--launch", "--rehearse"]) == 0
    assert "every cpp kernel ran" in capsys.readouterr().out


def test_verdicts_of_the_sanitizer() -> None:
    assert sanitize.verdict(0, "========= ERROR SUMMARY: 0 errors", 60) == "clean"
    assert sanitize.verdict(0, "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", 60) == "clean"
    assert sanitize.verdict(9, "Invalid read\n========= ERROR SUMMARY: 12 errors", 60) == "12 errors"
    assert sanitize.verdict(None, "========= ERROR SUMMARY: 2 errors", 60).startswith("stopped after 60 s, 2")
    assert sanitize.verdict(1, "x\nDevice not supported\n", 60) == "exit code 1: Device not supported"


def test_counters_are_read() -> None:
    text = (
        "==PROF== Connected\n"
        '"ID","Kernel Name","Block Size","Grid Size","Metric Name","Metric Unit","Metric Value"\n'
        '"0","void sketch_kernel<bf16>(Batch)","(512, 1, 1)","(132, 1, 1)","gpu__time_duration.sum","usecond","12.5"\n'
        '"1","void sketch_kernel<bf16>(Batch)","(512, 1, 1)","(132, 1, 1)","gpu__time_duration.sum","usecond","13.5"\n'
        '"1","void sketch_kernel<bf16>(Batch)","(512, 1, 1)","(132, 1, 1)","dram__bytes_read.sum","Mbyte","1,024.5"\n'
        '"1","void sketch_kernel<bf16>(Batch)","(512, 1, 1)","(132, 1, 1)","launch__registers_per_thread","","n/a"\n'
    )
    assert counters.parsed(text) == [
        {
            "op": "sketch_kernel<bf16>",
            "impl": "ncu",
            "launch": "(132, 1, 1) x (512, 1, 1)",
            "ns": 13000.0,
            "bytes_read": 1.0245e9,
        }
    ]
    assert counters.parsed("==ERROR== no permission\n") == []


def test_model_of_the_targets_has_all_its_parameters() -> None:
    counts = [1] * len(wan.parameters())
    for index, shape in enumerate(wan.parameters().values()):
        for length in shape:
            counts[index] *= length
    assert sum(counts) == wan.PARAMETERS


def test_search_rows_can_be_made_and_read(tmp_path: Path) -> None:
    """Results are checked against the definition inside."""
    assert search.main(["--rehearse", "--out", str(tmp_path)]) == 0
    rows = list(read_rows(tmp_path / "results.jsonl"))
    assert {(row["op"], row["dtype"]) for row in rows} > {("topk_dot", "int8"), ("vote", "float16")}
    assert {row["impl"] for row in rows} == {"cpp", "torch", "torch.compile"}
