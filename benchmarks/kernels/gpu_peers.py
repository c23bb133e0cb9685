"""Every projection type of the same gradients on a GPU, compared with other packages: one run, the same memory.

    python -m benchmarks.kernels.gpu_peers [--peers DIR --seconds S] [--quick] [--rehearse] [--out DIR] [--again]

Gradients [8, 1024, 1024] to 512 numbers. Compared with ours: plain torch, torch.compile of it, a product with the explicit
matrix, and the packages sjlt, fast_hadamard_transform and fast_jl where they can be imported (--peers
installs wheels and builds sources first, in half of the time). A package that is absent or fails is a row with its
reason.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

import motive_kernels as mk
from benchmarks.harness import machine
from benchmarks.harness.device import Call, Ceilings, Setting, ceilings, clocked, measure, parse, synchronize
from benchmarks.harness.rows import Record, Sink
from benchmarks.kernels.gpu import DIM, tables
from motive_kernels.ops.tensor_sketch import reference

SAMPLES, ROWS, COLUMNS = 8, 1024, 1024
TILE = 2**14
"""Columns of one block of the Fastfood that is put together from a Hadamard transform."""

TYPES = ("tensor_sketch", "sjlt", "fastfood", "kronecker", "rademacher", "gaussian")
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, ImportError, TorchDynamoException)
"""What a foreign package that does not fit this machine raises."""


def ours(type_name: str, grad: Tensor) -> Call:
    """A type of ours, by the implementation that is chosen for this device."""
    projector = mk.Projector(mk.ProjectionSpec(type_name, DIM), {"w": tuple(grad.shape[1:])})
    z = projector.zeros(len(grad), grad.device)
    return partial(projector.project_into, z, "w", grad)


def plain(grad: Tensor, setting: Setting, wrap: Callable[[Callable], Callable]) -> Call:
    """The definition of tensor_sketch in plain torch."""
    rows, columns = tables("peers", grad.shape[1], grad.shape[2], setting)
    run = wrap(reference.tensor_sketch_into)
    z = torch.zeros(len(grad), DIM, device=grad.device)
    return lambda: run(z, grad, rows, columns, 1.0)


def dense(grad: Tensor) -> Call:
    """A product with an explicit matrix of random signs, in the gradients' type."""
    width = grad[0].numel()
    matrix = (torch.randint(0, 2, (width, DIM), device=grad.device, dtype=torch.int8) * 2 - 1).to(grad.dtype)
    flat = grad.reshape(len(grad), -1)
    return lambda: flat @ matrix


def sjlt(grad: Tensor) -> Call:
    projection = importlib.import_module("sjlt").SJLTProjection(grad[0].numel(), DIM, c=1, device=grad.device)
    flat = grad.reshape(len(grad), -1)
    return lambda: projection(flat)


def hadamard(grad: Tensor) -> Call:
    """Fastfood put together by hand: signs, transform, permutation, Gaussian, transform; blocks are added up."""
    transform = importlib.import_module("fast_hadamard_transform").hadamard_transform
    tile = min(TILE, grad[0].numel())
    blocks = grad.reshape(len(grad), -1, tile)
    device = grad.device
    signs = (torch.randint(0, 2, blocks.shape[1:], device=device) * 2 - 1).to(grad.dtype)
    gauss = torch.randn(blocks.shape[1:], device=device, dtype=grad.dtype)
    order = torch.stack([torch.randperm(tile, device=device) for _ in range(blocks.shape[1])])

    def call() -> Tensor:
        mixed = transform(blocks * signs).gather(2, order.expand(blocks.shape)) * gauss
        return transform(mixed).sum(1)[:, :DIM]

    return call


def fast_jl(grad: Tensor) -> Call:
    package = importlib.import_module("fast_jl")
    flat = grad.reshape(len(grad), -1).contiguous()
    count = torch.cuda.get_device_properties(0).multi_processor_count
    return lambda: package.project_rademacher_8(flat, DIM, 0, count)


def contestants(grad: Tensor, setting: Setting) -> Iterator[tuple[str, str, Callable[[], Call]]]:
    """(type_name, by whom, what makes the call)."""
    backend = "eager" if setting.rehearsal else "inductor"
    for type_name in TYPES:
        yield type_name, "motive_kernels", partial(ours, type_name, grad)
    yield "tensor_sketch", "torch", partial(plain, grad, setting, lambda f: f)
    compiled = partial(torch.compile, dynamic=False, backend=backend)
    yield "tensor_sketch", "torch.compile", partial(plain, grad, setting, compiled)
    yield "dense", "torch matmul", partial(dense, grad)
    if grad.dtype == torch.float32:
        yield "sjlt", "sjlt", partial(sjlt, grad)
        yield "rademacher", "fast_jl", partial(fast_jl, grad)
    yield "fastfood", "fast_hadamard_transform", partial(hadamard, grad)


def rows(dtype: torch.dtype, limit: Ceilings, setting: Setting) -> Iterator[Record]:
    """One row for each contestant on gradients of one type."""
    grad = setting.random(SAMPLES, setting.length(ROWS), setting.length(COLUMNS), dtype=dtype)
    name = str(dtype).removeprefix("torch.")
    base = measure(lambda: grad.sum(), setting, flush=True)["ms_median"]
    for type_name, who, make in contestants(grad, setting):
        about = {"op": type_name, "impl": who, "route": "materialized", "dtype": name, "shape": list(grad.shape),
                 "bytes": grad.nbytes, "flops": None}  # fmt: skip
        try:
            call = make()
            call()
            synchronize(setting.device)
        except FAILURES as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
            yield {**about, "not_measured": reason}
            continue
        times = measure(call, setting, flush=True)
        yield {**about, **times, "fraction_of_ceiling": grad.nbytes / limit.read / times["ms_median"],
               "baseline": "torch.sum", "ratio": times["ms_median"] / base}  # fmt: skip


def show(row: Record) -> None:
    figures = row.get("not_measured") or f"{row['ms_median']:9.3f} ms {row['ratio']:9.2f} x torch.sum"
    print(f"{row['op']:14} {row['impl']:24} {row['dtype']:9} {figures}", flush=True)


def build_rows(folder: Path, seconds: float) -> Iterator[Record]:
    """A row for each package of a folder: built, or why not."""
    for row in machine.peers(folder, seconds):
        print(f"{row['peer']}: {row['status']} ({row['seconds']} s)", flush=True)
        yield {"op": "build", "impl": row["peer"], "status": row["status"], "seconds": row["seconds"]}


def main(arguments: list[str] | None = None) -> int:
    def extend(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--peers", type=Path, help="folder of packages to install first")
        parser.add_argument("--seconds", type=float, default=300.0, help="for everything")

    setting, options = parse(__doc__ or "", arguments, extend)
    if setting is None:
        return 0
    if options.peers is not None:
        note = Sink(options.out, setting.common("peers"), again=True)
        note.take("built peers", build_rows(options.peers, options.seconds / 2))
        sys.path.insert(0, str(machine.PEERS))
    limit = ceilings(setting, options.out)
    sink = Sink(options.out, setting.common("kernels"), show, options.again)
    for dtype in (torch.float32, torch.bfloat16):
        sink.take(f"peers/{str(dtype).removeprefix('torch.')}", clocked(rows(dtype, limit, setting), setting))
    return 0


if __name__ == "__main__":
    sys.exit(main())
