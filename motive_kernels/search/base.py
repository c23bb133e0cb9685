"""Shared by the search ops: arguments, queries in the form that meets a store, and the result of one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from motive_kernels.runtime.checks import check_tensor, describe, fail

MAX_LEVEL = 32639
"""Two bytes of a query are 256 * high + low with both within -128 .. 127."""

MAX_INT8_DIM = 1 << 17
STORE_CODES = {torch.float32: 0, torch.float16: 1, torch.int8: 2}
"""motive::StoreType of csrc/include/motive/scan.h."""


class NotFiniteError(ValueError):
    """A query, a factor or a score of a search is NaN, infinite or beyond float32."""


def not_finite(where: str, name: str, must: str, place: str, remedy: str) -> NotFiniteError:
    """The message form of ``fail``."""
    return NotFiniteError(str(fail(where, name, must, f"NaN or infinity{place}", remedy)))


def quantize_queries(queries: Tensor) -> tuple[Tensor, Tensor]:
    """Round each query to 16 bits (fewer beyond k = 514), as topk_dot, vote and dot_scores do for an int8 store.

    A caller that bounds the error of int8 scores needs what the queries lost: queries - scales[:, None] * values.

    Args:
        queries: [q, k] floating, finite.

    Returns:
        (values, scales): int16 [q, k] and float32 [q]; a sum of products with int8 over k fits 32 bits.

    Raises:
        ValueError: queries is not a floating-point matrix.
    """
    check_tensor("quantize_queries", "queries", queries, 2, "[q, k]")
    levels = min(MAX_LEVEL, (2**31 - 1) // (128 * queries.shape[1]))
    wide = queries.double()
    largest = wide.abs().amax(dim=1)
    factor = torch.where(largest > 0, torch.full_like(largest, levels) / largest, 0.0)
    return torch.round(wide * factor[:, None]).to(torch.int16), (largest / levels).float()


@dataclass(frozen=True)
class Queries:
    """Queries as a pass takes them.

    Attributes:
        values: [q, k] int16 for an int8 store, else float32 (float64 for a float64 store).
        scales: [q] float32, factors on their scores.
    """

    values: Tensor
    scales: Tensor

    @classmethod
    def of(cls, queries: Tensor, store: Tensor) -> Queries:
        """Round queries for an int8 store so finely that a sum over k just fits 32 bits; else take them as they are."""
        if store.dtype != torch.int8:
            wide = torch.float64 if store.dtype == torch.float64 else torch.float32
            return cls(queries.to(wide).contiguous(), torch.ones(len(queries), device=queries.device))
        return cls(*quantize_queries(queries))

    def pick(self, chosen: Tensor) -> Queries:
        """Some of the queries."""
        return Queries(self.values[chosen], self.scales[chosen])

    def to(self, device: torch.device) -> Queries:
        """The same on another device."""
        return Queries(self.values.to(device), self.scales.to(device))

    def __len__(self) -> int:
        return self.values.shape[0]


@dataclass(frozen=True)
class Rows:
    """A store, or a part of one.

    Attributes:
        values: [n, k] float32, float16 or int8 (float64: torch only).
        scales: [n] float32, factors on the rows' scores; None is 1.
        keep: [n] bool; rows with False take no part. None keeps all.
    """

    values: Tensor
    scales: Tensor | None = None
    keep: Tensor | None = None

    def __len__(self) -> int:
        return self.values.shape[0]

    def pick(self, rows: Tensor) -> Rows:
        """Some of the rows, all of which take part."""
        values = self.values.index_select(0, rows)  # several times faster than an index
        return Rows(values, None if self.scales is None else self.scales[rows])

    def part(self, start: int, stop: int) -> Rows:
        """Rows start to stop - 1."""
        scales = None if self.scales is None else self.scales[start:stop]
        return Rows(self.values[start:stop], scales, None if self.keep is None else self.keep[start:stop])


@dataclass(frozen=True)
class Wanted:
    """What a pass is asked for.

    Attributes:
        low, high: [q] float32; scores strictly between them are listed.
        capacity: how many of them have room, for each query.
        votes: give votes; weights: [q] int32 of the queries, None is 1.
        best: give each row's largest score.
        spread: give the queries' lowest, highest and total scores. Without it and without best a pass over an
            int8 store may be faster, since it need not make every score.
    """

    low: Tensor
    high: Tensor
    capacity: int
    votes: bool = False
    weights: Tensor | None = None
    best: bool = False
    spread: bool = False


@dataclass(frozen=True)
class Found:
    """The result of a pass.

    Attributes:
        above, reached, listed: [q] int64, rows with score > high, >= high, and strictly between low and high.
        lowest, highest: [q] float32, extremes of the scores; None unless asked for.
        total: [q] float64, their sum; None unless asked for.
        scores, rows: [q, at most capacity], the listed rows in any order; only the first ``listed`` of each query are
            set.
        votes: [n] int32, weights of the queries with score >= high.
        best: [n] float32; -inf for rows that take no part.
        first_broken: first row with a score that is not finite; n if there is none.
    """

    above: Tensor
    reached: Tensor
    listed: Tensor
    lowest: Tensor | None
    highest: Tensor | None
    total: Tensor | None
    scores: Tensor
    rows: Tensor
    votes: Tensor | None
    best: Tensor | None
    first_broken: int


Pass = Callable[[Queries, Rows, Wanted], Found]
"""One pass over rows: scan/cpp.py and scan/triton.py."""


def check_search(where: str, queries: Tensor, store: Tensor, scales: Tensor | None, keep: Tensor | None) -> None:
    """Arguments that topk_dot, vote and dot_scores have in common.

    Raises:
        ValueError: one does not fit; the message names it.
    """
    if not isinstance(store, Tensor) or store.ndim != 2 or store.shape[1] < 1:
        got = describe(store) if isinstance(store, Tensor) else type(store).__name__
        raise fail(where, "store", "a tensor [n, k] with k >= 1", got, "pass vectors")
    if store.dtype not in (*STORE_CODES, torch.float64):
        raise fail(where, "store", "int8, float16 or float32", describe(store), "convert it or use quantize_rows")
    if store.dtype == torch.int8 and store.shape[1] > MAX_INT8_DIM:
        raise fail(where, "store", f"at most {MAX_INT8_DIM} wide as int8", describe(store), "use float16")
    check_tensor(where, "queries", queries, 2, "[q, k]")
    if queries.shape[1] != store.shape[1] or queries.device != store.device or len(queries) == 0:
        raise fail(
            where, "queries", f"[q >= 1, {store.shape[1]}] on {store.device}", describe(queries), "match the store"
        )
    if not bool(queries.isfinite().all()):
        raise not_finite(where, "queries", "finite", "", "leave that query out")
    if scales is not None:
        if scales.shape != store.shape[:1] or scales.dtype != torch.float32 or scales.device != store.device:
            raise fail(where, "scales", f"float32 [{len(store)}] on {store.device}", describe(scales), "convert it")
        if not bool(scales.isfinite().all()):
            broken = int((~scales.isfinite()).int().argmax())
            raise not_finite(where, "scales", "finite", f" in row {broken}", "leave that row out")
    if keep is not None and (keep.shape != store.shape[:1] or keep.dtype != torch.bool or keep.device != store.device):
        raise fail(where, "keep", f"bool [{len(store)}] on {store.device}", describe(keep), "convert it")


def refuse_broken(where: str, row: int) -> None:
    """Say which row has a score that is not a number."""
    raise not_finite(where, "store", "rows whose scores fit float32", f" in row {row}", "leave that row out")
