"""The definition of the materialized route of the balanced tensor sketch (docs/projection.md)."""

from __future__ import annotations

import torch
from torch import Tensor


def buckets_and_signs(table: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Undo tables.gather_table: bucket int64 [length] and sign float64 [length] of each index of the axis."""
    entry, bucket = table.reshape(-1), torch.arange(table.numel(), device=table.device) % table.shape[1]
    kept = entry >= 0
    order = entry[kept] // 2
    buckets = torch.empty(length, dtype=torch.int64, device=table.device).scatter_(0, order.long(), bucket[kept])
    signs = torch.empty(length, dtype=torch.float64, device=table.device)
    signs.scatter_(0, order.long(), 1.0 - 2.0 * (entry[kept] % 2).double())
    return buckets, signs


def tensor_sketch_into(z: Tensor, grad: Tensor, rows: Tensor, columns: Tensor, scale: float) -> None:
    """z[(h_o[a] + h_i[b]) mod k] += scale s_o[a] s_i[b] grad[a, b], per sample, summed in z's accuracy or better.

    Args:
        z: [n, k] float32 or float64, added to in place.
        grad: [n, o, i] floating.
        rows, columns: int32 gather tables of the two axes, [runs, k].
        scale: factor on the whole.
    """
    n, o, i = grad.shape
    k = z.shape[1]
    row_bucket, row_sign = buckets_and_signs(rows, o)
    column_bucket, column_sign = buckets_and_signs(columns, i)
    exact = grad.to(torch.float64) if grad.dtype == torch.float64 else grad.float()
    along_rows = exact.new_zeros(n, k, i).index_add_(1, row_bucket, exact * row_sign.to(exact)[:, None])
    both = exact.new_zeros(n, k, k).index_add_(2, column_bucket, along_rows * column_sign.to(exact))
    z += (scale * fold(both, k)).to(z.dtype)


def fold(c: Tensor, k: int) -> Tensor:
    """Sum over (p + q) mod k = b of c[n, p, q]: [n, k]."""
    p = torch.arange(c.shape[1], device=c.device)[:, None]
    q = torch.arange(c.shape[2], device=c.device)[None, :]
    return c.new_zeros(c.shape[0], k).index_add_(1, ((p + q) % k).reshape(-1), c.flatten(1))
