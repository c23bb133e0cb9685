"""The definition of the factorized route of the balanced tensor sketch (docs/projection.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.ops.tensor_sketch.reference import buckets_and_signs, fold
from motive_kernels.runtime.precision import outer_products

# Suffixes name axes: n sample, t token, o layer output, i layer input, k sketch.


def outer_sketch_into(
    z_nk: Tensor, x_nti: Tensor, dy_nto: Tensor, rows: Tensor, columns: Tensor, lengths: Tensor | None, scale: float
) -> None:
    """z_nk += scale * sketch(sum_t dy_t x_t^T), the k x k sum of products of sketched vectors, folded.

    Args:
        z_nk: [n, k] float32 or float64, added to in place.
        x_nti: [n, t, i] floating, the layer's inputs.
        dy_nto: [n, t, o] floating, the gradients of its outputs.
        rows, columns: int32 gather tables of the axes o and i, [runs, k].
        lengths: int64 [n] or None: sample s has lengths[s] tokens, the rest is ignored, whatever it holds.
        scale: factor on the whole.
    """
    k = z_nk.shape[1]
    exact = torch.float64 if x_nti.dtype == torch.float64 else torch.float32
    x_ntk = count_sketch(x_nti.to(exact), columns, k)
    dy_ntk = count_sketch(dy_nto.to(exact), rows, k)
    products_nkk = outer_gradient(x_ntk, dy_ntk, lengths)
    z_nk += (scale * fold(products_nkk, k)).to(z_nk.dtype)


def count_sketch(v: Tensor, table: Tensor, k: int) -> Tensor:
    """cs(v)[b] = sum over h[j] = b of s[j] v[j], over the last axis: [..., k]."""
    bucket, sign = buckets_and_signs(table, v.shape[-1])
    return v.new_zeros(*v.shape[:-1], k).index_add_(v.ndim - 1, bucket, v * sign.to(v))


def outer_gradient(x_nti: Tensor, dy_nto: Tensor, lengths: Tensor | None) -> Tensor:
    """Per-sample weight gradient sum_t dy_t x_t^T: [n, o, i], accumulated in float32 (float64 for float64 input)."""
    if lengths is not None:
        kept_nt = torch.arange(x_nti.shape[1], device=x_nti.device) < lengths.to(x_nti.device)[:, None]
        x_nti = torch.where(kept_nt[..., None], x_nti, x_nti.new_zeros(()))
        dy_nto = torch.where(kept_nt[..., None], dy_nto, dy_nto.new_zeros(()))
    return outer_products(x_nti, dy_nto)
