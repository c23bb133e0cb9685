"""Missing packages of a bare machine come from folders, and compiled kernels can be read."""

from __future__ import annotations

import importlib
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks.harness import machine
from benchmarks.kernels import resources

RESOURCES = """
Fatbin elf code:
arch = sm_80
 Function _Z5firstPf:
  REG:99 STACK:0 SHARED:0 LOCAL:0
arch = sm_90a
 Function _Z5firstPf:
  REG:40 STACK:8 SHARED:2048 LOCAL:0
 Function _Z6secondv:
  REG:128 STACK:0 SHARED:0 LOCAL:0
"""

ELF = """
.nv.info._Z5firstPf
\tAttribute:\tEIATTR_MAX_THREADS
\tValue:\t0x100 0x1 0x1
.nv.info._Z6secondv
\tAttribute:\tEIATTR_MAX_THREADS
\tValue:\t0x200 0x1 0x1
"""


def wheel(folder: Path, name: str) -> Path:
    """A wheel of one module."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "ANSWER = 42\n")
        file.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


def test_wheels_of_a_folder_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SITE", tmp_path / "site")
    wheel(tmp_path / "wheels", "carried_package")
    assert machine.main(["wheels", str(tmp_path / "wheels")]) == 0
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert importlib.import_module("carried_package").ANSWER == 42
    sys.modules.pop("carried_package")
    assert machine.main(["wheels", str(tmp_path)]) == 1, "a folder without wheels is an error"


def test_peers_that_fail_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PEERS", tmp_path / "peers")
    folder = tmp_path / "given"
    wheel(folder, "aaa_peer")
    (folder / "sjlt-9.9.tar.gz").write_bytes(b"no archive")
    found = {row["peer"]: row["status"] for row in machine.peers(folder, 60)}
    assert found["aaa_peer-1.0-py3-none-any.whl"] == "built"
    assert found["sjlt-9.9.tar.gz"].startswith("not built: ")


def test_resources_of_an_object() -> None:
    first, second = resources.usages(RESOURCES, ELF)
    assert (first.registers, first.stack, first.shared, first.threads) == (40, 8, 2048, 256)
    assert first.resident == 0.75, "registers: 6 blocks of 8 warps, of 64"
    assert second.resident == 0.25, "one block of 512 threads with 128 registers"
    assert resources.Usage("x", 16, 0, 100 * 1024, 128).resident == 0.125, "shared memory: two blocks of four warps"
    assert resources.readable(["_ZN6motive4cuda4coolIfEEvPf"]) in (["cool<float>"], ["_ZN6motive4cuda4coolIfEEvPf"])
