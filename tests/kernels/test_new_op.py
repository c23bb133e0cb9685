"""A new op is its own files and nothing else: lists, build, bindings and checks find it by its folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL, NEW = "noise_latents", "copied_latents"
FILES = (
    *(f"motive_kernels/ops/{MODEL}/{name}.py"
      for name in ("__init__", "api", "cases", "compiled", "reference", "triton")),
    f"csrc/include/motive/{MODEL}.h",
    f"csrc/include/motive/cuda/{MODEL}.h",
    f"csrc/cpu/{MODEL}.cpp",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "csrc" / "cuda").glob(f"{MODEL}.*"))),
    f"csrc/python/bind_{MODEL}.cpp",
)  # fmt: skip
"""What is copied under another name; a new op also has its own tests and an export."""

QUESTION = """
import sys
sys.path.insert(0, "csrc")
import build
import motive_kernels as mk
import torch
from motive_kernels.ops import registry
from motive_kernels.ops.cases import Draw
build.write_ninja("nvcc")
print(mk.__file__)
print("copied_latents" in registry.names())
print(sorted(mk.implementations()["copied_latents"]))
print({case.op for case in registry.cases("copied_latents").small(Draw(torch.float32))})
"""


def renamed(text: str) -> str:
    return text.replace(MODEL, NEW).replace("NoiseLatents", "CopiedLatents")


def test_a_new_op_is_found_everywhere(tmp_path: Path) -> None:
    pytest.importorskip("pybind11")
    shutil.copytree(
        ROOT / "motive_kernels", tmp_path / "motive_kernels", ignore=shutil.ignore_patterns("*.so", "__py*")
    )
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc", ignore=shutil.ignore_patterns("__py*"))
    for name in FILES:
        target = tmp_path / renamed(name)
        target.parent.mkdir(exist_ok=True)
        target.write_text(renamed((ROOT / name).read_text()))
    answer = subprocess.run(
        [sys.executable, "-c", QUESTION],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == [
        str(tmp_path / "motive_kernels" / "__init__.py"),
        "True",
        "['cpp', 'cuda', 'torch', 'triton']",
        "{'copied_latents'}",
    ]
    (ninja,) = tmp_path.glob("build/*/build.ninja")
    steps = ninja.read_text()
    for level in ("baseline", "avx2", "avx512") if "avx512" in steps else ("baseline",):
        assert f"build cpu/{level}/{NEW}.o:" in steps
    assert f"build cuda/{NEW}.o:" in steps
    for device in ("cpu", "cuda"):
        (bindings,) = ninja.parent.glob(f"*/{device}_bindings.cpp")
        assert f"bind_{NEW}.cpp" in bindings.read_text()
