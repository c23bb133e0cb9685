"""Each query votes for the rows that reach its threshold, without a matrix of scores."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, Optional, overload

import torch
from torch import Tensor

from motive_kernels.ops.vote import reference
from motive_kernels.ops.vote.reference import VoteStatistics, share_count
from motive_kernels.runtime.checks import fail
from motive_kernels.runtime.dispatch import ONE_PASS, Op
from motive_kernels.search import passes
from motive_kernels.search.base import Pass, Queries, Rows, check_search
from motive_kernels.search.bracket import kept_rows
from motive_kernels.search.elect import elect
from motive_kernels.search.stream import device_names, streaming_pass


def _by(
    run: Pass,
    queries: Tensor,
    store: Tensor,
    share: float,
    scales: Tensor | None,
    keep: Tensor | None,
    weights: Tensor | None,
    statistics: bool,
) -> list[Tensor]:
    """As reference.vote, by one pass over the store."""
    rows, weights = Rows(store, scales, keep), None if weights is None else weights.cpu()
    count = share_count(share, kept_rows([rows]))
    done = elect(run, Queries.of(queries, store), [rows], count, weights=weights, spread=statistics)
    given = VoteStatistics.empty(done.thresholds)
    if statistics:
        found = done.found
        seen = [found.lowest, found.highest, found.total, found.best]
        # A registered op may not give two views of one tensor, as a pass does with the extremes.
        given = VoteStatistics(done.voted, done.tied, *(tensor.clone() for tensor in seen if tensor is not None))
    return [tensor.to(store.device) for tensor in (done.votes, done.thresholds, *given)]


OP = Op(
    "vote",
    {
        "cpp": functools.partial(_by, passes.cpp),
        "triton": functools.partial(_by, passes.triton),
        "torch": reference.vote,
    },
    (torch.float32, torch.float16, torch.int8),
    absent={"cuda": ONE_PASS},
)


@overload
def vote(
    queries: Tensor,
    store: Tensor,
    share: float,
    *,
    scales: Tensor | None = None,
    keep: Tensor | None = None,
    weights: Tensor | None = None,
    statistics: Literal[False] = False,
    devices: Sequence[str | torch.device] = (),
    impl: str | None = None,
) -> tuple[Tensor, Tensor]: ...


@overload
def vote(
    queries: Tensor,
    store: Tensor,
    share: float,
    *,
    scales: Tensor | None = None,
    keep: Tensor | None = None,
    weights: Tensor | None = None,
    statistics: Literal[True],
    devices: Sequence[str | torch.device] = (),
    impl: str | None = None,
) -> tuple[Tensor, Tensor, VoteStatistics]: ...


def vote(
    queries: Tensor,
    store: Tensor,
    share: float,
    *,
    scales: Tensor | None = None,
    keep: Tensor | None = None,
    weights: Tensor | None = None,
    statistics: bool = False,
    devices: Sequence[str | torch.device] = (),
    impl: str | None = None,
) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, VoteStatistics]:
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
        statistics: also give what the pass sees of the scores; a pass over int8 is faster without, since it need not
            make every score.
        devices: as for topk_dot.
        impl: cpp, triton, torch or None.

    Returns:
        (votes, thresholds): int32 [n], float32 [q]; with ``statistics`` also a VoteStatistics.

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
    names = device_names("vote", devices, store)
    found = _vote(queries.detach(), store, float(share), scales, keep, weights, impl, statistics, names)
    return (found[0], found[1], VoteStatistics(*found[2:])) if statistics else (found[0], found[1])


@torch.library.custom_op("motive::vote", mutates_args=())
def _vote(
    queries: Tensor,
    store: Tensor,
    share: float,
    scales: Optional[Tensor],  # noqa: UP045
    keep: Optional[Tensor],  # noqa: UP045
    weights: Optional[Tensor],  # noqa: UP045
    impl: Optional[str],  # noqa: UP045
    statistics: bool = False,
    devices: str = "",
) -> list[Tensor]:
    if devices:
        run = streaming_pass(OP, impl, devices, store.dtype)
        return _by(run, queries, store, share, scales, keep, weights, statistics)
    chosen = OP.choose(impl, store.device.type, store.dtype)
    return chosen(queries, store, share, scales, keep, weights, statistics)


@_vote.register_fake
def _(
    queries: Tensor,
    store: Tensor,
    share: float,
    scales: Optional[Tensor],  # noqa: UP045
    keep: Optional[Tensor],  # noqa: UP045
    weights: Optional[Tensor],  # noqa: UP045
    impl: Optional[str],  # noqa: UP045
    statistics: bool = False,
    devices: str = "",
) -> list[Tensor]:
    q, n = (queries.shape[0], store.shape[0]) if statistics else (0, 0)
    sizes = (store.shape[0], queries.shape[0], q, q, q, q, q, n)
    wide = torch.float64 if store.dtype == torch.float64 else torch.float32
    types = (torch.int32, wide, torch.int64, torch.int64, wide, wide, torch.float64, wide)
    return [store.new_empty((size,), dtype=dtype) for size, dtype in zip(sizes, types, strict=True)]
