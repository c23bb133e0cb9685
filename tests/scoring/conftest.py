"""Stores of random vectors, split into shards in any way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from motive.store import Store, StoreRow


def identity_of(dim: int) -> dict:
    return {"projection": {"kind": "tensor_sketch", "dim": dim, "seed": 0}, "gradient": {"weights": "ab"}}


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Store]:
    """stored(name, {clip id: vector}, shards=[[ids], ...]) -> a store."""

    def make(
        name: str,
        vectors: Mapping[str, NDArray[np.float32]],
        shards: Sequence[Sequence[str]] | None = None,
        identity: dict | None = None,
    ) -> Store:
        dim = next(iter(vectors.values())).size if vectors else 3
        store = Store.create(tmp_path / name, identity=identity or identity_of(dim), columns_schema={"path": "string"})
        for ids in shards if shards is not None else [list(vectors)]:
            store.append([StoreRow(clip_id, np.asarray(vectors[clip_id], np.float32)) for clip_id in ids])
        return Store.open(store.path)

    return make


@pytest.fixture
def random_vectors() -> Callable[..., dict[str, NDArray[np.float32]]]:
    """random_vectors(n, k) -> vectors with unequal lengths, a strong direction and some exact copies."""

    def make(count: int, dim: int, prefix: str = "clip", seed: int = 0) -> dict[str, NDArray[np.float32]]:
        rng = np.random.default_rng(seed)
        vectors = rng.standard_normal((count, dim)) * np.exp(rng.standard_normal((count, 1)))
        vectors[:, 0] += 3 * rng.standard_normal(count)
        for row in range(3, count, 7):
            vectors[row] = vectors[row - 2]
        return {f"{prefix}-{row * 7919 % 10007:05d}": vectors[row].astype(np.float32) for row in range(count)}

    return make
