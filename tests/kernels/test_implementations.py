"""Which language holds which op: gaps have reasons, and no Triton kernel goes without ahead-of-time compilation."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import motive_kernels as mk
from motive_kernels.runtime import dispatch

ROOT = Path(__file__).resolve().parents[2]
TRITON = sorted((ROOT / "motive_kernels").glob("**/triton.py"))


def test_every_gap_has_its_reason() -> None:
    """An op without a form in some language says why, and no reason is left of a form that exists."""
    for name, op in dispatch.OPS.items():
        assert set(op.functions) | set(op.absent) == set(dispatch.NAMES), name
        assert not set(op.functions) & set(op.absent), name
    reason = dispatch.OPS["vote"].absent["cuda"]
    assert mk.implementations()["vote"]["cuda"] == f"vote has no cuda implementation: {reason}"


def test_an_op_without_a_reason_cannot_be_made() -> None:
    with pytest.raises(ValueError, match=r"^Op: half must have either a function or a reason for each of cpp, cuda"):
        dispatch.Op("half", {"torch": abs, "cpp": abs}, absent={"cuda": "no time"})
    assert "half" not in dispatch.OPS


def test_every_triton_kernel_is_compiled_for_a_gpu_that_is_not_there() -> None:
    """Each kernel that is launched stands in a test that compiles it for sm_90 and reads registers and spills."""
    launched = {
        call.args[0].id
        for path in TRITON
        for call in calls_in(path)
        if isinstance(call.func, ast.Name) and call.func.id == "launch" and isinstance(call.args[0], ast.Name)
    }
    compiled = {
        ast.unparse(call.args[0]).rpartition(".")[2]
        for path in Path(__file__).parent.glob("test_triton_*.py")
        for call in calls_in(path)
        if isinstance(call.func, ast.Name) and call.func.id == "compile_sm90"
    }
    assert len(launched) >= 11, f"found only {sorted(launched)}"
    assert not launched - compiled, f"no test compiles {sorted(launched - compiled)}"


@pytest.mark.parametrize("path", TRITON, ids=lambda path: path.parent.name)
def test_every_launch_sets_the_device(path: Path) -> None:
    """A kernel[grid](...) of its own would run on the thread's current device instead of the tensors'."""
    direct = [ast.unparse(call.func) for call in calls_in(path) if isinstance(call.func, ast.Subscript)]
    assert not direct, f"{path.relative_to(ROOT)} launches {direct} directly; use triton_call.launch"


def calls_in(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
