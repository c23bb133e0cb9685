"""Every CUDA file compiles for the architectures that matter, into the machine code that was meant."""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks.harness import machine_code as counted_code
from tests.kernels.pinned import require_nvcc

ROOT = Path(__file__).resolve().parents[2]

PARKED = {
    re.compile(r"\d+outer_kernelINS\w*float16ELi[89]E"): 64,
    re.compile(r"\d+sketch_kernelINS\w*float16ELi(8|16)E"): 8,
}
"""Kernel -> bytes of local memory it may take. The factorized route's narrow kernels keep 16 sums a thread over a whole step
and park some of them; the materialized route's widest park two numbers on sm_80."""


@pytest.fixture(scope="module")
def nvcc() -> str:
    found = _build().find_nvcc()
    if found is None:
        pytest.skip("no nvcc: CUDA code is not compiled here")
    return found


@pytest.fixture(scope="module")
def objects(nvcc: str) -> Mapping[str, Path]:
    """The object files that the extension is linked from, built where they are not yet."""
    build = _build()
    try:
        build.run_ninja(["libmotive_cuda.a"], nvcc)
    except FileNotFoundError:
        pytest.skip("ninja is not installed")
    sources = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    return {source.stem: build.build_dir() / "cuda" / f"{source.stem}.o" for source in sources}


@pytest.fixture
def pinned(nvcc: str, objects: Mapping[str, Path]) -> Mapping[str, Path]:
    """The object files, where the compiler is the one whose machine code is checked."""
    require_nvcc(nvcc)
    return objects


