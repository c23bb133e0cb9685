"""The C++ pass over a store: csrc/cpu/scan.cpp."""

from __future__ import annotations

import torch

from motive_kernels.runtime import native
from motive_kernels.search.base import STORE_CODES, Found, Queries, Rows, Wanted


def scan(queries: Queries, rows: Rows, wanted: Wanted) -> Found:
    """One pass, for float32, float16 and int8 stores on the CPU."""
    values, count, size = native.rows_adjacent(rows.values), len(queries), len(rows)
    given = [queries.values.contiguous(), queries.scales, wanted.low, wanted.high]
    scales = None if rows.scales is None else rows.scales.contiguous()
    keep = None if rows.keep is None else rows.keep.contiguous()
    counts = torch.zeros(3, count, dtype=torch.int64)
    extremes = torch.empty(2, count) if wanted.spread else None
    total = torch.empty(count, dtype=torch.float64) if wanted.spread else None
    votes = torch.empty(size, dtype=torch.int32) if wanted.votes else None
    best = torch.empty(size) if wanted.best else None
    scores = torch.empty(count, wanted.capacity)
    listed = torch.empty(count, wanted.capacity, dtype=torch.int64)
    broken = torch.zeros(1, dtype=torch.int64)
    native.call(
        "scan",
        "Scan",
        values,
        queries=given[0],
        query_scales=given[1],
        count=count,
        dim=values.shape[1],
        store=values,
        dtype=STORE_CODES[values.dtype],
        rows=size,
        row_stride=values.stride(0),
        row_scales=scales,
        keep=keep,
        low=given[2],
        high=given[3],
        weights=wanted.weights,
        votes=votes,
        best=best,
        above=counts[0],
        reached=counts[1],
        listed=counts[2],
        lowest=None if extremes is None else extremes[0],
        highest=None if extremes is None else extremes[1],
        total=total,
        capacity=wanted.capacity,
        listed_scores=scores,
        listed_rows=listed,
        first_broken=broken,
    )
    ends = (None, None) if extremes is None else (extremes[0], extremes[1])
    return Found(counts[0], counts[1], counts[2], *ends, total, scores, listed, votes, best, int(broken[0]))
