"""The C++ implementation of tensor_sketch_into: csrc/cpu/tensor_sketch.cpp."""

from __future__ import annotations

from torch import Tensor

from motive_kernels.runtime import native


def tensor_sketch_into(z: Tensor, grad: Tensor, rows: Tensor, columns: Tensor, scale: float) -> None:
    """As reference.tensor_sketch_into, for float32, bfloat16 and float16 on the CPU; summed in float32."""
    if grad.stride(1) == 1 and grad.stride(2) != 1:
        grad, rows, columns = grad.transpose(1, 2), columns, rows  # The sketch is symmetric in its two axes.
    grad, rows, columns = native.rows_adjacent(grad), rows.contiguous(), columns.contiguous()
    native.call(
        "tensor_sketch_into",
        "TensorSketch",
        z,
        z=z,
        grad=grad,
        dtype=grad.dtype,
        samples=grad.shape[0],
        rows=grad.shape[1],
        columns=grad.shape[2],
        dim=z.shape[1],
        sample_stride=grad.stride(0),
        row_stride=grad.stride(1),
        row_table=rows,
        column_table=columns,
        scale=scale,
    )
