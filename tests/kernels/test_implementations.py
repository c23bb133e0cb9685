"""Which language holds which op: gaps have reasons, and no Triton kernel goes without ahead-of-time compilation."""

from __future__ import annotations

import ast
from pathlib import Path

import motive_kernels as mk
from motive_kernels.runtime import dispatch

ROOT = Path(__file__).resolve().parents[2]


def test_every_gap_has_its_reason() -> None:
    """An op without a form in some language says why, and no reason is left of a form that exists."""
    gaps = {(name, impl) for name, op in dispatch.OPS.items() for impl in dispatch.NAMES if impl not in op.functions}
    assert gaps == set(dispatch.ABSENT)
    assert mk.implementations()["vote"]["cuda"] == f"vote has no cuda implementation: {dispatch.ABSENT['vote', 'cuda']}"


def test_every_triton_kernel_is_compiled_for_a_gpu_that_is_not_there() -> None:
    """Each kernel that is launched stands in a test that compiles it for sm_90 and reads registers and spills."""
    launched = {
        call.func.value.id
        for path in (ROOT / "motive_kernels").glob("**/triton.py")
        for call in calls_in(path)
        if isinstance(call.func, ast.Subscript) and isinstance(call.func.value, ast.Name)  # kernel[grid](...)
    }
    compiled = {
        ast.unparse(call.args[0]).rpartition(".")[2]
        for path in Path(__file__).parent.glob("test_triton_*.py")
        for call in calls_in(path)
        if isinstance(call.func, ast.Name) and call.func.id == "compile_sm90"
    }
    assert len(launched) >= 11, f"found only {sorted(launched)}"
    assert not launched - compiled, f"no test compiles {sorted(launched - compiled)}"


def calls_in(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
