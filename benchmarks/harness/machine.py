"""The machine of a run: what is there, the extensions built in place, and packages from folders, all without a network.

python -m benchmarks.harness.machine versions
python -m benchmarks.harness.machine build
python -m benchmarks.harness.machine wheels DIR            wheels of what the machine lacks, put into build/session/site

Packages to compare with (wheels, source archives, source trees) are installed likewise, each with a time limit, by
benchmarks.kernels.gpu_peers.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "build" / "session"
"""Where packages of a run are installed; nothing outside the tree is touched."""

SITE, PEERS = PLACE / "site", PLACE / "peers"
IMPORTED = {"fast_jl": "fast_jl", "fast_hadamard_transform": "fast_hadamard_transform", "sjlt": "sjlt"}
"""The start of a file's name -> what must be importable once it is installed."""


def versions() -> None:
    """Print the machine, for the record."""
    import torch

    from motive_kernels import implementations

    found: dict[str, Any] = {"python": sys.version.split()[0], "torch": torch.__version__, "cuda": torch.version.cuda}
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        found |= {
            "card": about.name,
            "multiprocessors": about.multi_processor_count,
            "memory_bytes": about.total_memory,
            "l2_bytes": getattr(about, "L2_cache_size", None),
        }
    print(json.dumps(found))
    print(json.dumps(implementations()["tensor_sketch_into"]))
    for command in (["nvidia-smi"], ["nvcc", "--version"], [sys.executable, "-m", "pip", "list"]):
        if shutil.which(command[0]):
            subprocess.run(command, check=False)


def build() -> None:
    """Compile both extensions and put them next to the Python code, without setuptools."""
    sys.path.insert(0, str(ROOT / "csrc"))
    native = importlib.import_module("build")
    nvcc = native.find_nvcc()
    devices = ["cpu"] if nvcc is None else ["cuda", "cpu"]
    native.run_ninja(devices, nvcc)
    for device in devices:
        built = native.extension_path(device)
        shutil.copyfile(built, ROOT / "motive_kernels" / built.name)


def install(sources: list[str], target: Path, limit_s: float | None = None) -> str | None:
    """Put packages into a folder by pip, offline and without what they depend on; the reason where that fails."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    command += ["--no-compile", "--disable-pip-version-check", "--upgrade", "--target", str(target), *sources]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit_s, env=build_environment()
        )
    except subprocess.TimeoutExpired:
        return f"took longer than {limit_s:.0f} s"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if "rror" in line]
    return (lines or ["pip failed"])[0][:200]


def build_environment() -> dict[str, str]:
    """For extensions of torch: machine code of this card alone, and the toolkit that nvcc belongs to."""
    found = dict(os.environ)
    nvcc = shutil.which("nvcc")
    if nvcc and "CUDA_HOME" not in found:
        found["CUDA_HOME"] = str(Path(nvcc).resolve().parent.parent)
    found.setdefault("TORCH_CUDA_ARCH_LIST", "9.0")
    found.setdefault("MAX_JOBS", str(os.cpu_count() or 2))
    return found


def wheels(folder: Path) -> str | None:
    """Install every wheel of a folder; the reason where that fails."""
    found = sorted(str(path) for path in folder.glob("*.whl"))
    return install(found, SITE) if found else f"{folder} holds no wheels"


def peers(folder: Path, total_s: float) -> Iterator[dict[str, Any]]:
    """Install each entry of a folder (wheel, source archive or source tree) in a fair part of the time."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    begin = time.monotonic()
    for number, path in enumerate(entries):
        limit_s = (total_s - (time.monotonic() - begin)) / (len(entries) - number)
        start = time.monotonic()
        reason = install([str(path)], PEERS, max(1.0, limit_s)) or import_reason(path)
        status = "built" if reason is None else f"not built: {reason}"
        yield {"peer": path.name, "status": status, "seconds": round(time.monotonic() - start, 1)}


def import_reason(path: Path) -> str | None:
    """Why a peer that is installed cannot be imported; None if it can, or is not one that is known here."""
    name = path.name.replace("-", "_").lower()
    module = next((module for start, module in IMPORTED.items() if name.startswith(start)), None)
    if module is None:
        return None
    code = f"import sys, torch; sys.path.insert(0, {str(PEERS)!r}); import {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["cannot be imported"])[-1][:200]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("versions")
    verbs.add_parser("build")
    verbs.add_parser("wheels").add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if options.verb == "versions":
        versions()
    elif options.verb == "build":
        build()
    else:
        reason = wheels(options.folder)
        if reason is not None:
            print(f"wheels: {reason}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
