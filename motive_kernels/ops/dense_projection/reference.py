"""The definition of a dense random projection (docs/projection.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.rng.entries import entries
from motive_kernels.runtime.precision import full_float32

_ENTRIES_AT_ONCE = 1 << 20


def dense_projection_into(
    z: Tensor, grad: Tensor, distribution: str, key0: int, key1: int, role: int, scale: float
) -> None:
    """z += scale * grad E^T, E [k, d] generated a block of columns at a time.

    Args:
        z: [n, k] float32 or float64, added to in place.
        grad: [n, d] floating.
        distribution: rademacher or gaussian.
        key0, key1: the Philox key.
        role: third counter word.
        scale: factor on the whole.
    """
    k, d = z.shape[1], grad.shape[1]
    exact = torch.float64 if grad.dtype == torch.float64 else torch.float32
    columns = max(128, _ENTRIES_AT_ONCE // k // 128 * 128)
    total = torch.zeros(z.shape, dtype=exact, device=grad.device)
    for start in range(0, d, columns):
        part = grad[:, start : start + columns].to(exact)
        block = entries(distribution, (key0, key1), role, 0, k, start, part.shape[1])
        with full_float32():
            total += part @ torch.from_numpy(block).to(part).T
    z += (scale * total).to(z.dtype)
