"""The best rows of a store for each query: dot products and selection in one pass, with no matrix of scores."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

from motive_kernels.ops.topk_dot import reference
from motive_kernels.runtime.checks import fail
from motive_kernels.runtime.dispatch import ONE_PASS, Op
from motive_kernels.search import passes
from motive_kernels.search.base import Pass, Queries, Rows, check_search
from motive_kernels.search.best import search
from motive_kernels.search.stream import device_names, streaming_pass


def _by(
    run: Pass, queries: Tensor, store: Tensor, top: int, scales: Tensor | None, keep: Tensor | None, largest: bool
) -> tuple[Tensor, Tensor]:
    """As reference.topk_dot, by one pass over the store."""
    asked = Queries.of(queries if largest else -queries, store)
    scores, rows = search(run, asked, [Rows(store, scales, keep)], top)
    scores = scores if largest else -scores + 0.0
    return scores.to(store.device), rows.to(store.device)


OP = Op(
    "topk_dot",
    {
        "cpp": functools.partial(_by, passes.cpp),
        "triton": functools.partial(_by, passes.triton),
        "torch": reference.topk_dot,
    },
    (torch.float32, torch.float16, torch.int8),
    absent={"cuda": ONE_PASS},
)


def topk_dot(
    queries: Tensor,
    store: Tensor,
    top: int,
    *,
    scales: Tensor | None = None,
    keep: Tensor | None = None,
    largest: bool = True,
    devices: Sequence[str | torch.device] = (),
    impl: str | None = None,
) -> tuple[Tensor, Tensor]:
    """The ``top`` rows of the store with the largest score for each query, best first, equal ones by row.

    score(q, n) = scales[n] * dot(queries[q], store[n]). With an int8 store the queries are rounded to 16 bits (fewer
    beyond k = 514, so that a sum fits 32 bits), products are exact integers, and every implementation gives the same
    bits. With a float store sums are float32 in a fixed order; implementations differ in the last bits. In any case
    results do not depend on threads, on what other queries there are, or on where in the store a row lies, ties aside.

    Args:
        queries: [q, k] floating, finite.
        store: [n, k] float32, float16 or int8 (float64: torch only); see quantize_rows.
        top: how many rows; more than n gives n.
        scales: [n] float32, finite; with quantize_rows' scales and unit queries, scores are cosines. None is 1.
        keep: [n] bool; rows with False take no part.
        largest: False finds the smallest scores.
        devices: GPUs such as ``cuda:0`` that scan a store in host memory, or mapped from a file, block by block; blocks go
            to them in turn. Empty scans where the store is.
        impl: cpp, triton, torch or None.

    Returns:
        (scores, rows): float32 and int64 [q, min(top, n)]. Where fewer rows take part, -inf (or +inf) and -1 follow.

    Raises:
        ValueError: an argument does not fit, or a row holds NaN or infinity; the message names it.
        RuntimeError: the named implementation cannot run here.
    """
    check_search("topk_dot", queries, store, scales, keep)
    if not isinstance(top, int) or top < 1:
        raise fail("topk_dot", "top", "a positive integer", repr(top), "ask for at least one row")
    names = device_names("topk_dot", devices, store)
    return _topk_dot(queries.detach(), store, min(top, len(store)), scales, keep, largest, impl, names)


@torch.library.custom_op("motive::topk_dot", mutates_args=())
def _topk_dot(
    queries: Tensor,
    store: Tensor,
    top: int,
    scales: Optional[Tensor],  # noqa: UP045
    keep: Optional[Tensor],  # noqa: UP045
    largest: bool,
    impl: Optional[str],  # noqa: UP045
    devices: str = "",
) -> tuple[Tensor, Tensor]:
    if devices:
        return _by(streaming_pass(OP, impl, devices, store.dtype), queries, store, top, scales, keep, largest)
    return OP.choose(impl, store.device.type, store.dtype)(queries, store, top, scales, keep, largest)


@_topk_dot.register_fake
def _(
    queries: Tensor,
    store: Tensor,
    top: int,
    scales: Optional[Tensor],  # noqa: UP045
    keep: Optional[Tensor],  # noqa: UP045
    largest: bool,
    impl: Optional[str],  # noqa: UP045
    devices: str = "",
) -> tuple[Tensor, Tensor]:
    dtype = torch.float64 if store.dtype == torch.float64 else torch.float32
    shape = (queries.shape[0], top)
    return store.new_empty(shape, dtype=dtype), store.new_empty(shape, dtype=torch.int64)
