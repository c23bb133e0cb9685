"""Speed of every projection type on the CPU, compared with the projectors of traker and dattri where they are installed.

    python -m benchmarks.kernels.projection_types [--quick] [--threads N] [--out DIR]

Gradients [64, 1000, 1000] (and one sample of the same) to 512 numbers. The ceilings are measured first: reading the
gradients once (torch.sum) for types with a few operations an entry, a float32 matrix product for dense ones.
Targets: rademacher at least 20 times as fast as either peer; tensor_sketch at most twice torch.sum.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import math
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import motive_kernels as mk
from benchmarks.harness.rows import Record, append, commit

ROWS, COLUMNS, DIM = 1000, 1000, 512
TYPES: list[tuple[str, dict[str, Any]]] = [
    ("tensor_sketch", {}),
    ("sjlt", {}),
    ("sjlt", {"s": 4}),
    ("fastfood", {}),
    ("kronecker", {}),
    ("rademacher", {}),
    ("gaussian", {}),
]
DENSE = {"rademacher": "rademacher", "gaussian": "normal"}
"""Dense types (the op dense_projection_into) and the peers' names for them."""


def measure(run: Callable[[], Any], budget_s: float, repeats: int) -> dict[str, float]:
    """Wall and CPU times of up to `repeats` runs, fewer if they fill the budget, after one that is not counted."""
    run()
    wall, cpu, begin = [], [], time.perf_counter()
    while len(wall) < repeats and (not wall or time.perf_counter() - begin < budget_s):
        start, cpu_start = time.perf_counter(), time.process_time()
        run()
        wall.append((time.perf_counter() - start) * 1e3)
        cpu.append((time.process_time() - cpu_start) * 1e3)
    return {"ms_median": median(wall), "ms_min": min(wall), "ms_max": max(wall), "cpu_ms_min": min(cpu)}


def check() -> None:
    """Every type against its float64 reference; nothing is timed if one is wrong."""
    grad = torch.randn(3, 40, 311, generator=torch.Generator().manual_seed(0))
    for type_name, options in TYPES:
        projector = mk.Projector(mk.ProjectionSpec(type_name, DIM, 0, options), {"w": (40, 311)})
        want = torch.zeros(3, DIM, dtype=torch.float64)
        projector.project_into(want, "w", grad.double(), impl="torch")
        error = float((projector.project({"w": grad}).double() - want).norm() / grad.norm())
        if error > 1e-5:
            raise RuntimeError(
                f"benchmarks: {type_name} must be within 1e-5 of its reference, got {error:.1e}; run the tests"
            )


