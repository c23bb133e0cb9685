"""Every score of a store, in the order of its rows: for a few queries, where all scores are needed."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

from motive_kernels.ops.dot_scores import reference
from motive_kernels.runtime.dispatch import ONE_PASS, Op
from motive_kernels.search import passes
from motive_kernels.search.base import Pass, Queries, Rows, Wanted, check_search
from motive_kernels.search.bracket import all_parts
from motive_kernels.search.stream import device_names, streaming_pass


def _by(run: Pass, queries: Tensor, store: Tensor, scales: Tensor | None, keep: Tensor | None) -> Tensor:
    """As reference.dot_scores, by one pass over the store: each row's best score for one query, lists for several."""
    asked, rows = Queries.of(queries, store), Rows(store, scales, keep)
    infinity = torch.full((len(asked),), math.inf)
    if len(asked) == 1:
        best = all_parts(run, asked, [rows], Wanted(infinity, infinity, 1, best=True), "dot_scores").best
        assert best is not None
        return best[None].to(store.device)
    found = all_parts(run, asked, [rows], Wanted(-infinity, infinity, len(rows)), "dot_scores")
    scores = torch.full((len(asked), len(rows)), -math.inf)
    width = int(found.listed.max())  # the same for each query: the rows that are kept
    scores.scatter_(1, found.rows[:, :width], found.scores[:, :width])
    return scores.to(store.device)


OP = Op(
    "dot_scores",
    {
        "cpp": functools.partial(_by, passes.cpp),
        "triton": functools.partial(_by, passes.triton),
        "torch": reference.dot_scores,
    },
    (torch.float32, torch.float16, torch.int8),
    absent={"cuda": ONE_PASS},
)


def dot_scores(
    queries: Tensor,
    store: Tensor,
    *,
    scales: Tensor | None = None,
    keep: Tensor | None = None,
    devices: Sequence[str | torch.device] = (),
    impl: str | None = None,
) -> Tensor:
    """The score of every row for each query, with the bits of topk_dot.

    score(q, n) = scales[n] * dot(queries[q], store[n]); see topk_dot. Memory is q x n: take topk_dot or vote, which
    make no such matrix, where the best rows or their counts are enough.

    Args:
        queries: [q, k] floating, finite.
        store: [n, k] float32, float16 or int8 (float64: torch only); see quantize_rows.
        scales: [n] float32, finite. None is 1.
        keep: [n] bool; rows with False score -inf.
        devices: as for topk_dot.
        impl: cpp, triton, torch or None.

    Returns:
        float32 [q, n].

    Raises:
        ValueError: an argument does not fit, or a row holds NaN or infinity; the message names it.
        RuntimeError: the named implementation cannot run here.
    """
    check_search("dot_scores", queries, store, scales, keep)
    return _dot_scores(queries.detach(), store, scales, keep, impl, device_names("dot_scores", devices, store))


@torch.library.custom_op("motive::dot_scores", mutates_args=())
def _dot_scores(
    queries: Tensor,
    store: Tensor,
    scales: Optional[Tensor],  # noqa: UP045
    keep: Optional[Tensor],  # noqa: UP045
    impl: Optional[str],  # noqa: UP045
    devices: str = "",
) -> Tensor:
    if devices:
        return _by(streaming_pass(OP, impl, devices, store.dtype), queries, store, scales, keep)
    return OP.choose(impl, store.device.type, store.dtype)(queries, store, scales, keep)


@_dot_scores.register_fake
def _(
    queries: Tensor,
    store: Tensor,
    scales: Optional[Tensor],  # noqa: UP045
    keep: Optional[Tensor],  # noqa: UP045
    impl: Optional[str],  # noqa: UP045
    devices: str = "",
) -> Tensor:
    dtype = torch.float64 if store.dtype == torch.float64 else torch.float32
    return store.new_empty((queries.shape[0], store.shape[0]), dtype=dtype)