@functools.cache
def _build() -> ModuleType:
    """csrc/build.py."""
    spec = importlib.util.spec_from_file_location("motive_native_build", ROOT / "csrc" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def cuobjdump(*arguments: str, folder: Path | None = None) -> str:
    """Output of NVIDIA's disassembler, from the toolkit or from Triton's package."""
    program = shutil.which("cuobjdump")
    if program is None:
        spec = importlib.util.find_spec("triton")
        if spec is None or spec.origin is None:
            pytest.skip("no cuobjdump: neither the CUDA toolkit's tools nor triton is installed")
        program = str(Path(spec.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump")
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True, cwd=folder).stdout


def resources(path: Path) -> list[tuple[str, str, int, int]]:
    """(architecture, kernel, registers a thread, bytes of stack a thread) of an object file."""
    found, architecture, kernel = [], "", ""
    for line in cuobjdump("--dump-resource-usage", str(path)).splitlines():
        if match := re.search(r"arch = (\S+)", line):
            architecture = match[1]
        elif match := re.search(r"Function (\S+):", line):
            kernel = match[1]
        elif match := re.search(r"REG:(\d+) STACK:(\d+)", line):
            found.append((architecture, kernel, int(match[1]), int(match[2])))
    return found


def wasteful(entries: list[tuple[str, str, int, int]]) -> list[str]:
    """Kernels that spill (but for what is parked), or take registers that would leave their threads alone."""
    return [
        f"{architecture} {kernel}: {registers} registers, {stack} bytes of stack"
        for architecture, kernel, registers, stack in entries
        if registers > 128 or stack > max((most for name, most in PARKED.items() if name.search(kernel)), default=0)
    ]


def test_resources(pinned: Mapping[str, Path]) -> None:
    """Machine code for A100 and Hopper, without spills; the numbers are kept in build/cuda-resources.tsv."""
    entries = [entry for path in pinned.values() for entry in resources(path)]
    lines = ["\t".join(map(str, entry)) for entry in sorted(entries)]
    (ROOT / "build" / "cuda-resources.tsv").write_text("\n".join(["arch\tkernel\tregisters\tstack", *lines]) + "\n")
    kernels = {arch: {kernel for entry, kernel, *_ in entries if entry == arch} for arch in ("sm_80", "sm_90a")}
    assert kernels["sm_80"] == kernels["sm_90a"]
    assert len(kernels["sm_80"]) > 50
    assert not wasteful(entries), "\n".join(wasteful(entries))


def test_shipped_ptx_makes_code_for_newer_cards(nvcc: str, objects: Mapping[str, Path], tmp_path: Path) -> None:
    """What the driver of a Blackwell card does with the PTX, done by the assembler of this toolkit if it knows sm_100."""
    require_nvcc(nvcc)
    beside = Path(nvcc).resolve().with_name("ptxas")
    assembler = str(beside) if beside.exists() else shutil.which("ptxas")
    if assembler is None:
        pytest.skip("no ptxas beside nvcc")
    if "sm_100" not in subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("this nvcc does not know sm_100")
    shipped: set[str] = set()
    for name, path in objects.items():
        shipped |= {kernel for architecture, kernel, *_ in resources(path) if architecture == "sm_80"}
        cuobjdump("--extract-ptx", "all", str(path), folder=tmp_path)
        for ptx in tmp_path.glob(f"{name}.*ptx"):
            subprocess.run([assembler, "-arch=sm_100", str(ptx), "-o", f"{ptx}.cubin"], check=True)
    entries = [entry for cubin in tmp_path.glob("*.cubin") for entry in resources(cubin)]
    assert {kernel for _, kernel, *_ in entries} == shipped
    assert not wasteful(entries), "\n".join(wasteful(entries))


@functools.cache
def machine_code(path: Path) -> str:
    """SASS of an object file's kernels for sm_90a."""
    return cuobjdump("--dump-sass", "--gpu-architecture", "sm_90a", str(path))


def sass(path: Path, kernel: str) -> str:
    """Machine code for sm_90a of the kernels whose mangled names hold a string."""
    text = machine_code(path)
    functions = re.split(r"\n\s*Function : ", text)[1:]
    chosen = [function for function in functions if kernel in function.partition("\n")[0]]
    assert chosen, f"no kernel {kernel} for sm_90a in {path}"
    return "\n".join(chosen)


@pytest.mark.parametrize(
    ("source", "kernel", "loads"),
    [
        ("tensor_sketch", "sketch_kernelINS_8bfloat16ELi2E", 8),
        ("tensor_sketch", "sketch_kernelIfLi2E", 8),
        ("outer_sketch_bfloat16", "outer_kernelINS_8bfloat16ELi9E", 8),
        ("outer_sketch_float32", "outer_kernelIfLi9E", 4),
        ("weighted_loss", "residual_kernelINS_8bfloat16ELi8E", 8),
        ("noise_latents", "mix_kernelINS_8bfloat16ELi8E", 2),
        ("motion_weights", "resize_kernelIfLi4E", 4),
    ],
)
def test_wide_independent_loads(pinned: Mapping[str, Path], source: str, kernel: str, loads: int) -> None:
    """16-byte loads into separate registers, so that all of them are under way at once."""
    code = sass(pinned[source], kernel)
    targets = re.findall(r"LDG\.E\.NA\.128\.CONSTANT (R\d+)", code)
    assert len(set(targets)) >= loads, f"{sorted(set(targets))} are the targets of {len(targets)} wide loads"


@pytest.mark.parametrize(
    ("source", "kernel", "stores"),
    [("noise_latents", "mix_kernelINS_8bfloat16ELi8E", 2), ("noise_latents", "mix_kernelIfLi4E", 2),
     ("weighted_loss", "residual_kernelINS_8bfloat16ELi8E", 4), ("weighted_loss", "residual_kernelIfLi4E", 4)],
)  # fmt: skip
def test_wide_stores(pinned: Mapping[str, Path], source: str, kernel: str, stores: int) -> None:
    """One instruction for 16 bytes, for each of the channels that are taken at once."""
    assert len(re.findall(r"STG\.E\.128 ", sass(pinned[source], kernel))) >= stores


def test_no_stores_of_bytes(pinned: Mapping[str, Path]) -> None:
    """No kernel writes bytes, and elements of the unaligned path are stored whole."""
    for name, path in pinned.items():
        stores = set(re.findall(r"\bSTG[.\w]*", machine_code(path)))
        assert not any(".U8" in store or ".S8" in store for store in stores), f"{name}: {stores}"


@pytest.mark.parametrize("architecture", counted_code.ARCHITECTURES)
def test_instruction_budgets(pinned: Mapping[str, Path], architecture: str) -> None:
    """The loops are no longer than what predictions are computed from, and not so much shorter that those are stale."""
    found = counted_code.counts(next(iter(pinned.values())).parent, architecture)
    budgets = counted_code.committed(architecture)
    wrong = {
        f"{kernel} {part}": (count, budgets[kernel][part])
        for kernel, parts in found.items()
        for part, count in parts.items()
        if not 0.9 * budgets[kernel][part] <= count <= 1.02 * budgets[kernel][part]
    }
    assert not wrong, f"(found, budget): {wrong}; if meant: python -m benchmarks.harness.machine_code --write"


@pytest.mark.parametrize("architecture", counted_code.ARCHITECTURES)
def test_no_fence_and_no_local_memory_inside_loops(pinned: Mapping[str, Path], architecture: str) -> None:
    bad = []
    for path in pinned.values():
        for name, code in counted_code.kernels(counted_code.disassembly(path, architecture)).items():
            parked = any(pattern.search(name) for pattern in PARKED)
            pattern = r"\b(MEMBAR|CCTL)" if parked else r"\b(MEMBAR|CCTL|LDL|STL)"
            bad += [f"{name}: {loop.count(pattern)}" for loop in code.loops() if loop.count(pattern)]
    assert not bad, bad


@pytest.mark.parametrize(
    ("source", "kernel", "shared"),
    [
        # Gather buffer of 2,048 slots and an empty one, four sums of 512 numbers, 512 row entries.
        ("tensor_sketch", "sketch_kernelINS_8bfloat16ELi2E", 2049 * 16 + 4 * 512 * 4 + 512 * 2),
        # Transforms of four pairs and two parts of 512 numbers, the gather buffer, eight magnitudes.
        ("outer_sketch_bfloat16", "outer_kernelINS_8bfloat16ELi9E", 2 * 4 * 512 * 4 + 2049 * 16 + 8 * 4),
    ],
)
@pytest.mark.parametrize(("architecture", "bytes_of_sm"), [("sm_90a", 228 * 1024), ("sm_80", 164 * 1024)])
def test_two_blocks_are_resident(
    pinned: Mapping[str, Path], source: str, kernel: str, shared: int, architecture: str, bytes_of_sm: int
) -> None:
    """Sixteen warps a multiprocessor of the sketch kernels, by registers and by shared memory."""
    taken = [regs for arch, name, regs, _ in resources(pinned[source]) if arch == architecture and kernel in name]
    assert len(taken) == 1
    assert 65536 // (-(-taken[0] // 8) * 8 * 256) >= 2
    assert bytes_of_sm // (shared + 1024) >= 2


@pytest.mark.parametrize("source", ["tensor_sketch", "outer_sketch_bfloat16", "outer_sketch_float32"])
def test_gathers_are_wide(pinned: Mapping[str, Path], source: str) -> None:
    code = sass(pinned[source], "Li2E" if source == "tensor_sketch" else "Li9E")
    assert "LDS.128" in code
    assert "STS.128" in code


def test_no_float_atomics(pinned: Mapping[str, Path]) -> None:
    """Sums are in a fixed order. The only atomic is the integer maximum of the factorized route, which has none."""
    for name, path in pinned.items():
        code = machine_code(path)
        atomics = set(re.findall(r"\b((?:ATOM|RED)[A-Z]*[.\w]*) ", code)) - {"REDUX.MAX"}
        allowed = {"ATOMS.MAX", "REDUX.MAX"} if name.startswith("outer_sketch_") else set()
        if name == "sjlt":
            allowed = {"REDUX.MAX"}
        assert atomics <= allowed, f"{name}: {atomics}"


def test_a_program_without_python_or_torch(objects: Mapping[str, Path], nvcc: str) -> None:
    """It links with the two archives alone, and says what is missing where there is no GPU."""
    program = _build().build_dir() / "standalone_cuda"
    _build().run_ninja([program.name], nvcc)
    result = subprocess.run([str(program)], check=False, capture_output=True, text=True)
    if torch.cuda.is_available():
        assert result.returncode == 0, result.stdout
        assert "GPU against CPU" in result.stdout
    else:
        assert result.returncode == 2
        assert result.stdout.startswith("CUDA says: ")


def test_extension_imports_without_a_driver(nvcc: str) -> None:
    """It says what is wrong with arguments, and with the machine, instead of failing to load."""
    pytest.importorskip("pybind11")
    build = _build()
    build.run_ninja(["cuda"], nvcc)
    spec = importlib.util.spec_from_file_location("motive_kernels._cuda", build.extension_path("cuda"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.driver_version() >= 0
    assert module.fastfood_shared_bytes(32768) == 4 * (32768 + 1024)
    with pytest.raises(ValueError, match="dtype must be 0"):
        module.TensorSketch(z=0, dtype=7, samples=1, dim=1, parts=[])
    sides = {f"{side}_{name}": 1 for side in ("x", "dy") for name in ("columns", "sample_stride", "token_stride")}
    pointers = dict.fromkeys(("z", "x_data", "x_table", "dy_data", "dy_table", "lengths"), 0)
    wide = module.OuterSketch(dtype=0, samples=1, tokens=1, dim=5000, scale=1.0, **pointers, **sides)
    with pytest.raises(ValueError, match="dim must be at most 2048, or 4096"):
        module.outer_sketch_into_workspace(wide)
    for missed in ("z", "parts"):
        fields = {"z": 0, "dtype": 0, "samples": 0, "dim": 1, "parts": []}
        del fields[missed]
        with pytest.raises(ValueError, match=rf"^TensorSketch: {missed} must be given"):
            module.TensorSketch(**fields)
    with pytest.raises(ValueError, match=r"^TensorSketch: keywords must be fields"):
        module.TensorSketch(z=0, dtype=0, samples=0, dim=1, parts=[], tensors=[])
    if not torch.cuda.is_available():
        args = module.TensorSketch(z=0, dtype=0, samples=0, dim=1, parts=[])
        with pytest.raises(RuntimeError, match="cudaGetDevice must succeed"):
            module.tensor_sketch_into(args, workspace=0, device=0, stream=0)
