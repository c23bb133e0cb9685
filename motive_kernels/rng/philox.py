"""Philox4x32-10, the counter-based generator behind every random bit of this package.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). A block of four 32-bit words is a
pure function of a 64-bit key and a 128-bit counter, so tables, matrices and noise never depend on a
device, a batch, a chunk or the order of calls. csrc/include/motive/philox.h is the same function in C++.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION = 1
"""Version of everything derived from a key; part of each key, so a change of any table bumps it."""

_MULTIPLIER = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def key_from_identifier(identifier: str) -> tuple[int, int]:
    """First 8 bytes of MD5(identifier), read as two little-endian 32-bit words."""
    digest = hashlib.md5(identifier.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def parameter_key(projection_type: str, seed: int, name: str) -> tuple[int, int]:
    """Key of one parameter's random tables under one projection type and seed."""
    return key_from_identifier(f"motive/{FORMAT_VERSION}/{projection_type}/{seed}/{name}")


def philox4x32(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Ten rounds of Philox4x32.

    Args:
        counter: uint32 [..., 4].
        key: two 32-bit words.

    Returns:
        uint32 [..., 4].
    """
    x0, x1, x2, x3 = (counter[..., j].astype(np.uint64) for j in range(4))
    k0, k1 = key
    for _ in range(10):
        product0 = x0 * _MULTIPLIER[0]
        product1 = x2 * _MULTIPLIER[1]
        x0 = (product1 >> _HALF) ^ x1 ^ np.uint64(k0)
        x1 = product1 & _LOW
        x2 = (product0 >> _HALF) ^ x3 ^ np.uint64(k1)
        x3 = product0 & _LOW
        k0 = (k0 + _WEYL[0]) & 0xFFFFFFFF
        k1 = (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3], axis=-1).astype(np.uint32)


def counter_blocks(start: int, count: int, word2: int, word3: int) -> NDArray[np.uint32]:
    """Counters (index low, index high, word2, word3) for index = start .. start + count - 1: uint32 [count, 4]."""
    index = np.arange(start, start + count, dtype=np.uint64)
    counter = np.empty((count, 4), dtype=np.uint32)
    counter[:, 0] = index & _LOW
    counter[:, 1] = index >> _HALF
    counter[:, 2] = word2
    counter[:, 3] = word3
    return counter


def uniform53(high: NDArray[np.uint32], low: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Doubles in (0, 1]: the top 53 bits of (high, low), plus one, over 2^53."""
    bits = (high.astype(np.uint64) << np.uint64(21)) | (low.astype(np.uint64) >> np.uint64(11))
    return (bits + np.uint64(1)).astype(np.float64) * 2.0**-53


def normal(key: tuple[int, int], count: int) -> NDArray[np.float32]:
    """Standard normal numbers by the Box-Muller transform, float64 rounded once to float32: [count].

    Elements 2 j and 2 j + 1 are the cosine and sine halves of block j (counter (j low, j high, 0, 0)): its words
    0 and 1 give the radius, words 2 and 3 the angle.
    """
    blocks = philox4x32(counter_blocks(0, (count + 1) // 2, 0, 0), key)
    radius = np.sqrt(-2.0 * np.log(uniform53(blocks[:, 0], blocks[:, 1])))
    angle = 2.0 * np.pi * uniform53(blocks[:, 2], blocks[:, 3])
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(-1)[:count].astype(np.float32)


def keyed_normal(kind: str, seed: int, name: str, count: int) -> NDArray[np.float32]:
    """Standard normal numbers [count], float32: a function of the key ``motive/1/{kind}/{seed}/{name}`` alone.

    The same on every device and machine, whatever was drawn before; docs/projection.md specifies the generator.
    """
    return normal(parameter_key(kind, seed, name), count)
