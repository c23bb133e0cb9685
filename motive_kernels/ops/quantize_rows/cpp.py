"""The C++ implementation of quantize_rows: csrc/cpu/quantize_rows.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from motive_kernels.runtime import native


def quantize_rows(z: Tensor, unit: bool) -> tuple[Tensor, Tensor, int]:
    """As reference.quantize_rows, for float32, bfloat16 and float16 on the CPU."""
    z = native.rows_adjacent(z)
    values = torch.empty(z.shape, dtype=torch.int8)
    scales = torch.empty(z.shape[0], dtype=torch.float32)
    broken = torch.empty(1, dtype=torch.int64)
    native.call(
        "quantize_rows",
        "QuantizeRows",
        z,
        values=values,
        scales=scales,
        z=z,
        dtype=z.dtype,
        rows=z.shape[0],
        dim=z.shape[1],
        row_stride=z.stride(0),
        unit=unit,
        first_broken=broken,
    )
    return values, scales, int(broken)
