"""Near-duplicates of clips that were taken already, by their vectors and by their pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_SLAB = 8192


class NearVectors:
    """Tells whether a clip's vector points where that of a clip taken before does.

    Vectors are brought to whole numbers of at most 12 bits, so that their products are exact in float32 in any order and
    the outcome does not depend on the processor. That moves a cosine by about 0.0002 at most. A zero vector is like none.

    Args:
        threshold: cosine from which two vectors are alike.
        dim: of the vectors.
    """

    def __init__(self, threshold: float, dim: int) -> None:
        self._threshold = threshold
        self._scale = np.floor(4095 - np.sqrt(dim) / 2)  # sums of products stay below 2^24
        self._kept = np.empty((0, dim), np.int16)
        self._norms = np.empty(0)
        self._count = 0

    def load(self, vectors: NDArray[np.float32]) -> None:
        """Take the next clips to be asked about, [m, k]."""
        self._block, self._block_norms = self._whole(vectors)
        self._best = np.full(len(vectors), -1.0)
        self._who = np.zeros(len(vectors), np.int64)
        for start in range(0, self._count, _SLAB):
            stop = min(start + _SLAB, self._count)
            self._compare(self._kept[start:stop], self._norms[start:stop], start)

    def like(self, row: int) -> tuple[float, int] | None:
        """(cosine, number of the clip taken) of the most similar one, or None if none is alike.

        Args:
            row: of the clips loaded.
        """
        best = float(self._best[row])
        return (best, int(self._who[row])) if best >= self._threshold else None

    def keep(self, row: int) -> None:
        """Note that the clip in that row is taken; numbers count up from 0."""
        if self._count == len(self._kept):
            size = max(1024, 2 * self._count)
            self._kept = np.resize(self._kept, (size, self._kept.shape[1]))
            self._norms = np.resize(self._norms, size)
        self._kept[self._count], self._norms[self._count] = self._block[row], self._block_norms[row]
        self._compare(self._block[row : row + 1], self._block_norms[row : row + 1], self._count)
        self._count += 1

    def _whole(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
        wide = vectors.astype(np.float64)
        peaks = np.max(np.abs(wide), axis=1, initial=0)
        wide /= np.where(peaks > 0, peaks, 1)[:, None]
        norms = np.array([np.sqrt(np.add.reduce(row * row)) for row in wide])
        rounded = np.rint(wide / np.where(norms > 0, norms, 1)[:, None] * self._scale).astype(np.int16)
        squares = np.einsum("ij,ij->i", rounded.astype(np.int64), rounded.astype(np.int64))
        return rounded, np.sqrt(np.where(squares > 0, squares, 1))

    def _compare(self, kept: NDArray[np.int16], norms: NDArray[np.float64], first: int) -> None:
        dots = self._block.astype(np.float32) @ kept.T.astype(np.float32)
        cosines = dots.astype(np.float64) / (self._block_norms[:, None] * norms)
        place = np.argmax(cosines, axis=1)
        best = cosines[np.arange(len(cosines)), place]
        better = best > self._best
        self._best[better], self._who[better] = best[better], place[better] + first


class NearFrames:
    """Tells whether a clip's pictures are those of a clip taken before.

    Args:
        threshold: share of equal bits from which two clips are alike.
        hash_of: from a row of the clips loaded to its hash, uint8 [bytes].
    """

    def __init__(self, threshold: float, hash_of: Callable[[int], NDArray[np.uint8]]) -> None:
        self._threshold, self._hash_of = threshold, hash_of
        self._kept: NDArray[np.uint8] = np.empty((0, 0), np.uint8)  # as wide as the hashes once there is one
        self._count = 0
        self._hashes: dict[int, NDArray[np.uint8]] = {}

    def load(self) -> None:
        """Forget the clips that were asked about."""
        self._hashes.clear()

    def like(self, row: int) -> tuple[float, int] | None:
        """(share of equal bits, number of the clip taken) of the most similar one, or None if none is alike."""
        mine = self._hashes[row] = self._hash_of(row)
        if not self._count:
            return None
        differing = _BITS[self._kept[: self._count] ^ mine].sum(axis=1)
        place = int(np.argmin(differing))
        share = 1 - int(differing[place]) / (8 * mine.size)
        return (share, place) if share >= self._threshold else None

    def keep(self, row: int) -> None:
        """Note that the clip in that row, which was asked about, is taken."""
        mine = self._hashes[row]
        if self._count == len(self._kept):
            size = max(1024, 2 * self._count)
            grown = np.zeros((size, mine.size), np.uint8)
            grown[: self._count] = self._kept.reshape(self._count, mine.size)
            self._kept = grown
        self._kept[self._count] = mine
        self._count += 1


_BITS = np.array([bin(value).count("1") for value in range(256)], np.uint8)
