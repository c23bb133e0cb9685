"""Factorized route of the balanced tensor sketch: per-sample gradient extraction and projection in one."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from motive_kernels.ops.outer_sketch import cpp, cuda, reference
from motive_kernels.runtime.checks import check_lengths, check_table, check_tokens, check_vectors
from motive_kernels.runtime.dispatch import Op, on_first_use, traced

OP = Op(
    "outer_sketch_into",
    {
        "cpp": cpp.outer_sketch_into,
        "cuda": cuda.outer_sketch_into,
        "triton": on_first_use("motive_kernels.ops.outer_sketch.triton", "outer_sketch_into"),
        "torch": reference.outer_sketch_into,
    },
)


def outer_sketch_into(
    z: Tensor,
    x: Tensor,
    dy: Tensor,
    rows: Tensor,
    columns: Tensor,
    *,
    lengths: Tensor | None = None,
    scale: float = 1.0,
    impl: str | None = None,
) -> None:
    """Add the sketch of each sample's sum_t dy_t x_t^T to z in place, without forming that matrix.

    Args:
        z: [n, k] float32, contiguous (float64 with the torch implementation only).
        x: [n, t, i] float32, bfloat16 or float16 (float64: torch only); any strides.
        dy: [n, t, o], the dtype of x.
        rows, columns: int32 [runs, k], from tables.gather_table for lengths o and i.
        lengths: int64 [n] in 0 .. t, or None for t everywhere; tokens past a sample's length are never read
            into a result, whatever they hold.
        scale: factor on the sketch.
        impl: cpp, cuda, triton, torch or None.

    Raises:
        ValueError, RuntimeError: an argument does not fit; the message names it.
    """
    n, t, i, o = check_tokens("outer_sketch_into", x, dy)
    k = check_vectors("outer_sketch_into", z, n, x)
    check_table("outer_sketch_into", "rows", rows, o, k, x)
    check_table("outer_sketch_into", "columns", columns, i, k, x)
    if lengths is not None:
        lengths = check_lengths("outer_sketch_into", lengths, n, t, x)
    call = _registered if traced(z, x, dy) else _run
    call(z, x, dy, rows, columns, lengths, scale, impl)


def _run(
    z: Tensor,
    x: Tensor,
    dy: Tensor,
    rows: Tensor,
    columns: Tensor,
    lengths: Optional[Tensor],  # noqa: UP045
    scale: float,
    impl: Optional[str],  # noqa: UP045
) -> None:
    if x.numel() and dy.numel():
        with torch.no_grad():
            OP.choose(impl, x.device.type, x.dtype)(z, x, dy, rows, columns, lengths, scale)
        torch.autograd.graph.increment_version(z)


_registered = torch.library.custom_op("motive::outer_sketch_into", _run, mutates_args={"z"})


@_registered.register_fake
def _(
    z: Tensor,
    x: Tensor,
    dy: Tensor,
    rows: Tensor,
    columns: Tensor,
    lengths: Optional[Tensor],  # noqa: UP045
    scale: float,
    impl: Optional[str],  # noqa: UP045
) -> None:
    return None
