"""Thresholds without an n x q matrix: a sample gives bounds around them, one pass counts and lists, the list decides.

Bounds are a guess and results are not: every answer is checked against the counts of the whole store, and a guess that
fails is widened. So results do not depend on the sample, nor on threads, parts or their order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from motive_kernels.search.base import Found, Pass, Queries, Rows, Wanted, refuse_broken

MOST_SAMPLED = 1 << 18
"""A sample grows more slowly than the store beyond this."""
_SEED = 20260801


@dataclass(frozen=True)
class Sample:
    """Scores of sampled rows.

    Attributes:
        scores: [q, m] float32, largest first.
        rows: how many rows they stand for.
    """

    scores: Tensor
    rows: int

    def at(self, place: Tensor) -> Tensor:
        """[q] scores at places of the order; -inf beyond the last, +inf before the first."""
        m = self.scores.shape[1]
        inside = self.scores.gather(1, place.clamp(0, m - 1)[:, None])[:, 0]
        return torch.where(place < 0, math.inf, torch.where(place >= m, -math.inf, inside))


def kept_rows(parts: Sequence[Rows]) -> int:
    """Rows that take part."""
    return sum(len(part) if part.keep is None else int(part.keep.sum()) for part in parts)


def take_sample(run: Pass, queries: Queries, parts: Sequence[Rows], where: str, count: int) -> Sample:
    """Score a keyed choice of rows, spread over the parts by their size.

    Args:
        run, queries, parts: what is searched.
        where: the operation, for messages.
        count: how many rows, at most.
    """
    sizes = [kept_rows([part]) for part in parts]
    total, scores = sum(sizes), []
    wanted = min(total, count)
    edges = [wanted * sum(sizes[:j]) // max(1, total) for j in range(len(sizes) + 1)]
    for number, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        count = edges[number + 1] - edges[number]
        if count == 0:
            continue
        chosen = choose_rows(size, count)
        if part.keep is not None:
            chosen = part.keep.nonzero()[:, 0].cpu()[chosen]
        bounds = torch.full((len(queries),), math.inf)
        found = one_part(run, queries, part.pick(chosen.to(part.values.device)), Wanted(-bounds, bounds, count))
        if found.first_broken < count:
            refuse_broken(where, sum(len(before) for before in parts[:number]) + int(chosen[found.first_broken]))
        scores.append(found.scores)
    merged = torch.cat(scores, dim=1) if scores else torch.empty(len(queries), 0)
    rising = np.sort(merged.numpy(), axis=1)  # several times faster than torch's sort
    return Sample(torch.from_numpy(rising[:, ::-1].copy()), total)


def choose_rows(total: int, count: int) -> Tensor:
    """count of the rows 0 .. total - 1, sorted, the same every time: one at random from each of count equal spans."""
    generator = torch.Generator().manual_seed(_SEED)
    edges = torch.arange(count + 1, dtype=torch.int64) * total // count
    spread = torch.rand(count, generator=generator, dtype=torch.float64) * (edges[1:] - edges[:-1])
    return edges[:-1] + spread.long()


def one_part(run: Pass, queries: Queries, part: Rows, wanted: Wanted) -> Found:
    """A pass where the part lies; the result on the host, its lists as wide as the longest."""
    device = part.values.device
    weights = None if wanted.weights is None else wanted.weights.to(device)
    there = replace(wanted, low=wanted.low.to(device), high=wanted.high.to(device), weights=weights)
    found = run(queries.to(device), part, there)
    filled = min(int(found.listed.max()), found.scores.shape[1])  # room that is not filled is not copied
    found = replace(found, scores=found.scores[:, :filled], rows=found.rows[:, :filled])
    moved = {f.name: getattr(found, f.name) for f in fields(Found)}
    return replace(found, **{name: value.cpu() for name, value in moved.items() if isinstance(value, Tensor)})


def all_parts(run: Pass, queries: Queries, parts: Sequence[Rows], wanted: Wanted, where: str) -> Found:
    """A pass over several parts, as if they were one; rows count on from part to part.

    Raises:
        ValueError: a score is not finite; names the row.
    """
    found, first = [], 0
    for part in parts:
        one = one_part(run, queries, part, wanted)
        if one.first_broken < len(part):
            refuse_broken(where, first + one.first_broken)
        found.append(replace(one, rows=one.rows[:, : int(one.listed.max())] + first) if first else one)
        first += len(part)
    return found[0] if len(found) == 1 else join(found, first)


def join(found: Sequence[Found], first_broken: int) -> Found:
    """The results of passes over parts as that of one pass; listed rows count from the first part already."""
    count = len(found[0].listed)
    filled = torch.stack([one.listed.clamp(max=one.scores.shape[1]) for one in found])  # [parts, q]
    width = int(filled.sum(dim=0).max())
    scores, rows = torch.empty(count, width), torch.empty(count, width, dtype=torch.int64)
    for query in range(count):
        place = 0
        for one, length in zip(found, filled[:, query].tolist(), strict=True):
            scores[query, place : place + length] = one.scores[query, :length]
            rows[query, place : place + length] = one.rows[query, :length]
            place += length

    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(one, name) for one in found])

    spread = found[0].lowest is not None

    return Found(
        above=stacked("above").sum(dim=0),
        reached=stacked("reached").sum(dim=0),
        listed=stacked("listed").sum(dim=0),
        lowest=stacked("lowest").amin(dim=0) if spread else None,
        highest=stacked("highest").amax(dim=0) if spread else None,
        total=stacked("total").sum(dim=0) if spread else None,
        scores=scores,
        rows=rows,
        votes=_concatenate([one.votes for one in found]),
        best=_concatenate([one.best for one in found]),
        first_broken=first_broken,
    )


def _concatenate(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def roomy(expected: float, rows: int) -> int:
    """Capacity for a list of about that many entries."""
    return min(rows, int(1.5 * expected) + 1024)
