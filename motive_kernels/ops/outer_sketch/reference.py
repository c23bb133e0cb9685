"""The definition of the factorized route of the balanced tensor sketch (docs/projection.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.ops.tensor_sketch.reference import buckets_and_signs, fold
from motive_kernels.runtime.precision import outer_products


def outer_sketch_into(
    z: Tensor, x: Tensor, dy: Tensor, rows: Tensor, columns: Tensor, lengths: Tensor | None, scale: float
) -> None:
    """z += scale * sketch(sum_t dy_t x_t^T), the k x k sum of products of sketched vectors, folded.

    Args:
        z: [n, k] float32 or float64, added to in place.
        x: [n, t, i] floating, the layer's inputs.
        dy: [n, t, o] floating, the gradients of its outputs.
        rows, columns: int32 gather tables of the axes o and i, [runs, k].
        lengths: int64 [n] or None: sample s has lengths[s] tokens, the rest is ignored, whatever it holds.
        scale: factor on the whole.
    """
    k = z.shape[1]
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    products = outer_gradient(count_sketch(x.to(exact), columns, k), count_sketch(dy.to(exact), rows, k), lengths)
    z += (scale * fold(products, k)).to(z.dtype)


def count_sketch(v: Tensor, table: Tensor, k: int) -> Tensor:
    """cs(v)[b] = sum over h[j] = b of s[j] v[j], over the last axis: [..., k]."""
    bucket, sign = buckets_and_signs(table, v.shape[-1])
    return v.new_zeros(*v.shape[:-1], k).index_add_(v.ndim - 1, bucket, v * sign.to(v))


def outer_gradient(x: Tensor, dy: Tensor, lengths: Tensor | None) -> Tensor:
    """Per-sample weight gradient sum_t dy_t x_t^T: [n, o, i], accumulated in float32 (float64 for float64 input)."""
    if lengths is not None:
        kept = torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]
        x = torch.where(kept[..., None], x, x.new_zeros(()))
        dy = torch.where(kept[..., None], dy, dy.new_zeros(()))
    return outer_products(x, dy)
