"""Definition of quantize_rows in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = 127


def quantize_rows(z: Tensor, unit: bool) -> tuple[Tensor, Tensor, int]:
    """Bytes and factors of rows [n, k], and the first row that is not finite (n if all are).

    All in float64, where the only sum is one of integers: any implementation gives the same bits.
    """
    wide = z.double()
    finite = wide.isfinite().all(dim=1)
    if not bool(finite.all()):
        return (
            z.new_empty(z.shape, dtype=torch.int8),
            z.new_empty(len(z), dtype=torch.float32),
            int(finite.int().argmin()),
        )
    largest = wide.abs().amax(dim=1)
    factor = torch.where(largest > 0, torch.full_like(largest, LEVELS) / largest, 0.0)  # LEVELS / would round twice
    values = torch.round(wide * factor[:, None])
    squares = values.square().sum(dim=1)
    scales = 1.0 / squares.sqrt() if unit else largest / LEVELS
    return values.to(torch.int8), torch.where(squares > 0, scales, 0.0).float(), len(z)
