"""Languages of each op: gaps have reasons, and no Triton kernel goes without ahead-of-time compilation."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import motive_kernels as mk
from motive_kernels.ops import registry
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


@pytest.mark.parametrize(
    ("version", "taken"), [("3.2.0", False), ("3.4.0", False), ("3.5.0", True), ("3.10.1", True), ("4.0", True)]
)
def test_old_triton_is_not_taken(version: str, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 3.5 an atomic's returned tensor was wrong, and the lists of a search with it."""
    monkeypatch.setattr(dispatch.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(dispatch.importlib.metadata, "version", lambda name: version)
    reason = dispatch._no_triton()
    assert (reason is None) == taken
    if reason is not None:
        assert reason == f"triton 3.5 or newer is needed, {version} is installed: its atomics return wrong values"


def test_an_old_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernel parameters above 4 KB need a driver of CUDA 12.1."""
    for version, reason in ((12010, None), (13000, None), (12000, "the driver supports CUDA 12.0, 12.1 (driver 530)")):
        module = SimpleNamespace(driver_version=lambda version=version: version)
        monkeypatch.setattr(dispatch.native, "load", lambda device, module=module: (module, None))
        found = dispatch._no_cuda_extension()
        assert found is None if reason is None else str(found).startswith(reason)


def test_fastfood_refuses_a_tile_that_shared_memory_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card with 99 KB a block: the named implementation says why, and the choice by default takes the next."""
    module = SimpleNamespace(
        fastfood_shared_bytes=lambda tile: 4 * tile + tile // 8, shared_limit=lambda device: 101376
    )
    monkeypatch.setattr(dispatch.native, "extension", lambda device: module)
    monkeypatch.setattr(dispatch, "unavailable", lambda impl: None)
    op = registry.load()["fastfood_into"]
    for tile, fits in ((16384, True), (32768, False)):
        arguments = (torch.zeros(1, 64), torch.zeros(1, 9), torch.zeros(tile, dtype=torch.int32), 0, 0, 1.0)
        assert op.pick(None, "cuda", torch.float32, arguments) == ("cuda" if fits else "torch")
        if fits:
            assert op.pick("cuda", "cuda", torch.float32, arguments) == "cuda"
            continue
        with pytest.raises(
            RuntimeError, match="a tile of 32768 needs 135168 bytes of shared memory, and this GPU gives"
        ):
            op.pick("cuda", "cuda", torch.float32, arguments)


@pytest.mark.parametrize("path", TRITON, ids=lambda path: path.parent.name)
def test_every_launch_sets_the_device(path: Path) -> None:
    """A direct kernel[grid](...) would run on the thread's current device instead of the tensors'."""
    direct = [ast.unparse(call.func) for call in calls_in(path) if isinstance(call.func, ast.Subscript)]
    assert not direct, f"{path.relative_to(ROOT)} launches {direct} directly; use triton_call.launch"


def calls_in(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
