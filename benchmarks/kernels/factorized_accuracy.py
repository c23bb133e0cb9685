"""Error of each way to compute the factorized route, for gradients that cancel.

    python -m benchmarks.kernels.factorized_accuracy [--quick] [--out DIR]

One bfloat16 layer of 1536 x 1536 and 1,024 tokens: every third of the inputs is 300 larger at all tokens, and the
output gradients add up to zero over the tokens. Errors are relative to the norm of the sketch in float64. For comparison:
the weight gradient, summed exactly and rounded once to bfloat16.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.harness.rows import Record, append
from benchmarks.kernels.projection_types import DIM, complete
from motive_kernels.ops.outer_sketch.reference import count_sketch
from motive_kernels.ops.tensor_sketch.reference import fold, tensor_sketch_into
from motive_kernels.rng.philox import parameter_key
from motive_kernels.rng.tables import ROLE_COLUMNS, ROLE_ROWS, balanced_buckets, gather_table

WIDTH, MASSIVE = 1536, 300


def inputs(tokens: int) -> tuple[Tensor, Tensor]:
    """x [1, t, i] and dy [1, t, o], bfloat16 numbers as float32."""
    generator = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(1, tokens, WIDTH, generator=generator) for _ in range(2))
    x[:, :, :: WIDTH // 3] += MASSIVE
    dy -= dy.mean(1, keepdim=True)
    return x.bfloat16().float(), dy.bfloat16().float()


def to_bfloat16(values: Tensor) -> Tensor:
    return values.bfloat16().float()


def to_tf32(values: Tensor) -> Tensor:
    """float32 with 10 bits behind the point, to the nearest."""
    bits = values.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def product(left: Tensor, right: Tensor) -> Tensor:
    """The sketch from count sketches, products and sums exact: what is lost is lost before."""
    return fold(torch.einsum("ntp,ntq->npq", left.double(), right.double()), DIM)


def ways(y: Tensor, x: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Name -> the sketch, from float32 count sketches [1, t, DIM] of both sides."""
    y_high, x_high = to_bfloat16(y), to_bfloat16(x)
    y_low, x_low = to_bfloat16(y - y_high), to_bfloat16(x - x_high)
    return {
        "bf16": lambda: product(y_high, x_high),
        "bf16 high + low": lambda: product(y_high, x_high) + product(y_high, x_low) + product(y_low, x_high),
        "tf32": lambda: product(to_tf32(y), to_tf32(x)),
        "fp32": lambda: fold(torch.einsum("ntp,ntq->npq", y, x), DIM).double(),
        "fp32 Fourier transforms": lambda: torch.fft.ifft((torch.fft.fft(y) * torch.fft.fft(x)).sum(1)).real.double(),
    }


def rows(tokens: int) -> Iterator[Record]:
    """A record of each way."""
    key = parameter_key("tensor_sketch", 0, "w")
    o_table, i_table = (
        torch.from_numpy(gather_table(*balanced_buckets(key, role, WIDTH, DIM), DIM))
        for role in (ROLE_ROWS, ROLE_COLUMNS)
    )
    x, dy = inputs(tokens)
    y_sketch, x_sketch = count_sketch(dy.double(), o_table, DIM), count_sketch(x.double(), i_table, DIM)
    want, rounded = product(y_sketch, x_sketch), torch.zeros(1, DIM, dtype=torch.float64)
    gradient = torch.einsum("nto,nti->noi", dy.double(), x.double())
    tensor_sketch_into(rounded, gradient.bfloat16().double(), o_table, i_table, 1.0)
    found = {name: way() for name, way in ways(y_sketch.float(), x_sketch.float()).items()}
    for name, got in {**found, "weight gradient in bf16": rounded}.items():
        yield {
            "op": "factorized_accuracy",
            "impl": name,
            "route": "factorized",
            "dtype": "bfloat16",
            "shape": [1, tokens, WIDTH, WIDTH],
            "relative_error": float((got - want).norm() / want.norm()),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer tokens")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    print(f"{'way':26} {'relative error':>14}")
    for record in map(complete, rows(128 if options.quick else 1024)):
        print(f"{record['impl']:26} {record['relative_error']:14.1e}")
        append(options.out, record)


if __name__ == "__main__":
    main()
