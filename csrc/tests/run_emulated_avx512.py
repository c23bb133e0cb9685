"""Runs the AVX-512 code on a processor without it: the C++ tests, then the Python tests of the CPU kernels.

    CPATH=<parent folder of simde/> python csrc/tests/run_emulated_avx512.py [pytest argument ...]

Needs the headers of SIMDe (https://github.com/simd-everywhere/simde; a system package has them where the compiler looks
anyway) and takes about eight minutes of processor time. The built extension in motive_kernels/ stays as it is.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ("every_op", "golden_vectors", "projection_types", "sketch_statistics", "tables")
"""Tests of the CPU kernels that are not of one op."""

EXTENSION = "motive_kernels._cpu"


def main(arguments: list[str]) -> int:
    build = module_at("motive_native_build", ROOT / "csrc" / "build.py")
    build.run_ninja(["emulated_avx512"], None)
    for variant in ("avx512", "vnni"):
        for source in sorted((ROOT / "csrc" / "tests").glob("*.cpp")):
            subprocess.run([build.build_dir() / "checked" / f"{source.stem}_{variant}"], check=True)
    extension = module_at(EXTENSION, build.build_dir() / "emulated" / build.extension_path("cpu").name)
    print("level", extension.level())
    return pytest.main([*map(str, tests()), *arguments])


def tests() -> list[Path]:
    """Every op's own tests, found by its folder, and the shared ones."""
    folder = ROOT / "tests" / "kernels"
    ops = [path.parent.name for path in (ROOT / "motive_kernels" / "ops").glob("*/api.py")]
    return sorted({path for name in [*ops, *SHARED] for path in folder.glob(f"test_{name}*.py")})


def module_at(name: str, path: Path) -> ModuleType:
    """The module of a file, which every later import of its name gets."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
