"""Several checkpoints as one: longer vectors, whose product with longer queries is the mean of the checkpoints' scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motive.scoring.exact import Floats
from motive.scoring.ledger import Ledger
from motive.scoring.similarity import Kernel
from motive.scoring.view import View
from motive.store.fingerprint import digest


class Joint:
    """Vectors of the same clips in several views, side by side.

    Args:
        views: whole views of the same clips, at least one.
        unit: scale each vector to norm 1 first; else they keep their lengths.
    """

    def __init__(self, views: Sequence[View], unit: bool) -> None:
        self.views, self._unit = tuple(views), unit
        self.ids, self.cache = views[0].ids, views[0].cache
        self.dim = sum(view.dim for view in views)

    @property
    def location(self) -> str:
        """Where the stores are."""
        return ", ".join(view.location for view in self.views)

    @property
    def version(self) -> str:
        """Digest of which clips are there."""
        return digest("".join(f"{view.version}\n" for view in self.views).encode())

    @property
    def content(self) -> str:
        """What the vectors are made of."""
        return f"{'unit' if self._unit else 'raw'} {' '.join(view.content for view in self.views)}"

    def __len__(self) -> int:
        return len(self.ids)

    def ledger(self) -> Ledger:
        """The shards that the clips are in."""
        return Ledger(tuple(held for view in self.views for held in view.ledger().stores))

    def known(self, before: Ledger, clips: int) -> NDArray[np.bool_] | None:
        """Which clips were all of those there when a cache was made; None if some are gone."""
        marks, first = [], 0
        for view in self.views:
            last = first + len(view.stores)
            marks.append(view.known(Ledger(before.stores[first:last]), clips))
            first = last
        if first != len(before.stores) or any(mark is None for mark in marks):
            return None
        same = all(np.array_equal(mark, marks[0]) for mark in marks)
        return marks[0] if same else None

    def blocks(self, rows: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (row of the first clip, vectors [m, dim]) in the order of ids."""
        for parts in zip(*(view.blocks(rows) for view in self.views), strict=True):
            yield parts[0][0], self.side_by_side([block for _, block in parts])

    def vectors_at(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of some rows, [m, dim]."""
        return self.side_by_side([view.vectors_at(rows) for view in self.views])

    def side_by_side(self, parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The views' vectors of the same rows as one."""
        if self._unit:
            parts = [_units(part) for part in parts]
        return np.concatenate(parts, axis=1)


def _units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    wide = vectors.astype(np.float64)
    norms = np.sqrt(np.einsum("nk,nk->n", wide, wide))
    return (wide / np.where(norms > 0, norms, 1.0)[:, None]).astype(np.float32)


@dataclass(frozen=True)
class Exact:
    """Exact scores of any clips: the mean over checkpoints.

    Attributes:
        kernels: the scoring functions, one a checkpoint; without whitening and effect.
    """

    kernels: tuple[Kernel, ...]

    @property
    def keep_length(self) -> bool:
        """Whether a score is a multiple of the length of the joint vector; that of one unit vector is not."""
        return len(self.kernels) > 1 or all(kernel.keep_length for kernel in self.kernels)

    @property
    def directions(self) -> Floats:
        """[q, dim] joint vectors whose product with a clip's is the score, but for its length with keep_length."""
        return np.concatenate([kernel.directions for kernel in self.kernels], axis=1) / len(self.kernels)

    def scores(self, parts: Sequence[NDArray[np.float32]], query: int) -> NDArray[np.float32]:
        """Scores of some clips, given by their vectors of each checkpoint, for one query."""
        found = [
            kernel.score(kernel.prepare(vectors), query, query + 1)[:, 0]
            for kernel, vectors in zip(self.kernels, parts, strict=True)
        ]
        return mean_scores(found)


def mean_scores(scores: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Of the checkpoints' scores, added in their order; those of one checkpoint as they are."""
    if len(scores) == 1:
        return scores[0]
    total = scores[0].astype(np.float64)
    for other in scores[1:]:
        total += other
    return (total / len(scores)).astype(np.float32)
