"""The compilers whose machine code is checked; under others those checks are skipped by name."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
from pathlib import Path

import pytest

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
NVCC = "13.0"
"""Another release allocates registers and orders loads in another way, and is not wrong for that."""


def require_nvcc(nvcc: str) -> None:
    """Skip the test unless this is the pinned release of nvcc."""
    said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release (\d+\.\d+)", said)
    if found is None or found[1] != NVCC:
        pytest.skip(f"machine code is checked with nvcc {NVCC}, this is {found[1] if found else 'unknown'}")


def require_package(name: str) -> None:
    """Skip the test unless the package has the version of constraints.txt."""
    pinned = re.search(rf"^{name}==(\S+)$", CONSTRAINTS.read_text(), re.MULTILINE)
    assert pinned, f"constraints.txt does not pin {name}"
    found = importlib.metadata.version(name)
    if found != pinned[1]:
        pytest.skip(f"machine code is checked with {name} {pinned[1]}, this is {found}")
