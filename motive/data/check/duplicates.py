"""Clips that are the same video: one file under several names, equal bytes, or nearly equal frames."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from motive.data.base import Clip
from motive.data.check.files import Files
from motive.data.media import Media
from motive.errors import ClipError

Groups = list[list[int]]
"""Clips, by their place in the dataset, that are the same; each group ascending, the first of each ascending."""

_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 20

_SIDE, _KEPT = 32, 8
FRAMES = 3
BITS = FRAMES * (_KEPT * _KEPT - 1)
NEAR_BITS = 18
"""Fingerprints that differ in at most this many of their 189 bits count as near-duplicates: 6 of 63 a frame."""
_PLAIN = 4.0
"""Standard deviation in grey levels below which a frame has too little in it for a fingerprint."""
_ROWS = 1024


def same_path(clips: Sequence[Clip]) -> Groups:
    """Clips whose rows name one file, or one place in a file."""
    return groups_of(range(len(clips)), lambda at: str(clips[at].path))


def same_bytes(files: Files) -> Groups:
    """Clips with the same bytes under different paths.

    Only videos of equal size are read: their first 64 KiB, and then as a whole those that agree. Two links to one file
    are equal without being read as a whole. Cells of Parquet tables are left out.
    """
    media, sizes = files.media, files.sizes
    found: Groups = []
    for group in groups_of(range(len(media)), lambda at: sizes[at] or None):
        for alike in groups_of(group, lambda at: _digest(media[at], _HEAD_BYTES)):
            linked = len(
                {(files.inodes[at], str(item.path)[len(str(item.file)) :]) for at, item in _each(media, alike)}
            )
            if sizes[alike[0]] > _HEAD_BYTES and linked > 1:
                found += groups_of(alike, lambda at: _digest(media[at], None))
            else:
                found.append(alike)
    return sorted(group for group in found if len({item.path for _, item in _each(media, group)}) > 1)


def _each(media: Sequence[Media | None], places: Iterable[int]) -> Iterator[tuple[int, Media]]:
    yield from ((at, item) for at in places if (item := media[at]) is not None)


def groups_of(items: Iterable[int], key: Callable[[int], Hashable | None]) -> Groups:
    """Items that share a key with another one; None is no key."""
    found: dict[Hashable, list[int]] = {}
    for item in items:
        value = key(item)
        if value is not None:
            found.setdefault(value, []).append(item)
    return [group for group in found.values() if len(group) > 1]


def _digest(media: Media | None, most: int | None) -> bytes | None:
    """Hash of a video's first bytes, or of all; None where it cannot be read."""
    if media is None:
        return None
    digest = hashlib.blake2b(digest_size=16)
    try:
        with media.open() as file:
            if most is not None:
                digest.update(file.read(most))
            while most is None and (block := file.read(_BLOCK_BYTES)):
                digest.update(block)
    except (OSError, ClipError):
        return None
    return digest.digest()


def fingerprint(frames: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """189 bits that hardly change when a video is encoded again, resized or slightly recoloured.

    Of the frames at a quarter, a half and three quarters: grey, 32 x 32 pixels, the 63 lowest frequencies of its cosine
    transform without the mean, each compared with their median (the usual perceptual hash).

    Args:
        frames: [T, 32, 32, 3] RGB.

    Returns:
        [189]; None where all three frames are nearly plain.
    """
    at = [round((len(frames) - 1) * place / (FRAMES + 1)) for place in range(1, FRAMES + 1)]
    grey = frames[at].astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    if grey.std(axis=(1, 2)).max() < _PLAIN:
        return None
    basis = np.cos(np.pi / _SIDE * np.outer(np.arange(_KEPT), np.arange(_SIDE) + 0.5))
    low = (basis @ grey @ basis.T).reshape(FRAMES, -1)[:, 1:]
    return (low > np.median(low, axis=1, keepdims=True)).reshape(-1)


def near_duplicates(prints: Sequence[NDArray[np.bool_] | None], limit: int = NEAR_BITS) -> Groups:
    """Clips whose fingerprints differ in at most ``limit`` bits, and those joined by a chain of such.

    The bits are cut into limit + 1 bands: two fingerprints within the limit agree in one band at least, so only clips
    that share a band are compared, and none is missed.

    Args:
        prints: [189] each; None is like no other.
    """
    places = [at for at, value in enumerate(prints) if value is not None]
    if len(places) < 2:
        return []
    every = np.stack([value for value in prints if value is not None])
    bits, inverse = np.unique(every, axis=0, return_inverse=True)
    joined = _Joined(len(bits))
    packed = np.packbits(bits, axis=1)
    for band in np.array_split(np.arange(bits.shape[1]), limit + 1):
        keys = bits[:, band] @ (1 << np.arange(len(band)))
        order = np.argsort(keys, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            for left, right in _within(packed, group, limit):
                joined.join(left, right)
    roots = [joined.root(int(value)) for value in inverse.reshape(-1)]
    return [[places[at] for at in group] for group in groups_of(range(len(places)), lambda at: roots[at])]


_ONES = np.array([value.bit_count() for value in range(256)], np.uint8)


def _within(packed: NDArray[np.uint8], group: NDArray[np.intp], limit: int) -> Iterator[tuple[int, int]]:
    """Pairs of a group whose bits differ in at most limit places."""
    if len(group) < 2:
        return
    for start in range(0, len(group), _ROWS):
        rows = group[start : start + _ROWS]
        for begin in range(start, len(group), _ROWS):
            others = group[begin : begin + _ROWS]
            distance = np.zeros((len(rows), len(others)), np.uint16)
            for byte in range(packed.shape[1]):
                distance += _ONES[packed[rows, byte, None] ^ packed[None, others, byte]]
            for left, right in zip(*np.nonzero(distance <= limit), strict=True):
                if rows[left] != others[right]:
                    yield int(rows[left]), int(others[right])


class _Joined:
    """Sets of numbers that grow together."""

    def __init__(self, count: int) -> None:
        self._up = list(range(count))

    def root(self, item: int) -> int:
        while self._up[item] != item:
            self._up[item] = self._up[self._up[item]]
            item = self._up[item]
        return item

    def join(self, left: int, right: int) -> None:
        left, right = self.root(left), self.root(right)
        self._up[max(left, right)] = min(left, right)
