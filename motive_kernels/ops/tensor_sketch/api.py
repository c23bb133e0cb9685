"""Materialized route of the balanced tensor sketch: a materialised gradient, one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

from motive_kernels.ops.tensor_sketch import cpp, cuda, reference
from motive_kernels.runtime.checks import check_gradient, check_table, check_vectors
from motive_kernels.runtime.dispatch import Op, on_first_use, traced

OP = Op(
    "tensor_sketch_into",
    {
        "cpp": cpp.tensor_sketch_into,
        "cuda": cuda.tensor_sketch_into,
        "triton": on_first_use("motive_kernels.ops.tensor_sketch.triton", "tensor_sketch_into"),
        "torch": reference.tensor_sketch_into,
    },
)


def tensor_sketch_into(
    z: Tensor, grad: Tensor, rows: Tensor, columns: Tensor, *, scale: float = 1.0, impl: str | None = None
) -> None:
    """Add the sketch of each sample's gradient to z in place.

    z[s, (h_o[a] + h_i[b]) mod k] += scale * s_o[a] * s_i[b] * grad[s, a, b].

    Args:
        z: [n, k] float32, contiguous (float64 with the torch implementation only).
        grad: [n, o, i] float32, bfloat16 or float16 (float64: torch only); any strides.
        rows, columns: int32 [runs, k], from tables.gather_table for lengths o and i.
        scale: factor on the sketch.
        impl: cpp, cuda, triton, torch or None.

    Raises:
        ValueError, RuntimeError: an argument does not fit; the message names it.
    """
    n, o, i = check_gradient("tensor_sketch_into", grad)
    k = check_vectors("tensor_sketch_into", z, n, grad)
    check_table("tensor_sketch_into", "rows", rows, o, k, grad)
    check_table("tensor_sketch_into", "columns", columns, i, k, grad)
    call = _registered if traced(z, grad) else _run
    call(z, grad, rows, columns, scale, impl)


def tensor_sketch_many_into(z: Tensor, parts: Sequence[cuda.Part], *, impl: str | None = None) -> None:
    """Add the sketches of several gradients, e.g. all layers of a model; with CUDA in one launch for each dtype.

    Args:
        z: [n, k] as for tensor_sketch_into.
        parts: (gradient [n, o, i], row table, column table, scale) as for tensor_sketch_into.
        impl: cpp, cuda, triton, torch or None.
    """
    together: dict[torch.dtype, list[cuda.Part]] = {}
    for part in parts:
        grad, rows, columns, scale = part
        launch = grad.numel() > 0 and not traced(z, grad)
        if launch and OP.choose(impl, grad.device.type, grad.dtype) is cuda.tensor_sketch_into:
            n, o, i = check_gradient("tensor_sketch_into", grad)
            k = check_vectors("tensor_sketch_into", z, n, grad)
            check_table("tensor_sketch_into", "rows", rows, o, k, grad)
            check_table("tensor_sketch_into", "columns", columns, i, k, grad)
            together.setdefault(grad.dtype, []).append(part)
        else:
            tensor_sketch_into(z, grad, rows, columns, scale=scale, impl=impl)
    with torch.no_grad():
        for group in together.values():
            cuda.tensor_sketch_many_into(z, group)
            torch.autograd.graph.increment_version(z)


def _run(
    z: Tensor,
    grad: Tensor,
    rows: Tensor,
    columns: Tensor,
    scale: float,
    impl: Optional[str],  # noqa: UP045
) -> None:
    if grad.numel():
        with torch.no_grad():
            OP.choose(impl, grad.device.type, grad.dtype)(z, grad, rows, columns, scale)
        torch.autograd.graph.increment_version(z)


_registered = torch.library.custom_op("motive::tensor_sketch_into", _run, mutates_args={"z"})


@_registered.register_fake
def _(z: Tensor, grad: Tensor, rows: Tensor, columns: Tensor, scale: float, impl: Optional[str]) -> None:  # noqa: UP045
    return None
