"""The C++ implementation of outer_sketch_into: csrc/cpu/outer_sketch.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.runtime import native


def outer_sketch_into(
    z: Tensor, x: Tensor, dy: Tensor, rows: Tensor, columns: Tensor, lengths: Tensor | None, scale: float
) -> None:
    """As reference.outer_sketch_into, for float32, bfloat16 and float16 on the CPU; summed in float32."""
    x, dy = native.rows_adjacent(x), native.rows_adjacent(dy)
    rows, columns = rows.contiguous(), columns.contiguous()
    if lengths is not None:
        lengths = lengths.to(torch.int64).contiguous()
    native.call(
        "outer_sketch_into",
        "OuterSketch",
        z,
        z=z,
        x=x,
        dy=dy,
        dtype=x.dtype,
        samples=x.shape[0],
        tokens=x.shape[1],
        rows=dy.shape[2],
        columns=x.shape[2],
        dim=z.shape[1],
        x_sample_stride=x.stride(0),
        x_token_stride=x.stride(1),
        dy_sample_stride=dy.stride(0),
        dy_token_stride=dy.stride(1),
        row_table=rows,
        column_table=columns,
        lengths=lengths,
        scale=scale,
    )