def operations(type_name: str, options: dict[str, Any], n: int) -> float:
    """Additions and multiplications of the textbook form of a type."""
    rows = 16
    each = {
        "tensor_sketch": 1.0,
        "sjlt": float(options.get("s", 1)),
        "fastfood": math.log2(2**14) + 2,
        "kronecker": 2.0 * min(rows, DIM // rows),
        "rademacher": 2.0 * DIM,
        "gaussian": 2.0 * DIM,
    }[type_name]
    return each * n * ROWS * COLUMNS


def peers(grad: Tensor) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """(name, our type, call) for each peer that is installed."""
    flat = grad.reshape(len(grad), -1)
    if importlib.util.find_spec("trak") is not None:
        projectors = importlib.import_module("trak.projectors")
        for type_name, theirs in DENSE.items():
            projector = projectors.BasicProjector(
                ROWS * COLUMNS, DIM, 0, projectors.ProjectionType(theirs), torch.device("cpu"), block_size=100
            )
            yield "traker BasicProjector", type_name, lambda projector=projector: projector.project(flat, 0)
    if importlib.util.find_spec("dattri") is not None:
        random_project = importlib.import_module("dattri.func.projection").random_project
        for type_name, theirs in DENSE.items():
            project = random_project(flat, len(flat), DIM, len(flat), 0, theirs, device="cpu")
            yield "dattri random_project", type_name, lambda project=project: project(flat)


def ceilings(grad: Tensor, repeats: int) -> dict[str, float]:
    """Milliseconds to read the gradients once, and float32 operations a millisecond of a square matrix product."""
    a = torch.randn(1536, 1536)
    product_ms = measure(lambda: a @ a, 5, repeats)["ms_min"]
    return {"read_ms": measure(lambda: torch.sum(grad), 5, repeats)["ms_min"], "flops_per_ms": 2 * 1536**3 / product_ms}


def rows(quick: bool) -> Iterator[Record]:
    """One record for each ceiling, type_name, batch size and type, and peer."""
    repeats, budget_s = (3, 5.0) if quick else (11, 20.0)
    all_samples = torch.randn(64, ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    for n, dtype in ((64, torch.float32), (1, torch.float32), (64, torch.bfloat16)):
        grad = all_samples[:n].to(dtype)
        limit = ceilings(grad, repeats)
        shape = {"dtype": str(dtype).removeprefix("torch."), "shape": [n, ROWS, COLUMNS], "bytes": grad.nbytes}
        yield {"op": "read", "impl": "torch.sum", **shape, **measure(lambda g=grad: torch.sum(g), budget_s, repeats)}
        rivals: dict[str, float] = {}
        if dtype == torch.float32 and (n == 64 or not quick):
            for name, type_name, run in peers(grad):
                times = measure(run, 0 if quick else budget_s, repeats)
                rivals[type_name] = min(times["ms_median"], rivals.get(type_name, math.inf))
                yield {"op": type_name, "impl": name, **shape, "flops": operations(type_name, {}, n), **times}
        for type_name, options in TYPES:
            yield our_row(type_name, options, grad, limit, rivals, (budget_s, repeats)) | shape


def our_row(
    type_name: str,
    options: dict[str, Any],
    grad: Tensor,
    limit: dict[str, float],
    rivals: dict[str, float],
    effort: tuple[float, int],
) -> Record:
    """One of our types on one tensor."""
    projector = mk.Projector(mk.ProjectionSpec(type_name, DIM, 0, options), {"w": (ROWS, COLUMNS)})
    z = projector.zeros(len(grad))
    times = measure(lambda: projector.project_into(z, "w", grad), *effort)
    flops = operations(type_name, options, len(grad))
    floor_ms = max(limit["read_ms"], flops / limit["flops_per_ms"] if type_name in DENSE else 0.0)
    peer = rivals.get(type_name)
    baseline_ms = (peer if type_name in DENSE else limit["read_ms"]) or math.nan
    return {
        "op": type_name + "".join(f" {name}={value}" for name, value in options.items()),
        "impl": "cpp",
        "flops": flops,
        **times,
        "fraction_of_ceiling": floor_ms / times["ms_median"],
        "baseline": "faster peer" if type_name in DENSE else "torch.sum",
        "ratio": None if math.isnan(baseline_ms) else times["ms_median"] / baseline_ms,
    }


def complete(record: Record) -> Record:
    """The record with what is the same for the whole run."""
    return {
        "suite": "kernels",
        "route": "materialized",
        "device": f"cpu, {torch.get_num_threads()} threads",
        **record,
        "commit": commit(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def show(record: Record) -> None:
    """Print one line of the table."""
    fraction, ratio = record.get("fraction_of_ceiling"), record.get("ratio")
    print(
        f"{record['op']:14} {record['impl']:22} {record['dtype']:9} n={record['shape'][0]:<3} "
        f"{record['ms_median']:9.2f} {record['ms_min']:9.2f} {record['cpu_ms_min']:9.2f} "
        f"{'' if fraction is None else f'{fraction:8.2f}'} "
        f"{'' if ratio is None else f'{ratio:8.4f} x ' + record['baseline']}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions; peers once")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of every row")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    check()
    print(
        f"{'type_name':14} {'implementation':22} {'type':9} {'':5} {'ms':>9} {'least':>9} {'cpu ms':>9} {'of ceiling':>8}"
    )
    for record in rows(options.quick):
        record = complete(record)
        show(record)
        append(options.out, record)


if __name__ == "__main__":
    main()
