"""The native build: symbols that may not be shared between SIMD levels, the C++ tests, the program without Python."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import motive_kernels as mk
from motive_kernels.rng import philox
from motive_kernels.runtime import native

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """csrc/build.py."""
    spec = importlib.util.spec_from_file_location("motive_native_build", ROOT / "csrc" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(build: ModuleType) -> Callable[[str], Path]:
    """Builds a target of the native build and gives its path."""

    def make(target: str) -> Path:
        try:
            build.run_ninja([target], None)
        except FileNotFoundError:
            pytest.skip("ninja is not installed")
        return build.build_dir() / target

    return make


def test_no_code_is_shared_between_simd_levels(built: Callable[[str], Path]) -> None:
    """The linker keeps one copy of a weak symbol: one that AVX-512 code brought would crash an older machine."""
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    folder = built("libmotive.a").parent / "cpu"
    objects = [path for level in ("baseline", "avx2", "avx512") for path in sorted((folder / level).glob("*.o"))]
    sources = {path.stem for path in (ROOT / "csrc" / "cpu").glob("*.cpp")}
    assert {path.stem for path in objects} >= sources
    shared = []
    for path in objects:
        if path.parent.name == "baseline":
            continue  # what it shares runs on every machine
        symbols = subprocess.run([nm, "-C", "--defined-only", str(path)], capture_output=True, text=True, check=True)
        for line in symbols.stdout.splitlines():
            found = re.match(r"^[0-9a-f]* ?([VWuvw]) (.*)$", line.strip())
            if found and found.group(2).startswith("DW.ref."):
                continue  # a pointer that exception tables use, the same at every level
            if found and f"motive::cpu::{path.parent.name}::" not in found.group(2):
                shared.append(f"{path.parent.name}/{path.name}: {found.group(2)}")
    assert not shared, "weak symbols outside their level's namespace:\n" + "\n".join(sorted(set(shared)))


@pytest.mark.long("compiles the C++ library and its tests once more, with sanitizers, at every level")
def test_cpp_tests_pass_under_sanitizers(built: Callable[[str], Path]) -> None:
    probe = ROOT / "build" / "sanitizer-probe"
    probe.parent.mkdir(exist_ok=True)
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    command = [compiler, "-fsanitize=address,undefined", "-x", "c++", "-", "-o", str(probe)]
    if subprocess.run(command, input="int main() {}", text=True, capture_output=True, check=False).returncode != 0:
        pytest.skip("this compiler has no sanitizer runtime")
    folder = built("cpp_tests").parent / "checked"
    programs = [folder / path.stem for path in sorted((ROOT / "csrc" / "tests").glob("*.cpp"))]
    assert programs
    for program in programs:
        result = subprocess.run([str(program)], capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{program.name}:\n{result.stdout}{result.stderr}"
        assert "passed" in result.stdout


def first_numbers(*command: str) -> list[float]:
    """What csrc/examples/standalone.cpp prints of its first vector."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return [float(word) for word in re.search(r"first numbers (.*)", result.stdout).group(1).split()]  # type: ignore[union-attr]


def test_a_program_without_python_makes_the_same_vectors(built: Callable[[str], Path]) -> None:
    printed = first_numbers(str(built("standalone")))
    samples, tokens, rows, columns, dim = 3, 17, 96, 80, 64
    x, dy = (
        torch.from_numpy(
            (philox.philox4x32(philox.counter_blocks(0, samples * tokens * width, 0, 0), (1, stream))[:, 0] / 2.0**32)
            - 0.5
        ).reshape(samples, tokens, width)
        for stream, width in ((0, columns), (1, rows))
    )
    name = "blocks.0.ffn.weight"
    projector = mk.Projector(mk.ProjectionSpec("tensor_sketch", dim), {name: (rows, columns)})
    z = torch.zeros(samples, dim, dtype=torch.float64)
    projector.project_outer_into(z, name, x, dy, impl="torch")
    np.testing.assert_allclose(printed, z[0, :3].numpy(), rtol=0, atol=1e-5)


def test_arm_makes_the_same_vectors(built: Callable[[str], Path]) -> None:
    """The baseline, with the few instructions that only 64-bit Arm has, in an emulator: all C++ tests pass too."""
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if shutil.which("aarch64-linux-gnu-g++") is None or emulator is None:
        pytest.skip("no compiler or no emulator for 64-bit Arm")
    folder = built("aarch64").parent / "aarch64"
    for source in sorted((ROOT / "csrc" / "tests").glob("*.cpp")):
        result = subprocess.run([emulator, str(folder / source.stem)], capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{source.stem}:\n{result.stdout}{result.stderr}"
    here, there = first_numbers(str(built("standalone"))), first_numbers(emulator, str(folder / "standalone"))
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-5)


def test_baseline_needs_no_header_of_a_processor(tmp_path: Path) -> None:
    """Where neither x86 nor Arm is known (here: their macros taken away), it is plain C++."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    sources = sorted((ROOT / "csrc" / "cpu").rglob("*.cpp"))
    headers = [*(ROOT / "csrc" / "include").rglob("*.h"), *(ROOT / "csrc" / "cpu").rglob("*.h"), *sources]
    included = {name for path in headers for name in re.findall(r"#include <(\w+)>", path.read_text())}
    first, then = tmp_path / "first.h", tmp_path / "then.h"  # the system's headers do need the macros
    first.write_text("".join(f"#include <{name}>\n" for name in sorted(included)))
    then.write_text("".join(f"#undef {macro}\n" for macro in ("__x86_64__", "__SSE__", "__SSE2__", "__aarch64__")))
    for name in ("immintrin", "x86intrin", "xmmintrin", "emmintrin", "cpuid", "arm_neon"):
        (tmp_path / f"{name}.h").write_text(f'#error "{name}.h is for one kind of processor"\n')
    command = [compiler, "-std=c++17", f"-I{tmp_path}", "-DMOTIVE_LEVEL=baseline", "-DMOTIVE_IS_BASELINE=1"]
    command += [f"-I{ROOT / 'csrc' / 'include'}", f"-I{ROOT / 'csrc' / 'cpu'}"]
    subprocess.run([*command, "-x", "c++-header", str(first)], check=True)  # read once, for all sources
    for source in sources:
        checked = [*command, "-fsyntax-only", "-include", str(first), "-include", str(then), str(source)]
        result = subprocess.run(checked, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def test_the_library_needs_neither_python_nor_torch() -> None:
    """Only csrc/python may include pybind11 or Python, and nothing may include torch."""
    for path in sorted((ROOT / "csrc").rglob("*")):
        if path.suffix not in (".h", ".cpp", ".cu", ".cuh"):
            continue
        included = re.findall(r'#include [<"]([^>"]+)', path.read_text())
        assert not [name for name in included if name.startswith(("torch", "ATen", "c10"))], path
        if path.parent.name != "python":
            assert not [name for name in included if name.startswith(("pybind11", "Python"))], path


def test_level_can_only_be_lowered() -> None:
    cpu = native.extension("cpu")
    assert cpu.level() == cpu.best_level()
    with pytest.raises(ValueError, match="level must be baseline, avx2 or avx512, got sse9"):
        cpu.limit_level("sse9")
