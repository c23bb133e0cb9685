"""Small stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from motive.store import Store, StoreRow

DIM = 5
COLUMNS = {"path": "string", "loss": "float32", "static": "bool"}


@pytest.fixture
def identity() -> dict:
    """An identity with nesting, lists and numbers."""
    return {
        "projection": {"kind": "tensor_sketch", "dim": DIM, "seed": 0, "parameters": {"a.weight": [3, 4]}},
        "gradient": {"weights": "ab12", "draws": [{"sigma": 0.751, "seed": 0}], "mask": {"kind": "dis"}},
    }


@pytest.fixture
def new_store(tmp_path: Path, identity: dict) -> Callable[..., Store]:
    """new_store(name) -> an empty store of width 5."""

    def make(name: str = "store", **options: object) -> Store:
        given = {"identity": identity, "columns_schema": COLUMNS, **options}
        return Store.create(tmp_path / name, **given)  # type: ignore[arg-type]

    return make


@pytest.fixture
def rows_of() -> Callable[[Iterable[str]], list[StoreRow]]:
    """rows_of(ids) -> rows whose vectors and columns are functions of the id alone."""

    def make(ids: Iterable[str]) -> list[StoreRow]:
        return [
            StoreRow(clip_id, vector_of(clip_id), {"path": f"/v/{clip_id}", "loss": len(clip_id), "static": False})
            for clip_id in ids
        ]

    def vector_of(clip_id: str) -> np.ndarray:
        return np.random.default_rng(list(clip_id.encode())).standard_normal(DIM).astype(np.float32)

    return make
