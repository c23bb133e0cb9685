"""Hashes of bytes and of JSON values, as docs/formats/store.md defines them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

DIGEST_BYTES = 16


def digest(data: bytes | memoryview) -> str:
    """128-bit BLAKE2b of bytes, as 32 lower-case hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def digest_chunks(chunks: Iterable[bytes]) -> str:
    """The digest of the chunks one after another, holding one at a time."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for chunk in chunks:
        state.update(chunk)
    return state.hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one JSON text that stands for a value: keys sorted, no spaces, ASCII only, no NaN or infinity.

    Raises:
        TypeError, ValueError, RecursionError: the value is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def digest_json(value: Any) -> str:
    """Digest of the canonical JSON of a value."""
    return digest(canonical_json(value))


def ids_digest(ordered: Iterable[str]) -> str:
    """Digest of ids that are sorted."""
    names = (clip_id.encode("utf-8", "surrogatepass") for clip_id in ordered)
    return digest_chunks(len(name).to_bytes(8, "little") + name for name in names)
