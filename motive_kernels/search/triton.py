"""One pass over a store on the GPU: a program takes a block of rows, reads it once for up to QUERIES queries at a time.

int8 stores meet the two bytes of each query in two integer products, whose sum is exact; float stores are multiplied in
float32. Lists are filled in any order, through one counter a query; whoever reads them must not depend on it.
"""
# ruff: noqa: N803 - Triton writes compile-time constants in upper case.

from __future__ import annotations

import torch
import triton
import triton.language as tl

from motive_kernels.runtime.triton_call import launch
from motive_kernels.search.base import Found, Queries, Rows, Wanted

ROWS = 64
QUERIES = 16
DEPTH = 64
WARPS = 8


@triton.jit
def products(
    high_bytes,
    low_bytes,
    store,
    row,
    there,
    query,
    asked,
    dim,
    stride,
    INT8: tl.constexpr,
    ROWS: tl.constexpr,
    QUERIES: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Dot products [ROWS, QUERIES]: int32 and exact, or float32."""
    sums = tl.zeros((ROWS, QUERIES), tl.int32 if INT8 else tl.float32)
    for start in range(0, dim, DEPTH):
        at = start + tl.arange(0, DEPTH)
        inside = at < dim
        z = tl.load(store + row[:, None] * stride + at[None, :], mask=there[:, None] & inside[None, :], other=0)
        where = query[None, :] * dim + at[:, None]
        mask = asked[None, :] & inside[:, None]
        upper = tl.load(high_bytes + where, mask=mask, other=0)
        if INT8:
            lower = tl.load(low_bytes + where, mask=mask, other=0)
            sums += 256 * tl.dot(z, upper, out_dtype=tl.int32) + tl.dot(z, lower, out_dtype=tl.int32)
        else:
            sums += tl.dot(z.to(tl.float32), upper, input_precision="ieee")
    return sums


@triton.jit
def scan_kernel(
    high_bytes,
    low_bytes,
    query_scales,
    store,
    row_scales,
    keep,
    low,
    high,
    weights,
    votes,
    best,
    counts,
    lowest,
    highest,
    total,
    listed_scores,
    listed_rows,
    broken,
    rows,
    queries,
    dim,
    stride,
    capacity,
    INT8: tl.constexpr,
    SCALED: tl.constexpr,
    KEPT: tl.constexpr,
    VOTES: tl.constexpr,
    WEIGHTED: tl.constexpr,
    BEST: tl.constexpr,
    ROWS: tl.constexpr,
    QUERIES: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Everything that a pass finds about ROWS rows; counts is [3, queries]: above, reached, listed."""
    block = tl.program_id(0).to(tl.int64)
    row = block * ROWS + tl.arange(0, ROWS)
    there = row < rows
    part = there
    if KEPT:
        part = there & (tl.load(keep + row, mask=there, other=0) != 0)
    factor = tl.full((ROWS,), 1.0, tl.float32)
    if SCALED:
        factor = tl.load(row_scales + row, mask=there, other=0.0)
    won = tl.zeros((ROWS,), tl.int32)
    most = tl.full((ROWS,), float("-inf"), tl.float32)
    bad = tl.zeros((ROWS,), tl.int32)
    for first in range(0, queries, QUERIES):  # a tile of scores at a time
        query = first + tl.arange(0, QUERIES)
        asked = query < queries
        sums = products(high_bytes, low_bytes, store, row, there, query, asked, dim, stride, INT8, ROWS, QUERIES, DEPTH)
        scale = tl.load(query_scales + query, mask=asked, other=0.0)
        score = (sums.to(tl.float32) * factor[:, None]) * scale[None, :]
        least = tl.load(low + query, mask=asked, other=float("inf"))
        bound = tl.load(high + query, mask=asked, other=float("inf"))
        valid = part[:, None] & asked[None, :]
        above = valid & (score > bound[None, :])
        reached = valid & (score >= bound[None, :])
        inner = valid & (score > least[None, :]) & (score < bound[None, :])
        bad |= tl.max(tl.where(valid & (tl.abs(score) < float("inf")) | ~valid, 0, 1), 1)
        tl.atomic_add(counts + query, tl.sum(above.to(tl.int64), 0), mask=asked)
        tl.atomic_add(counts + queries + query, tl.sum(reached.to(tl.int64), 0), mask=asked)
        tl.store(lowest + block * queries + query, tl.min(tl.where(valid, score, float("inf")), 0), mask=asked)
        tl.store(highest + block * queries + query, tl.max(tl.where(valid, score, float("-inf")), 0), mask=asked)
        tl.store(total + block * queries + query, tl.sum(tl.where(valid, score, 0.0).to(tl.float64), 0), mask=asked)
        if VOTES:
            weight = tl.full((QUERIES,), 1, tl.int32)
            if WEIGHTED:
                weight = tl.load(weights + query, mask=asked, other=0)
            won += tl.sum(tl.where(reached, weight[None, :], 0), 1)
        if BEST:
            most = tl.maximum(most, tl.max(tl.where(valid, score, float("-inf")), 1))
        if tl.max(tl.max(inner.to(tl.int32), 1), 0) > 0:
            amount = tl.sum(inner.to(tl.int64), 0)
            begin = tl.atomic_add(counts + 2 * queries + query, amount, mask=asked)
            place = begin[None, :] + tl.cumsum(inner.to(tl.int64), 0) - 1
            room = inner & (place < capacity)
            to = query[None, :].to(tl.int64) * capacity + place
            tl.store(listed_scores + to, score, mask=room)
            tl.store(listed_rows + to, tl.broadcast_to(row[:, None], (ROWS, QUERIES)), mask=room)
    if VOTES:
        tl.store(votes + row, won, mask=there)
    if BEST:
        tl.store(best + row, most, mask=there)
    tl.store(broken + row, bad, mask=there)


def scan(queries: Queries, rows: Rows, wanted: Wanted) -> Found:
    """One pass, for float32, float16 and int8 stores on the GPU."""
    values = rows.values if rows.values.stride(1) == 1 else rows.values.contiguous()
    size, count, device = len(rows), len(queries), values.device
    blocks = triton.cdiv(size, ROWS)
    is_int8 = values.dtype == torch.int8
    upper, lower = _two_bytes(queries.values) if is_int8 else (queries.values, queries.values)
    counts = torch.zeros(3, count, dtype=torch.int64, device=device)
    lowest = torch.full((blocks + 1, count), float("inf"), device=device)
    highest = torch.full((blocks + 1, count), float("-inf"), device=device)
    total = torch.zeros(blocks + 1, count, dtype=torch.float64, device=device)
    votes = torch.empty(size, dtype=torch.int32, device=device)
    best = torch.empty(size, device=device)
    broken = torch.zeros(size + 1, dtype=torch.int32, device=device)
    scores = torch.empty(count, wanted.capacity, device=device)
    listed = torch.empty(count, wanted.capacity, dtype=torch.int64, device=device)
    if blocks:
        flags = (rows.scales is not None, rows.keep is not None, wanted.votes, wanted.weights is not None, wanted.best)
        given = (
            best if rows.scales is None else rows.scales.contiguous(),
            broken if rows.keep is None else rows.keep.contiguous().view(torch.uint8),
            wanted.low,
            wanted.high,
            votes if wanted.weights is None else wanted.weights,
        )
        found = (votes, best, counts, lowest, highest, total, scores, listed, broken)
        sizes = (size, count, values.shape[1], values.stride(0), wanted.capacity)
        tiles = (is_int8, *flags, ROWS, QUERIES, DEPTH)
        # Without fusion: scores are rounded after each product.
        options = {"num_warps": WARPS, "enable_fp_fusion": False}
        asked = (upper.contiguous(), lower.contiguous(), queries.scales)
        launch(scan_kernel, (blocks,), values, *asked, values, *given, *found, *sizes, *tiles, **options)
    return Found(
        counts[0],
        counts[1],
        counts[2],
        lowest.amin(dim=0) if wanted.spread else None,
        highest.amax(dim=0) if wanted.spread else None,
        total.sum(dim=0) if wanted.spread else None,
        scores,
        listed,
        votes if wanted.votes else None,
        best if wanted.best else None,
        int(broken.argmax()) if bool(broken.any()) else size,
    )


def _two_bytes(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int16 as 256 * upper + lower, both int8."""
    wide = values.int()
    upper = (wide + 128) >> 8
    return upper.to(torch.int8), (wide - 256 * upper).to(torch.int8)
