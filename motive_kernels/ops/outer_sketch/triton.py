"""Factorized route of the balanced tensor sketch in Triton: gathers, products on tensor cores, one fold.

Count sketches are float32 and their products three tf32 ones (tf32x3), which keeps almost all of float32. A side no
longer than the sketch takes part as it is: its count sketch would only place its entries, and the fold does that.
"""
# ruff: noqa: N803 - Triton writes compile-time constants in upper case.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from motive_kernels.runtime import native
from motive_kernels.runtime.triton_call import launch

MAX_DIM = 4096
TOKENS_OF_SPLIT = 1024
"""Tokens whose products one program adds up; the sums of the splits are added in order."""

TILE, TOKENS = 128, 32
"""Rows and columns of a tile of products, and tokens of one step."""

FOLD_ROWS = 16


@triton.jit
def count_sketch_kernel(
    data,
    table,
    out,
    sample_stride,
    token_stride,
    tokens,
    width,
    runs,
    dim,
    blocks,
    BLOCK: tl.constexpr,
    K: tl.constexpr,
):
    """out[s, t, b] = sum over h[j] = b of s[j] data[s, t, j], for some tokens."""
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    t = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    b = tl.arange(0, K)
    at = data + sample * sample_stride + t[:, None] * token_stride
    kept = (t < tokens)[:, None] & (b < dim)[None, :]
    total = tl.zeros((BLOCK, K), tl.float32)
    for run in range(runs):
        column = run * dim + b
        values = tl.load(at + column[None, :], mask=kept & (column < width)[None, :], other=0.0).to(tl.float32)
        entry = tl.load(table + run * dim + b, mask=b < dim, other=-1)
        index = tl.where(entry >= 0, (entry >> 1) - run * dim, 0)
        gathered = tl.gather(values, tl.broadcast_to(index[None, :], (BLOCK, K)), 1)
        gathered = tl.where(((entry & 1) == 0)[None, :], gathered, -gathered)
        total += tl.where((entry >= 0)[None, :], gathered, 0.0)
    tl.store(out + (sample * tokens + t[:, None]) * dim + b[None, :], total, mask=kept)


