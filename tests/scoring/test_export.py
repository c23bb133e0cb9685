"""Exports that other tools read: the same vectors, under the same ids."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from motive.errors import MissingExtra, OptionError
from motive.scoring import ExportConfig, export

needs_faiss = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="faiss is not installed")


def unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


@pytest.mark.parametrize("scaled", [True, False])
def test_parquet_has_ids_and_embeddings(tmp_path, stored, random_vectors, monkeypatch, scaled) -> None:
    monkeypatch.setattr(sys.modules["motive.scoring.export"], "_ROWS", 8)
    monkeypatch.setattr(sys.modules["motive.scoring.export"], "_FILE_ROWS", 16)
    pool = random_vectors(37, 5)
    pool["zero é"] = np.zeros(5, np.float32)
    done = export(stored("s", pool), tmp_path / "out" / "parts", ExportConfig(format="parquet", unit=scaled))
    files = sorted(done.path.glob("*.parquet"))
    assert (done.clips, len(files)) == (38, 3)
    table = pq.read_table(done.path)
    assert table.schema.names == ["id", "embedding"]
    assert str(table.schema.field("embedding").type) == "list<element: float>"
    assert table.column("id").to_pylist() == sorted(pool)
    expected = np.stack([pool[i] for i in sorted(pool)])
    found = np.array(table.column("embedding").to_pylist(), np.float32)
    np.testing.assert_allclose(found, unit(expected) if scaled else expected, rtol=1e-6, atol=1e-7)
    with pytest.raises(OptionError, match="out must be new"):
        export(tmp_path / "s", done.path, ExportConfig(format="parquet"))


@needs_faiss
@pytest.mark.parametrize("kind", ["faiss", "faiss-ivf"])
def test_faiss_finds_each_vector_under_its_id(tmp_path, stored, random_vectors, kind) -> None:
    import faiss

    pool = random_vectors(300, 6)
    first = {i: pool[i] for i in sorted(pool)[::2]}
    second = {i: pool[i] for i in sorted(pool)[1::2]}
    stores = [stored("a", first), stored("b", second)]
    done = export(stores, tmp_path / "x.index", ExportConfig(format=kind))
    index = faiss.read_index(str(done.path))
    ids = [json.loads(line) for line in done.ids.read_text(encoding="utf-8").splitlines()]
    assert ids == sorted(pool)
    assert index.ntotal == 300
    if kind == "faiss-ivf":
        assert index.nlist > 1
        index.nprobe = index.nlist
    queries = unit(np.stack([pool[i] for i in ids[:20]])).astype(np.float32)
    scores, rows = index.search(queries, 1)
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-5)
    np.testing.assert_allclose([pool[ids[row]] for row in rows[:, 0]], [pool[i] for i in ids[:20]], rtol=1e-6)
    with pytest.raises(OptionError, match="out must be new"):
        export(stores, done.path)


def test_without_faiss_the_error_says_what_to_install(tmp_path, stored, random_vectors, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"this needs the package faiss; .*motive\[faiss\]"):
        export(stored("s", random_vectors(5, 3)), tmp_path / "x.index")
    assert not (tmp_path / "x.index").exists()


def test_wrong_options() -> None:
    for options in ({"format": "csv"}, {"lists": -1}):
        with pytest.raises(OptionError, match="ExportConfig"):
            ExportConfig(**options)
