"""Each query votes for the rows that reach its threshold, without a matrix of scores."""

from __future__ import annotations

import functools
from typing import Optional

import torch
from torch import Tensor

from motive_kernels.ops.vote import reference
from motive_kernels.ops.vote.reference import share_count
from motive_kernels.runtime.checks import fail
from motive_kernels.runtime.dispatch import Op
from motive_kernels.search import passes
from motive_kernels.search.base import Pass, Queries, Rows, check_search
from motive_kernels.search.bracket import kept_rows
from motive_kernels.search.elect import elect


def _by(
    run: Pass,
    queries: Tensor,
    store: Tensor,
    share: float,
    scales: Tensor | None,
    keep: Tensor | None,
    weights: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """As reference.vote, by one pass over the store."""
    rows, weights = Rows(store, scales, keep), None if weights is None else weights.cpu()
    done = elect(run, Queries.of(queries, store), [rows], share_count(share, kept_rows([rows])), weights=weights)
    return done.votes.to(store.device), done.thresholds.to(store.device)


OP = Op(
    "vote",
    {
        "cpp": functools.partial(_by, passes.cpp),
        "triton": functools.partial(_by, passes.triton),
        "torch": reference.vote,
    },
    (torch.float32, torch.float16, torch.int8),
)


def vote(
    queries: Tensor,
    store: Tensor,
    share: float,
    *,
    scales: Tensor | None = None,
    keep: Tensor | None = None,
    weights: Tensor | None = None,
    impl: str | None = None,
) -> tuple[Tensor, Tensor]:
    """How many queries have a row among their best (Wu et al. 2026, Eq. 17 and 18).

    A query votes for a row iff its score reaches the floor(share * n)-th largest, so also for rows that tie with it.
    Scores are those of topk_dot. A sample brackets the thresholds, one pass settles all but the scores in between, and
    those are settled exactly; a bracket that fails is widened. No matrix of scores is made.

    Args:
        queries: [q, k] floating, finite.
        store: [n >= 1, k] float32, float16 or int8 (float64: torch only); see quantize_rows.
        share: of the rows, 0 < share <= 1, taken as the decimal that it is written as; at least one row.
        scales: [n] float32, finite; None is 1.
        keep: [n] bool, True for at least one row; rows with False take no part and get no votes.
        weights: [q] int32 >= 0, what a query's vote counts; None is 1.
        impl: cpp, triton, torch or None.

    Returns:
        (votes, thresholds): int32 [n], float32 [q].

    Raises:
        ValueError: an argument does not fit, or a row holds NaN or infinity; the message names it.
        RuntimeError: the named implementation cannot run here.
    """
    check_search("vote", queries, store, scales, keep)
    if not isinstance(share, float | int) or not 0 < share <= 1:
        raise fail("vote", "share", "in (0, 1]", repr(share), "try 0.1")
    if kept_rows([Rows(store, scales, keep)]) == 0:
        raise fail("vote", "store", "of at least one row that takes part", "none", "pass rows")
    if weights is not None and (
        weights.shape != queries.shape[:1] or weights.dtype != torch.int32 or bool((weights < 0).any())
    ):
        raise fail("vote", "weights", f"int32 [{len(queries)}], not negative", weights, "scale and round them")
    return _vote(queries.detach(), store, float(share), scales, keep, weights, impl)


@torch.library.custom_op("motive::vote", mutates_args=())
def _vote(
    queries: Tensor,
    store: Tensor,
    share: float,
    scales: Optional[Tensor],  # noqa: UP045
    keep: Optional[Tensor],  # noqa: UP045
    weights: Optional[Tensor],  # noqa: UP045
    impl: Optional[str],  # noqa: UP045
) -> tuple[Tensor, Tensor]:
    return OP.choose(impl, store.device.type, store.dtype)(queries, store, share, scales, keep, weights)


@_vote.register_fake
def _(
    queries: Tensor,
    store: Tensor,
    share: float,
    scales: Optional[Tensor],  # noqa: UP045
    keep: Optional[Tensor],  # noqa: UP045
    weights: Optional[Tensor],  # noqa: UP045
    impl: Optional[str],  # noqa: UP045
) -> tuple[Tensor, Tensor]:
    dtype = torch.float64 if store.dtype == torch.float64 else torch.float32
    return store.new_empty(store.shape[:1], dtype=torch.int32), store.new_empty(queries.shape[:1], dtype=dtype)
