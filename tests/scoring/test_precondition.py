"""The second moment's cache is only ever what was written for this version of the store."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from motive.errors import StoreError
from motive.scoring import ScoreConfig, score
from motive.scoring.precondition import second_moment
from motive.store import Store, StoreRow, verify_store


def cache_files(store: Store) -> list[Path]:
    return sorted((store.path / "cache").glob("precondition-*"))


def test_the_second_moment_is_that_of_float64(stored, random_vectors) -> None:
    pool = random_vectors(500, 12)
    store = stored("clips", pool)
    for is_unit in (True, False):
        z = np.stack([pool[clip_id] for clip_id in sorted(pool)]).astype(np.float64)
        z = z / np.linalg.norm(z, axis=1, keepdims=True) if is_unit else z
        expected = z.T @ z / len(z)
        moment = second_moment(store, is_unit, "test")
        rebuilt = (moment.eigenvectors * moment.eigenvalues) @ moment.eigenvectors.T
        np.testing.assert_allclose(rebuilt, expected, atol=2e-6 * np.abs(expected).max())
        identity = moment.power(0.7, -1.0) @ (expected + 0.7 * np.trace(expected) / 12 * np.eye(12))
        np.testing.assert_allclose(identity, np.eye(12), atol=1e-4)
        root = moment.power(0.7, -0.5)
        np.testing.assert_allclose(root @ root, moment.power(0.7, -1.0), rtol=1e-8, atol=1e-8 * np.abs(root).max())


def test_the_cache_is_read_and_belongs_to_one_version(stored, random_vectors) -> None:
    store = stored("clips", random_vectors(40, 6))
    first = second_moment(store, True, "test")
    again = second_moment(Store.open(store.path), True, "test")
    assert (first.cache, again.cache) == ("written", "read")
    np.testing.assert_array_equal(first.eigenvalues, again.eigenvalues)
    np.testing.assert_array_equal(first.eigenvectors, again.eigenvectors)
    assert second_moment(store, False, "test").cache == "written"
    store.append([StoreRow("new", np.ones(6, np.float32))])
    assert second_moment(store, True, "test").cache == "grown"
    assert len(cache_files(store)) == 2, "that of the earlier version goes"
    assert verify_store(store.path).ok


def test_every_flipped_byte_of_the_cache_makes_it_be_built_again(stored, random_vectors) -> None:
    store = stored("clips", random_vectors(9, 2))
    good = second_moment(store, True, "test")
    (path,) = cache_files(store)
    data = path.read_bytes()
    changes = [data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :] for place in range(len(data))]
    for change in [*changes[::6], *(data[:length] for length in range(0, len(data), 9)), data + b"\0", b""]:
        path.write_bytes(change)
        moment = second_moment(store, True, "test")
        assert moment.cache == "written"
        np.testing.assert_array_equal(moment.eigenvectors, good.eigenvectors)
        assert path.read_bytes() == data


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_may_only_be_read_is_scored_without_a_cache(tmp_path, stored, random_vectors) -> None:
    store = stored("clips", random_vectors(9, 2))
    store.path.chmod(0o500)
    try:
        summary = score(store, store, tmp_path / "s.parquet", ScoreConfig(preconditioner="ridge"))
    finally:
        store.path.chmod(0o700)
    assert "must be writable" in summary.metadata["preconditioner_cache"]


def test_a_cache_that_cannot_be_written_is_said_so(tmp_path, stored, random_vectors) -> None:
    store = stored("clips", random_vectors(9, 2))
    (store.path / "cache").write_text("a file where the folder should be")
    summary = score(store, store, tmp_path / "s.parquet", ScoreConfig(preconditioner="ridge"))
    assert "must be writable" in summary.metadata["preconditioner_cache"]


def test_zero_vectors_alone_have_no_second_moment(stored) -> None:
    store = stored("clips", {"a": np.zeros(3, np.float32)})
    for is_unit in (True, False):
        with pytest.raises(StoreError, match="store must hold a vector that is not zero"):
            second_moment(store, is_unit, "score")
