"""Stores and queries that search tests share: duplicates, ties, zero rows, ragged sizes."""

from __future__ import annotations

import torch
from torch import Tensor

import motive_kernels as mk


def vectors(n: int, k: int, seed: int = 0) -> Tensor:
    """Rows of unequal lengths, a quarter of them copies of others, one of them zero if there are several."""
    generator = torch.Generator().manual_seed(1000 * seed + n + k)
    z = torch.randn(n, k, generator=generator) * torch.exp(torch.randn(n, 1, generator=generator))
    z[n // 2 : n // 2 + n // 4] = z[: n // 4]
    if n > 3:
        z[n // 3] = 0
    return z


def stores(z: Tensor) -> dict[str, tuple[Tensor, Tensor | None]]:
    """The same rows as each kind of store: name -> (store, scales)."""
    norms = z.double().norm(dim=1)
    inverse = torch.where(norms > 0, 1 / norms, 0.0).float()
    return {
        "int8": mk.quantize_rows(z),
        "int8 of any size": mk.quantize_rows(z, unit=False),
        "float32": (z, inverse),
        "float16": (z.half(), inverse),
        "float32 without scales": (z, None),
    }
