"""Gradients and tokens that break a careless sketch, and the explicit map to hold it against."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from motive_kernels.rng.philox import parameter_key
from motive_kernels.rng.tables import ROLE_COLUMNS, ROLE_ROWS, balanced_buckets, gather_table

SHAPES = [(1, 1), (1, 40), (40, 1), (5, 9), (16, 16), (17, 33), (70, 12), (12, 70), (130, 65)]
"""(o, i): below, at and above the widths of DIMS."""

DIMS = [1, 7, 16, 37]


class Tables:
    """The two axes of one parameter, as tables and as the map by its definition.

    Attributes:
        rows, columns: as the ops take them.
        shape: (k, o, i).
    """

    def __init__(self, o: int, i: int, k: int, seed: int = 0) -> None:
        key = parameter_key("tensor_sketch", seed, "w")
        axes = [balanced_buckets(key, role, n, k) for role, n in ((ROLE_ROWS, o), (ROLE_COLUMNS, i))]
        self.rows, self.columns = (torch.from_numpy(gather_table(*axis, k)) for axis in axes)
        self.shape = (k, o, i)
        self._axes = axes

    def _entries(self) -> tuple[Tensor, Tensor]:
        """The number [o, i] of the sketch that each element of a gradient is added to, and its sign."""
        (row_bucket, row_sign), (column_bucket, column_sign) = self._axes
        bucket = (row_bucket.astype(np.int64)[:, None] + column_bucket[None]) % self.shape[0]
        return torch.from_numpy(bucket), torch.from_numpy(row_sign.astype(np.float64)[:, None] * column_sign[None])

    @property
    def matrix(self) -> Tensor:
        """P as float64 [k, o, i]: one sign in each of its o i columns."""
        bucket, sign = self._entries()
        return torch.zeros(self.shape, dtype=torch.float64).scatter_(0, bucket[None], sign[None])

    def apply(self, gradients: Tensor) -> Tensor:
        """P g in float64: [n, k]."""
        bucket, sign = self._entries()
        signed = (gradients.double() * sign).reshape(len(gradients), -1)
        z = torch.zeros(len(gradients), self.shape[0], dtype=torch.float64)
        return z.index_add_(1, bucket.reshape(-1), signed)


def gradients(n: int, o: int, i: int, seed: int = 0) -> Tensor:
    """float32 [n, o, i]: spiky channels, low rank, duplicated coordinates and plain noise, in turn."""
    generator = torch.Generator().manual_seed(seed)
    g = torch.randn(n, o, i, generator=generator)
    for s in range(n):
        if s % 4 == 0:
            g[s, :, ::7] *= 300
            g[s, ::5] *= 30
        elif s % 4 == 1:
            g[s] = torch.outer(g[s, :, 0], g[s, 0])
        elif s % 4 == 2:
            g[s, :, i // 2 :] = g[s, :, : i - i // 2]
    return g


def tokens(n: int, t: int, o: int, i: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """x [n, t, i] with constant massive channels and dy [n, t, o] that sums to zero over the tokens, float32."""
    generator = torch.Generator().manual_seed(seed)
    x, dy = torch.randn(n, t, i, generator=generator), torch.randn(n, t, o, generator=generator)
    x[:, :, :: max(1, i // 3)] += 300
    if t > 1:
        dy -= dy.mean(1, keepdim=True)
    return x, dy


def outer(x: Tensor, dy: Tensor) -> Tensor:
    """sum_t dy_t x_t^T in float64: [n, o, i]."""
    return torch.einsum("nto,nti->noi", dy.double(), x.double())


def far_apart(shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor of zeros whose elements lie up to tens of gigabytes apart, without using that memory."""
    import mmap

    if not hasattr(mmap, "MAP_NORESERVE"):
        import pytest

        pytest.skip("this system cannot map memory without reserving it")
    elements = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_NORESERVE
    buffer = torch.frombuffer(mmap.mmap(-1, elements * dtype.itemsize, flags=flags), dtype=dtype)
    return buffer.as_strided(shape, strides)
