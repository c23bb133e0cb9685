"""Runs the thread functions of the CUDA kernels on the CPU, thread after thread (csrc/cuda/host)."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from motive_kernels.runtime.native import DTYPE_CODES

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "csrc" / "cuda" / "host"
FLAGS = [
    "-std=c++17",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",
    "-fsanitize=address,signed-integer-overflow,alignment",
    "-fno-sanitize-recover=all",
]


@functools.cache
def program() -> Path:
    """The emulator, compiled when a source has changed.

    One object a source; a header's change rebuilds all. Processes of one test run wait for each other.
    """
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder = ROOT / "build" / "cuda-emulation"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _built(compiler, folder)


def _built(compiler: str, folder: Path) -> Path:
    headers = sorted([*(ROOT / "csrc" / "include").rglob("*.h"), *(ROOT / "csrc" / "cuda").rglob("*.h")])
    shared = " ".join([compiler, *FLAGS]).encode() + b"".join(path.read_bytes() for path in headers)
    with ThreadPoolExecutor(2) as pool:
        sources = sorted(SOURCES.glob("*.cpp"))
        objects = list(pool.map(lambda source: _compiled(compiler, source, shared, folder), sources))
    digest = hashlib.sha256(" ".join(path.name for path in objects).encode()).hexdigest()[:16]
    target = folder / f"emulate-{digest}"
    if not target.exists():
        _run([compiler, *FLAGS, *map(str, objects), "-o", str(target)], target)
    return target


def _compiled(compiler: str, source: Path, shared: bytes, folder: Path) -> Path:
    digest = hashlib.sha256(shared + source.read_bytes()).hexdigest()[:16]
    target = folder / f"{source.stem}-{digest}.o"
    if not target.exists():
        include = f"-I{ROOT / 'csrc' / 'include'}"
        _run([compiler, *FLAGS, include, "-c", str(source), "-o", str(target)], target)
    return target


def _run(command: list[str], target: Path) -> None:
    """Run a compiler whose last argument is where it writes; the file appears only when it is complete."""
    with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".tmp", delete=False) as temporary:
        command = [*command[:-1], temporary.name]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"
    Path(temporary.name).chmod(0o755)
    Path(temporary.name).replace(target)


class Job:
    """Arguments of one emulated call, written to a folder."""

    def __init__(self, op: str, folder: Path) -> None:
        self._folder, self._words, self._arrays = folder, [op], 0

    def add(self, *values: Any) -> Job:
        """Numbers as words, tensors and arrays as files, None as a null pointer."""
        for value in values:
            if value is None:
                self._words.append("none")
            elif isinstance(value, Tensor):
                self._words.append(self._file(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy()))
            elif isinstance(value, np.ndarray):
                self._words.append(self._file(np.ascontiguousarray(value)))
            else:
                self._words.append(repr(value) if isinstance(value, float) else str(int(value)))
        return self

    def run(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The array that the emulator wrote, flat."""
        (self._folder / "job.txt").write_text("\n".join(self._words))
        result = subprocess.run([str(program()), str(self._folder)], capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"the emulator failed:\n{result.stderr[-4000:]}"
        return self.output("out.bin", dtype)

    def output(self, name: str, dtype: torch.dtype) -> Tensor:
        """A further array that the emulator wrote, after run."""
        data = np.fromfile(self._folder / name, dtype=np.uint8)
        return torch.from_numpy(data).view(dtype)

    def _file(self, array: np.ndarray) -> str:
        name = f"array{self._arrays}.bin"
        self._arrays += 1
        array.tofile(self._folder / name)
        return name


def storage_and_offset(tensor: Tensor) -> tuple[Tensor, int]:
    """All memory behind a tensor as one flat tensor, and where the tensor begins in it."""
    flat = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())  # type: ignore[arg-type]
    return flat, tensor.storage_offset()


def tensor_sketch(
    folder: Path,
    z: Tensor,
    tensors: Sequence[tuple[Tensor, Tensor, Tensor, float]],
    descending: bool = False,
) -> Tensor:
    """z plus the sketch of each (grad [n, o, i], rows, columns, scale)."""
    job = Job("tensor_sketch", folder)
    job.add(descending, DTYPE_CODES[tensors[0][0].dtype], z.shape[0], z.shape[1], z, len(tensors))
    for grad, rows, columns, scale in tensors:
        flat, offset = storage_and_offset(grad)
        job.add(flat, offset, grad.shape[1], grad.shape[2], grad.stride(0), grad.stride(1), rows, columns, scale)
    return job.run().reshape(z.shape)


def outer_sketch(
    folder: Path,
    z: Tensor,
    x: Tensor,
    dy: Tensor,
    rows: Tensor,
    columns: Tensor,
    lengths: Tensor | None = None,
    scale: float = 1.0,
    descending: bool = False,
) -> Tensor:
    """z plus the sketch of sum_t dy_t x_t^T for x [n, t, i], dy [n, t, o]."""
    job = Job("outer_sketch", folder)
    job.add(descending, DTYPE_CODES[x.dtype], z.shape[0], x.shape[1], z.shape[1], z, scale, lengths)
    for side, table in ((x, columns), (dy, rows)):
        flat, offset = storage_and_offset(side)
        job.add(flat, offset, side.shape[2], side.stride(0), side.stride(1), table)
    return job.run().reshape(z.shape)
