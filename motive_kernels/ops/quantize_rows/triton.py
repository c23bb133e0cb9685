"""quantize_rows on the GPU: one program a row, two passes over it."""
# ruff: noqa: N803 - Triton writes compile-time constants in upper case.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from motive_kernels.runtime.triton_call import launch

BLOCK = 1024


@triton.jit
def quantize_kernel(z, values, scales, broken, dim, stride, UNIT: tl.constexpr, BLOCK: tl.constexpr):
    """Bytes of one row and its factor; broken[row] is 1 if an element is not finite."""
    row = tl.program_id(0).to(tl.int64)
    most = tl.zeros((BLOCK,), tl.float32)
    bad = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, dim, BLOCK):
        at = start + tl.arange(0, BLOCK)
        size = tl.abs(tl.load(z + row * stride + at, mask=at < dim, other=0.0).to(tl.float32))
        bad |= tl.where(size < float("inf"), 0, 1)
        most = tl.where((size > most) & (size < float("inf")), size, most)
    largest = tl.max(most, 0).to(tl.float64)
    factor = tl.where(largest > 0, 127.0 / tl.where(largest > 0, largest, 1.0), 0.0)
    squares = tl.zeros((BLOCK,), tl.int64)
    for start in range(0, dim, BLOCK):
        at = start + tl.arange(0, BLOCK)
        value = tl.load(z + row * stride + at, mask=at < dim, other=0.0).to(tl.float32)
        wide = tl.where(tl.abs(value) < float("inf"), value, 0.0).to(tl.float64) * factor
        shift = 6755399441055744.0
        rounded = ((wide + shift) - shift).to(tl.int32)
        tl.store(values + row * dim + at, rounded.to(tl.int8), mask=at < dim)
        squares += (rounded * rounded).to(tl.int64)
    total = tl.sum(squares, 0).to(tl.float64)
    scale = 1.0 / tl.sqrt(tl.where(total > 0, total, 1.0)) if UNIT else largest / 127.0
    tl.store(scales + row, tl.where(total > 0, scale, 0.0).to(tl.float32))
    tl.store(broken + row, tl.max(bad, 0))


def quantize_rows(z: Tensor, unit: bool) -> tuple[Tensor, Tensor, int]:
    """As reference.quantize_rows, for float32, bfloat16 and float16."""
    z = z if z.stride(1) == 1 else z.contiguous()
    rows, dim = z.shape
    values = torch.empty(rows, dim, dtype=torch.int8, device=z.device)
    scales = torch.empty(rows, dtype=torch.float32, device=z.device)
    broken = torch.empty(rows, dtype=torch.int32, device=z.device)
    if rows == 0:
        return values, scales, 0
    block = min(BLOCK, triton.next_power_of_2(dim))
    launch(
        quantize_kernel, (rows,), z, z, values, scales, broken, dim, z.stride(0), unit, block, enable_fp_fusion=False
    )  # rounds by adding
    return values, scales, int(broken.argmax()) if bool(broken.any()) else rows
