"""The best rows of each query by one pass: a sample bounds the last of them from below, and what beats it is listed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motive_kernels.runtime.checks import fail
from motive_kernels.search.base import Found, Pass, Queries, Rows, Wanted
from motive_kernels.search.bracket import MOST_SAMPLED, all_parts, kept_rows, roomy, take_sample

SAMPLE_ROOT = 10
"""A sample of this times the root of the store costs about as much as the list that is too long without it."""
SIGMAS = 3.0
"""A bound that is too high costs a pass for one query, which is little; one that is too low costs all of them."""
MOST_ROWS = 1 << 32
"""A row and its score are sorted as one number of 64 bits."""
_TIE_BLOCK = 1 << 16
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
    if (size := sum(len(part) for part in parts)) > MOST_ROWS:
        raise fail(where, "store", f"of at most {MOST_ROWS} rows", str(size), "search it in parts")
    sample = take_sample(run, queries, parts, where, min(MOST_SAMPLED, SAMPLE_ROOT * (math.isqrt(total) + 1)))
    m = sample.scores.shape[1]
    expected = wanted * m / total
    place = wanted if m == total else int(expected + SIGMAS * math.sqrt(expected) + 2)
    open_queries = torch.arange(count)
    while open_queries.numel():
        low = sample.at(torch.full((count,), place))[open_queries]
        chosen = queries.pick(open_queries.to(queries.values.device))
        found = _listed(run, chosen, parts, low, place * total / m, where)
        enough = found.listed >= wanted
        done = enough.nonzero()[:, 0]
        if done.numel():
            width = int(found.listed.max())
            best = _best(found.scores[done, :width], found.rows[done, :width], found.listed[done], wanted)
            scores[open_queries[done], :wanted], rows[open_queries[done], :wanted] = best
        for j in (~enough & low.isfinite()).nonzero()[:, 0].tolist():
            length = int(found.listed[j])
            equal = _equal(run, chosen.pick(torch.tensor([j])), parts, float(low[j]), wanted - length)
            if length + len(equal) == wanted:  # what is equal to the bound fills the rest
                listed = torch.cat([found.scores[j, :length], low[j].expand(len(equal))])[None]
                places = torch.cat([found.rows[j, :length], equal])[None]
                best = _best(listed, places, torch.tensor([wanted]), wanted)
                scores[open_queries[j], :wanted], rows[open_queries[j], :wanted] = best[0][0], best[1][0]
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


def _best(scores: Tensor, rows: Tensor, listed: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
    """The first ``wanted`` [q, wanted] of complete lists, best first, of equal scores the lower row first.

    Args:
        scores, rows: [q, width], rows below 2^32.
        listed: [q] how many are there, at least ``wanted``.
        wanted: how many.
    """
    width = scores.shape[1]
    keys = _sort_keys(scores.numpy(), rows.numpy())
    keys[np.arange(width) >= listed.numpy()[:, None]] = np.iinfo(np.uint64).max
    if wanted < width:
        keys.partition(wanted - 1, axis=1)
    keys = np.sort(keys[:, :wanted], axis=1)
    rising = (~(keys >> np.uint64(32)) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    bits = np.where(rising >> 31, rising ^ np.uint32(1 << 31), ~rising)
    return torch.from_numpy(bits.view(np.float32)), torch.from_numpy((keys & np.uint64(0xFFFFFFFF)).astype(np.int64))


def _sort_keys(scores: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One number for a score and its row that is lower the better they are."""
    sign = np.uint32(1 << 31)
    bits = np.ascontiguousarray(scores).view(np.uint32)
    bits = np.where(bits == sign, np.uint32(0), bits)  # -0 is 0
    rising = np.where(bits & sign, ~bits, bits ^ sign)
    return (~rising).astype(np.uint64) << np.uint64(32) | rows.astype(np.uint64)
