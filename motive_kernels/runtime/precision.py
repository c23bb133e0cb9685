"""Matrix products whose precision does not depend on torch's global TF32 and matmul-precision switches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Suffixes name axes: n sample, t token, o layer output, i layer input.


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, float32 products are float32 on every device; afterwards the switches are as they were.

    The switches are global, so other threads compute in full float32 meanwhile.
    """
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):  # before torch 2.9
        legacy = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(legacy)
        return
    switches: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


def outer_products(x_nti: Tensor, dy_nto: Tensor) -> Tensor:
    """Per-sample weight gradients sum_t dy_t x_t^T, summed in float32: float32 [n, o, i] (float64 of float64).

    Operands of one 16-bit dtype are multiplied as they are where torch can return float32 (CUDA, torch 2.8 and later);
    elsewhere they are widened first, which changes no product.

    Args:
        x_nti: inputs [n, t, i].
        dy_nto: output gradients [n, t, o].
    """
    if x_nti.dtype == torch.float64:
        return torch.bmm(dy_nto.double().transpose(1, 2), x_nti)
    if _returns_float32(x_nti, dy_nto):
        return torch.bmm(dy_nto.transpose(1, 2), x_nti, out_dtype=torch.float32)  # type: ignore[call-overload]
    with full_float32():
        return torch.bmm(dy_nto.float().transpose(1, 2), x_nti.float())


def _returns_float32(x: Tensor, dy: Tensor) -> bool:
    sixteen = x.dtype == dy.dtype and x.dtype in (torch.bfloat16, torch.float16)
    return sixteen and _on_gpu(x) and "dtype" in torch.ops.aten.bmm.overloads()


def _on_gpu(x: Tensor) -> bool:
    return x.device.type == "cuda"