@triton.jit
def products_kernel(
    left,
    right,
    partial,
    lengths,
    left_sample_stride,
    left_token_stride,
    right_sample_stride,
    right_token_stride,
    left_width,
    right_width,
    tokens,
    splits,
    split_tokens,
    HAS_LENGTHS: tl.constexpr,
    TILE: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """partial[s, split, p, q] = sum over a split's tokens of left[s, t, p] right[s, t, q], one tile of p and q."""
    sample = (tl.program_id(0) // splits).to(tl.int64)
    split = tl.program_id(0) % splits
    p = tl.program_id(1) * TILE + tl.arange(0, TILE)
    q = tl.program_id(2) * TILE + tl.arange(0, TILE)
    end = tokens
    if HAS_LENGTHS:
        end = tl.load(lengths + sample).to(tl.int32)
    end = tl.minimum(end, (split + 1) * split_tokens)
    left_at = left + sample * left_sample_stride + p[None, :]
    right_at = right + sample * right_sample_stride + q[None, :]
    total = tl.zeros((TILE, TILE), tl.float32)
    for first in range(split * split_tokens, end, TOKENS):
        t = (first + tl.arange(0, TOKENS)).to(tl.int64)
        kept = (t < end)[:, None]
        y = tl.load(left_at + t[:, None] * left_token_stride, mask=kept & (p < left_width)[None, :], other=0.0)
        x = tl.load(right_at + t[:, None] * right_token_stride, mask=kept & (q < right_width)[None, :], other=0.0)
        total = tl.dot(tl.trans(y.to(tl.float32)), x.to(tl.float32), total, input_precision="tf32x3")
    at = partial + ((sample * splits + split) * left_width + p[:, None].to(tl.int64)) * right_width + q[None, :]
    tl.store(at, total, mask=(p < left_width)[:, None] & (q < right_width)[None, :])


@triton.jit
def fold_kernel(
    partial,
    rows,
    columns,
    folded,
    left_width,
    right_width,
    dim,
    splits,
    groups,
    SHORT_LEFT: tl.constexpr,
    SHORT_RIGHT: tl.constexpr,
    ROWS: tl.constexpr,
    K: tl.constexpr,
):
    """folded[s, group, b] = sum over some p, and q = (b - p) mod dim, of the products of all splits."""
    sample = (tl.program_id(0) // groups).to(tl.int64)
    group = tl.program_id(0) % groups
    b = tl.arange(0, K)
    inside = b < dim
    total = tl.zeros((K,), tl.float32)
    for p in range(group * ROWS, min(group * ROWS + ROWS, dim)):
        row_entry = p * 2
        if SHORT_LEFT:
            row_entry = tl.load(rows + p)
        if row_entry >= 0:
            q = tl.where(b >= p, b - p, b - p + dim)
            column_entry = q * 2
            if SHORT_RIGHT:
                column_entry = tl.load(columns + q, mask=inside, other=-1)
            kept = inside & (column_entry >= 0)
            negative = ((row_entry ^ column_entry) & 1) != 0
            for split in range(splits):
                row = ((sample * splits + split) * left_width + (row_entry >> 1)) * right_width
                values = tl.load(partial + row + (column_entry >> 1), mask=kept, other=0.0)
                total += tl.where(negative, -values, values)
    tl.store(folded + tl.program_id(0).to(tl.int64) * dim + b, total, mask=inside)


def outer_sketch_into(
    z: Tensor, x: Tensor, dy: Tensor, rows: Tensor, columns: Tensor, lengths: Tensor | None, scale: float
) -> None:
    """As reference.outer_sketch_into, for float32, bfloat16 and float16; summed in float32 in a fixed order."""
    n, t, dim = x.shape[0], x.shape[1], z.shape[1]
    if dim > MAX_DIM:
        raise RuntimeError(
            f"outer_sketch_into: dim must be at most {MAX_DIM} for triton, got {dim}; choose impl='cuda' or 'torch'"
        )
    rows, columns = rows.contiguous(), columns.contiguous()
    left, right = _sketched(dy, rows, dim), _sketched(x, columns, dim)
    left_width, right_width = left.shape[2], right.shape[2]
    splits = triton.cdiv(t, TOKENS_OF_SPLIT)
    partial = torch.empty(n, splits, left_width, right_width, dtype=torch.float32, device=z.device)
    tiles = (triton.cdiv(left_width, TILE), triton.cdiv(right_width, TILE))
    kept = partial if lengths is None else lengths.contiguous()
    strides = (*left.stride()[:2], *right.stride()[:2])
    sizes = (left_width, right_width, t, splits, TOKENS_OF_SPLIT)
    grid, flags = (n * splits, *tiles), (lengths is not None, TILE, TOKENS)
    launch(products_kernel, grid, z, left, right, partial, kept, *strides, *sizes, *flags, num_warps=8)
    groups = triton.cdiv(dim, FOLD_ROWS)
    folded = torch.empty(n, groups, dim, dtype=torch.float32, device=z.device)
    block = max(16, triton.next_power_of_2(dim))
    launch(
        fold_kernel,
        (n * groups,),
        z,
        partial,
        rows,
        columns,
        folded,
        left_width,
        right_width,
        dim,
        splits,
        groups,
        dy.shape[2] <= dim,
        x.shape[2] <= dim,
        FOLD_ROWS,
        block,
        num_warps=max(1, min(8, block // 128)),
    )
    z += scale * folded.sum(1)


def _sketched(data: Tensor, table: Tensor, dim: int) -> Tensor:
    """A side's count sketches, float32 [n, t, dim]; a side no longer than dim as it is."""
    data = native.rows_adjacent(data)
    n, t, width = data.shape
    if width <= dim:
        return data
    block = max(16, triton.next_power_of_2(dim))
    tokens = max(1, min(16, 4096 // block))
    blocks = triton.cdiv(t, tokens)
    out = torch.empty(n, t, dim, dtype=torch.float32, device=data.device)
    launch(
        count_sketch_kernel,
        (n * blocks,),
        data,
        data,
        table,
        out,
        data.stride(0),
        data.stride(1),
        t,
        width,
        table.shape[0],
        dim,
        blocks,
        tokens,
        block,
        num_warps=8,
    )
    return out
