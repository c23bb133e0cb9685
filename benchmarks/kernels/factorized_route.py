"""The factorized route on the CPU (outer_sketch_into): inputs and output gradients of one Linear to 512 numbers.

    python -m benchmarks.kernels.factorized_route [--quick] [--threads N] [--out DIR]

The baseline is the weight-gradient product dY^T X alone, which this route replaces. Target: at most 0.25 of it at
1536 x 1536 and 1024 tokens.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

import motive_kernels as mk
from benchmarks.harness.rows import Record, append
from benchmarks.kernels.projection_types import DIM, complete, measure

SHAPES = ((1536, 1536), (1536, 8960), (8960, 1536), (512, 512))
"""(outputs, inputs) of a layer."""


def check() -> None:
    """The route against the float64 reference; nothing is timed if it is wrong."""
    generator = torch.Generator().manual_seed(0)
    x, dy = torch.randn(2, 33, 700, generator=generator), torch.randn(2, 33, 600, generator=generator)
    projector = mk.Projector(mk.ProjectionSpec(dim=DIM), {"w": (600, 700)})
    got, want = projector.zeros(2), torch.zeros(2, DIM, dtype=torch.float64)
    projector.project_outer_into(got, "w", x, dy)
    projector.project_outer_into(want, "w", x.double(), dy.double(), impl="torch")
    error = float((got.double() - want).norm() / want.norm())
    if error > 1e-5:
        raise RuntimeError(f"benchmarks: outer_sketch_into must be within 1e-5, got {error:.1e}; run the tests")


def rows(tokens: int, repeats: int) -> Iterator[Record]:
    """A record of the weight gradient and one of our route for each shape."""
    for o, i in SHAPES:
        x, dy = torch.randn(1, tokens, i), torch.randn(1, tokens, o)
        projector = mk.Projector(mk.ProjectionSpec(dim=DIM), {"w": (o, i)})
        z = projector.zeros(1)
        shape = {"dtype": "float32", "shape": [1, tokens, o, i], "bytes": x.nbytes + dy.nbytes}
        gradient = measure(lambda a=dy[0].T, b=x[0]: a @ b, 20, repeats)
        yield {"op": "weight_gradient", "impl": "torch.matmul", "flops": 2 * tokens * o * i, **shape, **gradient}
        ours = measure(lambda p=projector, a=x, b=dy, z=z: p.project_outer_into(z, "w", a, b), 20, repeats)
        yield {
            "op": "outer_sketch_into",
            "impl": "cpp",
            "route": "factorized",
            "flops": 2 * tokens * min(o, DIM) * min(i, DIM),
            **shape,
            **ours,
            "baseline": "weight_gradient",
            "ratio": ours["ms_median"] / gradient["ms_median"],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer tokens and repetitions")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of every row")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    check()
    print(f"{'op':18} {'implementation':14} {'tokens x o x i':>20} {'ms':>9} {'least':>9} {'ratio':>7}")
    for record in rows(64 if options.quick else 1024, 3 if options.quick else 15):
        record = complete(record)
        size = " x ".join(map(str, record["shape"][1:]))
        ratio = f"{record['ratio']:7.3f}" if "ratio" in record else ""
        times = f"{record['ms_median']:9.2f} {record['ms_min']:9.2f}"
        print(f"{record['op']:18} {record['impl']:14} {size:>20} {times} {ratio}", flush=True)
        append(options.out, record)


if __name__ == "__main__":
    main()
