"""Materialized route of the balanced tensor sketch in Triton: contiguous reads, a gather in the block, no atomics."""
# ruff: noqa: N803 - Triton writes compile-time constants in upper case.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from motive_kernels.runtime import native
from motive_kernels.runtime.triton_call import launch

MAX_DIM = 16384
COLUMN_RUNS = 8
"""Column runs of one program."""


@triton.jit
def sketch_kernel(
    grad,
    rows,
    columns,
    partial,
    sample_stride,
    row_stride,
    row_runs,
    column_runs,
    width,
    dim,
    buckets,
    splits,
    row_splits,
    COLUMN_RUNS: tl.constexpr,
    K: tl.constexpr,
):
    """One program's share of a sample: some row buckets p and some column runs, all positions b of the sketch.

    partial[b] = sum over p and runs c of s_i u_c[index of (c, (b - p) mod dim)], with u_c the sum of the rows of bucket
    p over the columns of run c.
    """
    program = tl.program_id(0)
    sample = (program // splits).to(tl.int64)
    split = program % splits
    first_bucket = (split % row_splits) * buckets
    first_run = (split // row_splits) * COLUMN_RUNS
    b = tl.arange(0, K)
    inside = b < dim
    total = tl.zeros((K,), tl.float32)
    for p in range(first_bucket, min(first_bucket + buckets, dim)):
        if tl.load(rows + p) >= 0:
            q = tl.where(b >= p, b - p, b - p + dim)
            for run in range(first_run, min(first_run + COLUMN_RUNS, column_runs)):
                column = run * dim + b
                row_sum = tl.zeros((K,), tl.float32)
                for r in range(row_runs):
                    row = tl.load(rows + r * dim + p)
                    if row >= 0:
                        at = grad + sample * sample_stride + (row >> 1).to(tl.int64) * row_stride
                        values = tl.load(at + column, mask=inside & (column < width), other=0.0).to(tl.float32)
                        row_sum += tl.where((row & 1) == 0, values, -values)
                entry = tl.load(columns + run * dim + q, mask=inside, other=-1)
                index = tl.where(entry >= 0, (entry >> 1) - run * dim, 0)
                gathered = tl.gather(row_sum, index, 0)
                gathered = tl.where((entry & 1) == 0, gathered, -gathered)
                total += tl.where(entry >= 0, gathered, 0.0)
    tl.store(partial + program.to(tl.int64) * dim + b, total, mask=inside)


def tensor_sketch_into(z: Tensor, grad: Tensor, rows: Tensor, columns: Tensor, scale: float) -> None:
    """As reference.tensor_sketch_into, for float32, bfloat16 and float16; summed in float32 in a fixed order."""
    n, dim = z.shape
    if dim > MAX_DIM:
        raise RuntimeError(
            f"tensor_sketch_into: dim must be at most {MAX_DIM} for triton, got {dim}; choose impl='cuda' or 'torch'"
        )
    if grad.stride(1) == 1 and grad.stride(2) != 1:
        grad, rows, columns = grad.transpose(1, 2), columns, rows  # The sketch is symmetric in its two axes.
    grad, rows, columns = native.rows_adjacent(grad), rows.contiguous(), columns.contiguous()
    buckets = min(dim, -(-16 * dim // min(grad.shape[1], dim)))  # about 16 of them with rows
    row_splits = triton.cdiv(dim, buckets)
    splits = row_splits * triton.cdiv(columns.shape[0], COLUMN_RUNS)
    partial = torch.empty(n, splits, dim, dtype=torch.float32, device=z.device)
    block = max(16, triton.next_power_of_2(dim))
    launch(
        sketch_kernel,
        (n * splits,),
        z,
        grad,
        rows,
        columns,
        partial,
        grad.stride(0),
        grad.stride(1),
        rows.shape[0],
        columns.shape[0],
        grad.shape[2],
        dim,
        buckets,
        splits,
        row_splits,
        COLUMN_RUNS,
        block,
        num_warps=max(1, min(16, block // 128)),
    )
    z += scale * partial.sum(1)
