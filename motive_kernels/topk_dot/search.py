"""The best rows of each query by one pass: a sample bounds the last of them from below, and what beats it is listed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from motive_kernels.scan.base import Found, Pass, Queries, Rows, Wanted
from motive_kernels.scan.bracket import SIGMAS, all_parts, kept_rows, roomy, take_sample

_TIE_BLOCK = 1 << 16
_ROUGH = 4
"""A list of the best may be a few times longer than it must, so the sample may be that much smaller."""
_ROOM = 4
"""Lists vary as much as that; room that is not filled takes no memory, and a second pass takes time."""


def search(
    run: Pass, queries: Queries, parts: Sequence[Rows], top: int, where: str = "topk_dot"
) -> tuple[Tensor, Tensor]:
    """Scores [q, top] and rows [q, top], best first, of equal scores the lower row first; rows count over all parts.

    Places beyond the rows that take part hold -inf and -1.
    """
    count, total = len(queries), kept_rows(parts)
    scores, rows = torch.full((count, top), -math.inf), torch.full((count, top), -1, dtype=torch.int64)
    wanted = min(top, total)
    if wanted == 0:
        return scores, rows
    sample = take_sample(run, queries, parts, where, _ROUGH)
    m = sample.scores.shape[1]
    expected = wanted * m / total
    place = wanted if m == total else int(expected + SIGMAS * math.sqrt(expected) + 4)
    open_queries = torch.arange(count)
    while open_queries.numel():
        low = sample.at(torch.full((count,), place))[open_queries]
        chosen = queries.pick(open_queries.to(queries.values.device))
        found = _listed(run, chosen, parts, low, place * total / m, where)
        enough = found.listed >= wanted
        for j in enough.nonzero()[:, 0].tolist():
            _settle(scores, rows, int(open_queries[j]), wanted, _of(found, j))
        for j in (~enough & low.isfinite()).nonzero()[:, 0].tolist():
            missing = wanted - int(found.listed[j])
            equal = _equal(run, chosen.pick(torch.tensor([j])), parts, float(low[j]), missing)
            if len(equal) == missing:  # what is equal to the bound fills the rest
                listed = _of(found, j)
                listed = (torch.cat([listed[0], low[j].expand(missing)]), torch.cat([listed[1], equal]))
                _settle(scores, rows, int(open_queries[j]), wanted, listed)
                enough[j] = True
        open_queries, place = open_queries[~enough], 4 * place
    return scores, rows


def _listed(run: Pass, queries: Queries, parts: Sequence[Rows], low: Tensor, expected: float, where: str) -> Found:
    """A pass that lists everything above ``low``, with room for all of it."""
    size = sum(len(part) for part in parts)
    capacity = size if not bool(low.isfinite().all()) else roomy(_ROOM * expected, size)
    while True:
        found = all_parts(run, queries, parts, Wanted(low, torch.full_like(low, math.inf), capacity), where)
        if int(found.listed.max()) <= capacity:
            return found
        capacity = int(found.listed.max())


def _equal(run: Pass, query: Queries, parts: Sequence[Rows], score: float, count: int) -> Tensor:
    """The first ``count`` rows whose score is exactly this, or fewer if there are no more."""
    exact = torch.tensor([score])
    low, high = (torch.nextafter(exact, torch.tensor([edge])) for edge in (-math.inf, math.inf))
    rows, first, left = [], 0, count
    for part in parts:
        for start in range(0, len(part), _TIE_BLOCK):
            block = part.part(start, min(start + _TIE_BLOCK, len(part)))
            found = all_parts(run, query, [block], Wanted(low, high, len(block)), "topk_dot")
            here = found.rows[0, : int(found.listed[0])].sort().values[:left] + first + start
            rows.append(here)
            left -= len(here)
            if left == 0:
                return torch.cat(rows)
        first += len(part)
    return torch.cat(rows)


def _of(found: Found, query: int) -> tuple[Tensor, Tensor]:
    count = int(found.listed[query])
    return found.scores[query, :count], found.rows[query, :count]


def _settle(scores: Tensor, rows: Tensor, query: int, wanted: int, listed: tuple[Tensor, Tensor]) -> None:
    """Sort a complete list and keep its best."""
    by_row = listed[1].argsort()
    order = by_row[listed[0][by_row].sort(descending=True, stable=True).indices[:wanted]]
    scores[query, :wanted] = listed[0][order] + 0.0
    rows[query, :wanted] = listed[1][order]
