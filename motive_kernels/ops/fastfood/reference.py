"""The definition of the tiled Fastfood transform (docs/projection.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.rng.entries import entries

ROLE_SIGNS, ROLE_GAUSSIAN, ROLE_PERMUTATION = 0, 1, 2
"""Third counter word of the three random parts."""


def hadamard(v: Tensor) -> Tensor:
    """H v over the last axis: H[p, q] = (-1)^(number of bits set in both p and q), not normalised."""
    length = v.shape[-1]
    half = 1
    while half < length:
        pairs = v.reshape(*v.shape[:-1], length // (2 * half), 2, half)
        low, high = pairs[..., 0, :], pairs[..., 1, :]
        v = torch.stack((low + high, low - high), dim=-2).reshape(v.shape)
        half *= 2
    return v


def fastfood_into(z: Tensor, grad: Tensor, labels: Tensor, key0: int, key1: int, scale: float) -> None:
    """z += scale * H_k fold(sum over tiles of G H_L B x): signs, transform, Gaussian factors, buckets, transform.

    Args:
        z: [n, k] float32 or float64, added to in place; k a power of two.
        grad: [n, d] floating, cut into tiles of L coordinates, the last one padded with zeros.
        labels: int32 [L], the bucket that each transformed coordinate of every tile is added to.
        key0, key1: the Philox key.
        scale: factor on the whole.
    """
    (n, d), tile = grad.shape, len(labels)
    exact = torch.float64 if grad.dtype == torch.float64 else torch.float32
    total = torch.zeros(n, tile, dtype=exact, device=grad.device)
    for index in range(-(-d // tile)):
        x = torch.zeros_like(total)
        part = grad[:, index * tile : (index + 1) * tile]
        x[:, : part.shape[1]] = part.to(exact)
        signs = entries("rademacher", (key0, key1), ROLE_SIGNS, index, 1, 0, tile)
        factors = entries("gaussian", (key0, key1), ROLE_GAUSSIAN, index, 1, 0, tile)
        total += torch.from_numpy(factors).to(x) * hadamard(torch.from_numpy(signs).to(x) * x)
    folded = torch.zeros(z.shape, dtype=exact, device=grad.device).index_add_(1, labels.long(), total)
    z += (scale * hadamard(folded)).to(z.dtype)
