"""Clusters of captions by their words, the same on every machine."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_WIDTH = 256
"""Buckets that words are hashed to."""
_SCALE = 1 << 12
"""Unit vectors are rounded to this many steps, so that their products are sums of integers, exact in any order."""
_ROUNDS = 8
_RAREST = 4.0
"""A word counts no more than this many times a common one, so that numbers and names do not make clusters."""
_BLOCK = 4096
_NAMED_BY = 3


class CaptionClusters:
    """k-means over the cosines of captions, as bags of hashed words weighted by how rare they are.

    Everything is a sum of integers or one correctly rounded operation, so clusters do not depend on the processor.

    Args:
        sample: captions that the clusters are made from, in a fixed order.
        count: clusters at most; fewer where the sample has fewer different captions.
    """

    def __init__(self, sample: Sequence[str], count: int) -> None:
        words = [_words(caption) for caption in sample]
        seen = np.zeros(_WIDTH, np.int64)
        for bag in words:
            seen[[_bucket(word)[0] for word in {*bag}]] += 1
        # The logarithm's last bit differs between machines; eighths of a bit do not.
        self._rarity = np.minimum(np.round(8 * np.log2((1 + len(words)) / (1 + seen))) / 8 + 1, _RAREST)
        vectors = self._vectors(words)
        self._centres = _first_centres(vectors, count)
        for _ in range(_ROUNDS):
            self._centres = _moved(vectors, _nearest(vectors, self._centres), self._centres)
        self._names = _names(words, _nearest(vectors, self._centres), len(self._centres))

    def of(self, captions: Sequence[str]) -> list[str]:
        """The cluster of each caption, such as ``cluster 7 (dog, run, beach)``; empty for an empty caption."""
        words = [_words(caption) for caption in captions]
        found = _nearest(self._vectors(words), self._centres)
        return [self._names[number] if bag else "" for number, bag in zip(found.tolist(), words, strict=True)]

    def _vectors(self, words: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """[n, _WIDTH] unit vectors times _SCALE, whole numbers."""
        found = np.zeros((len(words), _WIDTH))
        for row, bag in enumerate(words):
            for word, times in sorted(Counter(bag).items()):
                bucket, sign = _bucket(word)
                found[row, bucket] += sign * min(times, 4) * self._rarity[bucket]
        return _unit(found)


def _words(caption: str) -> list[str]:
    return _WORD.findall(caption.casefold())


def _bucket(word: str) -> tuple[int, int]:
    digest = hashlib.blake2b(word.encode("utf-8"), digest_size=4).digest()
    return int.from_bytes(digest[:2], "big") % _WIDTH, 1 - 2 * (digest[2] & 1)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = np.array([sum(value * value for value in row[row != 0].tolist()) for row in rows])
    norms = np.sqrt(np.where(squares > 0, squares, 1))
    return np.rint(rows / norms[:, None] * _SCALE)


def _first_centres(vectors: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The first caption, then each time the one that is least like those chosen; of equal ones the first."""
    used = vectors[np.any(vectors != 0, axis=1)]
    if not len(used):
        return np.zeros((1, _WIDTH))
    chosen, likeness = [0], used @ used[0]
    while len(chosen) < count:
        place = int(np.argmin(likeness))
        if likeness[place] >= used[place] @ used[place]:
            break  # every caption is among the chosen ones
        chosen.append(place)
        likeness = np.maximum(likeness, used @ used[place])
    return used[chosen]


def _nearest(vectors: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """The centre of largest cosine; of equal ones the first."""
    blocks = [np.argmax(vectors[at : at + _BLOCK] @ centres.T, axis=1) for at in range(0, len(vectors), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.empty(0, np.int64)


def _moved(
    vectors: NDArray[np.float64], nearest: NDArray[np.int64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each centre at the middle of its captions; one without any stays."""
    sums = np.zeros_like(centres)
    np.add.at(sums, nearest, vectors)
    return np.where(np.any(sums != 0, axis=1)[:, None], _unit(sums), centres)


def _names(words: Sequence[Sequence[str]], nearest: NDArray[np.int64], count: int) -> list[str]:
    """A name for each cluster, with the words that are commoner in it than elsewhere."""
    everywhere: Counter[str] = Counter()
    inside: list[Counter[str]] = [Counter() for _ in range(count)]
    for bag, number in zip(words, nearest.tolist(), strict=True):
        everywhere.update({*bag})
        inside[number].update({*bag})
    names = []
    for number, counts in enumerate(inside):
        ranked = sorted(counts, key=lambda word: (-(counts[word] ** 2) / everywhere[word], word))
        names.append(f"cluster {number + 1} ({', '.join(ranked[:_NAMED_BY])})")
    return names
