"""The C++ pass over a store: csrc/cpu/scan.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

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
    call = native.extension("cpu").Scan(
        queries=given[0].data_ptr(),
        query_scales=given[1].data_ptr(),
        count=count,
        dim=values.shape[1],
        low=given[2].data_ptr(),
        high=given[3].data_ptr(),
        weights=_address(wanted.weights),
        threads=torch.get_num_threads(),
    )
    call.store(
        store=values.data_ptr(),
        dtype=STORE_CODES[values.dtype],
        rows=size,
        row_stride=values.stride(0),
        row_scales=_address(scales),
        keep=_address(keep),
    )
    call.results(
        votes=_address(votes),
        best=_address(best),
        counts=counts.data_ptr(),
        extremes=_address(extremes),
        total=_address(total),
        first_broken=broken.data_ptr(),
    )
    call.run(capacity=wanted.capacity, scores=scores.data_ptr(), rows=listed.data_ptr())
    ends = (None, None) if extremes is None else (extremes[0], extremes[1])
    return Found(counts[0], counts[1], counts[2], *ends, total, scores, listed, votes, best, int(broken[0]))


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
