"""The materialized route of the tensor sketch on the CPU (tensor_sketch_into) against reading the same memory once.

    python -m benchmarks.kernels.materialized_route [--quick] [--threads N] [--out DIR]

The ceiling is torch.sum over the gradients with the same threads, timed in turns with the sketch, round after round, so a
busy machine slows both alike. Target: at most twice torch.sum for [64, 1000, 1000] and [64, 1000000] float32. Other
projectors are in benchmarks.kernels.projection_types.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

import motive_kernels as mk
from benchmarks.harness.rows import Record, append
from benchmarks.kernels.projection_types import DIM, complete

CASES: tuple[tuple[int, tuple[int, ...], torch.dtype], ...] = (
    (64, (1000, 1000), torch.float32),
    (64, (1_000_000,), torch.float32),
    (64, (1000, 1000), torch.bfloat16),
    (8, (1536, 1536), torch.float32),
    (4, (1536, 8960), torch.float32),
    (1, (1536, 8960), torch.float32),
    (1, (8960, 1536), torch.bfloat16),
    (1, (1_000_000,), torch.float32),
)
"""(samples, shape of the parameter, type). Most are too large for a cache; the last is not, and has a table as large."""


def check() -> None:
    """Each case's form, smaller, against the float64 reference; nothing is timed if one is wrong."""
    for n, shape, dtype in CASES:
        small = tuple(length // 7 for length in shape) if len(shape) > 1 else (math.prod(shape) // 100,)
        projector = mk.Projector(mk.ProjectionSpec(dim=DIM), {"w": small})
        grad = torch.randn(n, *small, generator=torch.Generator().manual_seed(0)).to(dtype)
        want = torch.zeros(n, DIM, dtype=torch.float64)
        projector.project_into(want, "w", grad.double(), impl="torch")
        error = float((projector.project({"w": grad}, impl="cpp").double() - want).norm() / want.norm())
        if error > 1e-6:
            raise RuntimeError(
                f"benchmarks: tensor_sketch_into must be within 1e-6 of its reference, got {error:.1e} for {n} x {small}; "
                "run the tests"
            )


def in_turns(calls: list[Callable[[], Any]], rounds: int) -> list[list[float]]:
    """Milliseconds of each call in each round, after a round that is not counted."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds + 1):
        for call, found in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                found.append((time.perf_counter() - start) * 1e3)
    return times


def rows(rounds: int) -> Iterator[Record]:
    """A record of torch.sum and one of the sketch for each case."""
    for n, shape, dtype in CASES:
        grad = torch.randn(n, math.prod(shape), generator=torch.Generator().manual_seed(0)).to(dtype).reshape(n, *shape)
        projector = mk.Projector(mk.ProjectionSpec(dim=DIM), {"w": shape})
        z = projector.zeros(n)
        read, sketch = in_turns(
            [lambda g=grad: torch.sum(g), lambda p=projector, g=grad, z=z: p.project_into(z, "w", g, impl="cpp")],
            rounds,
        )
        ratio = median(ours / theirs for ours, theirs in zip(sketch, read, strict=True))
        common = {"dtype": str(dtype).removeprefix("torch."), "shape": [n, *shape], "bytes": grad.nbytes}
        for op, impl, times in (("read", "torch.sum", read), ("tensor_sketch_into", "cpp", sketch)):
            yield {
                "op": op,
                "impl": impl,
                **common,
                "flops": grad.numel(),
                "ms_median": median(times),
                "ms_min": min(times),
                "ms_max": max(times),
                "fraction_of_ceiling": 1.0 if op == "read" else 1 / ratio,
                "baseline": "torch.sum",
                "ratio": 1.0 if op == "read" else ratio,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of every row")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    check()
    print(f"{'op':18} {'implementation':14} {'type':8} {'shape':>20} {'ms':>8} {'least':>8} {'GB/s':>6} {'ratio':>6}")
    for record in map(complete, rows(3 if options.quick else 15)):
        shape = " x ".join(map(str, record["shape"]))
        speed = record["bytes"] / record["ms_median"] / 1e6
        print(
            f"{record['op']:18} {record['impl']:14} {record['dtype']:8} {shape:>20} {record['ms_median']:8.2f} "
            f"{record['ms_min']:8.2f} {speed:6.1f} {record['ratio']:6.2f}",
            flush=True,
        )
        append(options.out, record)


if __name__ == "__main__":
    main()
