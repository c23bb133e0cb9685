"""The CUDA implementation of outer_sketch_into: csrc/cuda/outer_sketch.cu."""

from __future__ import annotations

from torch import Tensor

from motive_kernels.ops.outer_sketch.reference import outer_gradient
from motive_kernels.ops.tensor_sketch import cuda as flat
from motive_kernels.runtime import native
from motive_kernels.runtime.cuda_call import extension, run


def outer_sketch_into(
    z: Tensor, x: Tensor, dy: Tensor, rows: Tensor, columns: Tensor, lengths: Tensor | None, scale: float
) -> None:
    """As reference.outer_sketch_into, for float32, bfloat16 and float16 on a CUDA device; all of it in float32.

    A sketch wider than the kernel's transforms (above 2048, but for 4096) is wider than most layers: then the
    per-sample gradient is formed and takes the flat route.
    """
    n, t, k = x.shape[0], x.shape[1], z.shape[1]
    if not extension().outer_sketch_takes(k):
        flat.tensor_sketch_into(z, outer_gradient(x, dy, lengths), rows, columns, scale)
        return
    x, dy = native.rows_adjacent(x), native.rows_adjacent(dy)
    rows, columns = rows.contiguous(), columns.contiguous()
    lengths = None if lengths is None else lengths.contiguous()
    args = extension().OuterSketch(
        z=z.data_ptr(),
        dtype=native.DTYPE_CODES[x.dtype],
        samples=n,
        tokens=t,
        dim=k,
        x=(x.data_ptr(), x.shape[2], x.stride(0), x.stride(1), columns.data_ptr()),
        dy=(dy.data_ptr(), dy.shape[2], dy.stride(0), dy.stride(1), rows.data_ptr()),
        lengths=0 if lengths is None else lengths.data_ptr(),
        scale=scale,
    )
    run("outer_sketch_into", args, z)
