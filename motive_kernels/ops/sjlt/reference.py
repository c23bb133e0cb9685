"""The definition of the sparse Johnson-Lindenstrauss transform (docs/projection.md)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motive_kernels.rng.philox import counter_blocks, philox4x32

_WORDS_AT_ONCE = 1 << 18


def buckets_and_signs(
    key: tuple[int, int], start: int, count: int, nonzeros: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Buckets and signs of the coordinates start .. start + count - 1.

    Nonzero c of coordinate j takes word t mod 4 of the block with counter t div 4, t = j * nonzeros + c: its lowest
    bit is the sign (1 = +1), its upper 31 bits choose evenly among the buckets floor(c k / nonzeros) up to
    floor((c + 1) k / nonzeros) - 1, so that one coordinate never meets a bucket twice.

    Returns:
        bucket int64 and sign int8, both [count, nonzeros].
    """
    first, last = start * nonzeros // 4, -(-(start + count) * nonzeros // 4)
    words = philox4x32(counter_blocks(first, last - first, 0, 0), key).reshape(-1)
    words = words[start * nonzeros - 4 * first :][: count * nonzeros].reshape(count, nonzeros)
    low = np.arange(nonzeros + 1, dtype=np.int64) * k // nonzeros
    chosen = ((words >> np.uint32(1)).astype(np.int64) * np.diff(low)) >> 31
    return low[:-1] + chosen, np.where(words & 1, 1, -1).astype(np.int8)


def sjlt_into(z: Tensor, grad: Tensor, nonzeros: int, key0: int, key1: int, scale: float) -> None:
    """z[bucket of (j, c)] += scale * sign of (j, c) * grad[j], over the coordinates j and c = 0 .. nonzeros - 1.

    Args:
        z: [n, k] float32 or float64, added to in place.
        grad: [n, d] floating.
        nonzeros: of each column of the matrix, at most k.
        key0, key1: the Philox key.
        scale: factor on the whole.
    """
    exact = torch.float64 if grad.dtype == torch.float64 else torch.float32
    columns = max(1, _WORDS_AT_ONCE // nonzeros)
    total = torch.zeros(z.shape, dtype=exact, device=grad.device)
    for start in range(0, grad.shape[1], columns):
        part = grad[:, start : start + columns].to(exact)
        bucket, sign = buckets_and_signs((key0, key1), start, part.shape[1], nonzeros, z.shape[1])
        for c in range(nonzeros):
            signed = part * torch.from_numpy(sign[:, c]).to(part)
            total.index_add_(1, torch.from_numpy(bucket[:, c]).to(part.device), signed)
    z += (scale * total).to(z.dtype)
