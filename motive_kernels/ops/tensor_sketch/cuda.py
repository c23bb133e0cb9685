"""The CUDA implementation of tensor_sketch_into: csrc/cuda/tensor_sketch.cu."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from motive_kernels.runtime import native

Part = tuple[Tensor, Tensor, Tensor, float]
"""A gradient [n, o, i], its row and column table, and the factor on its sketch."""


def tensor_sketch_into(z: Tensor, grad: Tensor, rows: Tensor, columns: Tensor, scale: float) -> None:
    """As reference.tensor_sketch_into, for float32, bfloat16 and float16 on a CUDA device; summed in float32."""
    tensor_sketch_many_into(z, [(grad, rows, columns, scale)])


def tensor_sketch_many_into(z: Tensor, parts: Sequence[Part]) -> None:
    """Add the sketches of several gradients of one dtype and one n, e.g. all layers of a model, in one launch.

    Up to 256 gradients share a launch, so that small layers do not pay for one each. The result does not depend on
    how a list is split up beyond rounding.

    Args:
        z: [n, k] float32, contiguous.
        parts: gradients with their tables, not empty.
    """
    kept = []
    for grad, rows, columns, scale in parts:
        if grad.stride(1) == 1 and grad.stride(2) != 1:
            grad, rows, columns = grad.transpose(1, 2), columns, rows  # The sketch is symmetric in its two axes.
        kept.append((native.rows_adjacent(grad), rows.contiguous(), columns.contiguous(), scale))
    tensors = [
        native.arguments(
            "cuda",
            "SketchTensor",
            grad=grad,
            rows=grad.shape[1],
            columns=grad.shape[2],
            sample_stride=grad.stride(0),
            row_stride=grad.stride(1),
            row_table=rows,
            column_table=columns,
            scale=scale,
        )
        for grad, rows, columns, scale in kept
    ]
    args = native.arguments(
        "cuda",
        "TensorSketch",
        z=z,
        dtype=kept[0][0].dtype,
        samples=z.shape[0],
        dim=z.shape[1],
        parts=tensors,
    )
    native.launch("tensor_sketch_into", args, z)
