"""The CUDA sources themselves, run on the CPU: races, numbers, memory bounds (csrc/cuda_on_cpu)."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "csrc" / "cuda_on_cpu"
OPS = sorted(path.stem.removeprefix("drive_") for path in HERE.glob("drive_*.cpp"))
FAULTS = {
    "no_barrier": ("a race", "a wrong number"),
    "no_warp_barrier": ("a race", None),
    "unwritten": ("a wrong number", "a wrong number"),
    "out_of_bounds": (None, "a step outside memory"),
    "two_blocks": ("a race", None),
    "two_barriers": ("a device would hang", "a device would hang"),
    "missing_lanes": ("a device would hang", "a device would hang"),
    "no_wait": ("a race", "a wrong number"),
}
"""Fault of csrc/cuda_on_cpu/faults -> what the programs threads and addresses say of it; None: not theirs to find."""


@functools.cache
def module(name: str) -> ModuleType:
    """A program of csrc/cuda_on_cpu."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


@functools.cache
def program(name: str, which: str = "drive") -> Path:
    """A program, built where a source has changed."""
    return module("run").build(name, which)


@functools.cache
def result(name: str, op: str) -> Any:
    """An op's run in one of the programs; both tests of an op read it."""
    order = ["--descending"] if name == "addresses" else []
    return module("run").run(program(name), [*order, op])


def test_every_launcher_is_driven() -> None:
    launchers = {path.stem for path in (ROOT / "csrc" / "include" / "motive" / "cuda").glob("*.h")} - {"device"}
    assert launchers == set(OPS)


@pytest.mark.parametrize("op", OPS)
def test_no_race_and_no_wrong_number(op: str) -> None:
    """Under ThreadSanitizer, every CUDA thread a thread to it."""
    found = result("threads", op)
    assert found.status == 0, f"{found.meaning}\n{found.output[-8000:]}"


@pytest.mark.long("compiles every kernel and driver a second time, under AddressSanitizer")
@pytest.mark.parametrize("op", OPS)
def test_memory_bounds_and_any_order_of_threads(op: str) -> None:
    """Under AddressSanitizer, threads of a block in the other order: the same bits."""
    found = result("addresses", op)
    assert found.status == 0, f"{found.meaning}\n{found.output[-8000:]}"
    assert found.digest == result("threads", op).digest


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("which", [0, 1], ids=["threads", "addresses"])
def test_faults_are_found(fault: str, which: int) -> None:
    """A kernel with one fault is reported, and the same kernel without it is not."""
    path = program(("threads", "addresses")[which], "fail")
    right = module("run").run(path, [fault, "right"])
    assert right.status == 0, right.output
    expected = FAULTS[fault][which]
    if expected is None:
        return
    found = module("run").run(path, [fault])
    meaning = "a step outside memory" if "ERROR: AddressSanitizer" in found.output else found.meaning
    assert meaning == expected, found.output


@pytest.mark.long("compiles every kernel and driver once more, with an observer of shared memory")
def test_bank_conflicts() -> None:
    """No place of the sources takes more steps for a warp's access to shared memory than the committed table says."""
    if shutil.which("addr2line") is None:
        pytest.skip("addr2line (binutils) is not installed")
    banks = module("banks")
    committed, found = banks.committed(), banks.count()
    worse = {place: ratio for place, ratio in found.items() if ratio > committed.get(place, 1.0) + 0.01}
    assert not worse, f"{worse}; if they are meant: python csrc/cuda_on_cpu/banks.py --write"


def test_mutations_name_every_wait() -> None:
    """The committed table of removed waits is of the waits that the sources have."""
    mutate = module("mutate")
    waits = [f"| {m.path.name} | {m.place} |" for m in mutate.mutations()]
    table = mutate.TABLE.read_text()
    missing = [wait for wait in waits if wait not in table]
    assert not missing, f"{missing}; run make cuda-mutations"
    assert table.count("\n| ") - 1 == len(waits)


def test_the_driver_is_a_program_for_a_card_too() -> None:
    """Compiled by nvcc it says what is missing where there is no GPU, and checks every launcher where there is one."""
    native = module("run").native_build()
    nvcc = native.find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc: CUDA code is not compiled here")
    native.run_ninja(["cuda_drive"], nvcc)
    done = subprocess.run([native.build_dir() / "cuda_drive"], capture_output=True, text=True, check=False)
    if torch.cuda.is_available():
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        assert done.returncode == 2
        assert "CUDA says: " in done.stderr
