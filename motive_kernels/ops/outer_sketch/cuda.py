"""The CUDA implementation of outer_sketch_into: csrc/cuda/outer_sketch.cu."""

from __future__ import annotations

from torch import Tensor

from motive_kernels.ops.outer_sketch.reference import outer_gradient
from motive_kernels.ops.tensor_sketch import cuda as flat
from motive_kernels.runtime import native


def outer_sketch_into(
    z: Tensor, x: Tensor, dy: Tensor, rows: Tensor, columns: Tensor, lengths: Tensor | None, scale: float
) -> None:
    """As reference.outer_sketch_into, for float32, bfloat16 and float16 on a CUDA device; all of it in float32.

    A sketch wider than the kernel's transforms (above 2048, but for 4096) is wider than most layers: then the
    per-sample gradient is formed and takes the materialized route.
    """
    n, t, k = x.shape[0], x.shape[1], z.shape[1]
    if not native.extension("cuda").outer_sketch_takes(k):
        flat.tensor_sketch_into(z, outer_gradient(x, dy, lengths), rows, columns, scale)
        return
    x, dy = native.rows_adjacent(x), native.rows_adjacent(dy)
    rows, columns = rows.contiguous(), columns.contiguous()
    lengths = None if lengths is None else lengths.contiguous()
    args = native.arguments(
        "cuda",
        "OuterSketch",
        z=z,
        dtype=x.dtype,
        samples=n,
        tokens=t,
        dim=k,
        x_data=x,
        x_columns=x.shape[2],
        x_sample_stride=x.stride(0),
        x_token_stride=x.stride(1),
        x_table=columns,
        dy_data=dy,
        dy_columns=dy.shape[2],
        dy_sample_stride=dy.stride(0),
        dy_token_stride=dy.stride(1),
        dy_table=rows,
        lengths=lengths,
        scale=scale,
    )
    native.launch("outer_sketch_into", args, z)
