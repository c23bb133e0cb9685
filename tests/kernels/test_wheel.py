"""A wheel of this tree runs where there is torch, NumPy and safetensors, and neither a compiler nor CUDA."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = sorted((ROOT / "motive_kernels").glob("_c*.so"))
SYSTEM = {
    "libc",
    "libm",
    "libpthread",
    "libdl",
    "librt",
    "libstdc++",
    "libgcc_s",
    "ld-linux-x86-64",
    "ld-linux-aarch64",
}
"""Libraries that every Linux has. No torch among them: the extensions take addresses and sizes, so any torch will do."""

PROGRAM = Path(__file__).with_name("wheel_program.py")


def needs(package: str, found: set[str]) -> set[str]:
    """A package and all that it needs, by the names of their distributions."""
    name = re.sub(r"[-_.]+", "-", package).lower()
    if name in found:
        return found
    try:
        wanted = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return found
    found.add(name)
    for requirement in wanted:
        if "extra ==" not in requirement:
            needs(re.split(r"[ <>=!~;\[(]", requirement, maxsplit=1)[0], found)
    return found


def fresh_environment(folder: Path) -> tuple[Path, Path]:
    """A virtual environment that sees torch, NumPy, safetensors and what they need: its Python and its packages."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    for name in sorted({dist for base in ("torch", "numpy", "safetensors") for dist in needs(base, set())}):
        if name == "triton":
            continue  # for torch.compile on a GPU
        distribution = importlib.metadata.distribution(name)
        for top in {path.parts[0] for path in distribution.files or [] if path.parts[0] not in ("..", "__pycache__")}:
            source = Path(str(distribution.locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    return folder / "bin" / "python", site


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This tree as a wheel; what is compiled already is not compiled again."""
    if not BUILT:
        pytest.skip("the extensions are not built in place: python setup.py build_ext --inplace")
    for package in ("pip", "setuptools", "ninja", "pybind11"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    for old in (ROOT / "build").glob("lib.*"):
        shutil.rmtree(old)  # setuptools would pack modules that are gone from the tree
    folder = tmp_path_factory.mktemp("wheel")
    choice = "1" if any(path.name.startswith("_cuda") for path in BUILT) else "0"
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", str(folder), "."]
    environment = {**os.environ, "MOTIVE_CUDA": choice, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(folder.glob("motive-*.whl"))


@pytest.mark.long("builds a wheel of the tree")
def test_content(wheel: Path) -> None:
    """All modules, data and extensions of the tree, and nothing besides."""
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in ("motive", "motive_kernels")
        for path in (ROOT / package).rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    assert {name for name in packed if name.endswith((".py", "py.typed"))} == modules
    assert {Path(name).name for name in packed if name.endswith(".so")} == {path.name for path in BUILT}
    assert any(name.startswith("motive/toy/checkpoint/") for name in packed)
    assert {name.partition("/")[0] for name in packed} == {"motive", "motive_kernels"}


@pytest.mark.parametrize("extension", BUILT, ids=lambda path: path.name.partition(".")[0])
def test_extensions_need_nothing_but_the_system(extension: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    dynamic = subprocess.run(["readelf", "-d", str(extension)], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[([^\].]+)", dynamic))
    assert "libstdc++" in needed
    assert needed <= SYSTEM
    assert not re.findall(r"\((?:RPATH|RUNPATH)\).*", dynamic), "a path of this machine is built in"


@pytest.mark.long("builds a wheel of the tree")
def test_runs_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    python, site = fresh_environment(tmp_path / "fresh")
    zipfile.ZipFile(wheel).extractall(site)
    # No PATH, so no compiler, nvcc or ninja; no PYTHON variables, so nothing of this tree.
    result = subprocess.run(
        [str(python), "-I", "-W", "error", str(PROGRAM)], cwd=tmp_path, env={}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert all(Path(place).is_relative_to(site) for place in printed["places"]), printed["places"]
    assert printed["loaded"] == []
    assert printed["identity"].startswith("tensor_sketch-32-0-")
