"""Balanced tables: balanced, keyed, the same in C++, pinned by literals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from motive_kernels.rng import tables
from motive_kernels.rng.philox import parameter_key
from motive_kernels.runtime import native

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "tables.json").read_text())
LENGTHS = [1, 5, 7, 8, 63, 64, 65, 200]
DIMS = [1, 7, 64]


def cpp_gather_table(key: tuple[int, int], role: int, length: int, dim: int, term: int) -> NDArray[np.int32]:
    data = native.extension("cpu").gather_table(*key, role, length, dim, term)
    return np.frombuffer(data, dtype="<i4").reshape(-1, dim)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dim", DIMS)
def test_every_run_hits_a_bucket_at_most_once(length: int, dim: int) -> None:
    bucket, sign = tables.balanced_buckets((1, 2), tables.ROLE_COLUMNS, length, dim)
    assert bucket.shape == sign.shape == (length,)
    assert set(np.unique(sign)) <= {-1, 1}
    for first in range(0, length, dim):
        run = bucket[first : first + dim]
        assert len(set(run.tolist())) == len(run)
        assert run.min() >= 0
        assert run.max() < dim


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dim", DIMS)
def test_gather_table_is_the_same_map(length: int, dim: int) -> None:
    bucket, sign = tables.balanced_buckets((1, 2), tables.ROLE_ROWS, length, dim)
    table = tables.gather_table(bucket, sign, dim)
    kept = table >= 0
    assert kept.sum() == length
    index = table[kept] // 2
    assert (np.nonzero(kept)[1] == bucket[index]).all()
    assert (np.nonzero(kept)[0] == index // dim).all()
    assert ((1 - 2 * (table[kept] % 2)) == sign[index]).all()


@pytest.mark.parametrize("role", [tables.ROLE_ROWS, tables.ROLE_COLUMNS, tables.ROLE_VECTOR])
@pytest.mark.parametrize(("length", "dim", "term"), [(1, 1, 0), (37, 16, 0), (64, 64, 3), (1000, 512, 1)])
def test_cpp_builds_the_same_tables(role: int, length: int, dim: int, term: int) -> None:
    key = parameter_key("tensor_sketch", 11, "blocks.0.weight")
    wanted = tables.gather_table(*tables.balanced_buckets(key, role, length, dim, term), dim)
    assert (cpp_gather_table(key, role, length, dim, term) == wanted).all()


def test_role_term_seed_and_name_give_unrelated_tables() -> None:
    def drawn(seed: int = 0, name: str = "w", role: int = 0, term: int = 0) -> NDArray[np.int32]:
        return tables.balanced_buckets(parameter_key("tensor_sketch", seed, name), role, 4096, 64, term)[0]

    first = drawn()
    for other in (drawn(seed=1), drawn(name="v"), drawn(role=1), drawn(role=2), drawn(term=1)):
        equal = (first == other).mean()
        assert abs(equal - 1 / 64) < 4 * np.sqrt(1 / 64 / 4096), f"{equal:.4f} of the buckets agree"


def test_signs_and_buckets_are_not_related() -> None:
    bucket, sign = tables.balanced_buckets((5, 6), tables.ROLE_COLUMNS, 1 << 16, 64)
    assert abs(sign.mean()) < 4 / 256
    by_bucket = np.bincount(bucket, weights=sign, minlength=64) / np.bincount(bucket, minlength=64)
    assert np.abs(by_bucket).max() < 5 / np.sqrt(1024)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['role']}-{case['length']}-{case['dim']}")
def test_golden_tables(case: dict) -> None:
    """These literals are a format: a change of any of them needs a new philox.FORMAT_VERSION and a new file."""
    key = parameter_key(case["kind"], case["seed"], case["name"])
    assert list(key) == case["key"]
    bucket, sign = tables.balanced_buckets(key, case["role"], case["length"], case["dim"], case["term"])
    assert bucket[: len(case["bucket"])].tolist() == case["bucket"]
    assert sign[: len(case["sign"])].tolist() == case["sign"]
    weighted = int((np.arange(1, case["length"] + 1) * (2 * bucket.astype(np.int64) + (sign > 0))).sum())
    assert weighted == case["weighted_sum"]


def test_cpp_rejects_impossible_tables() -> None:
    with pytest.raises(ValueError, match="length must be at least 0, got -1"):
        cpp_gather_table((0, 0), 0, -1, 4, 0)
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        cpp_gather_table((0, 0), 0, 4, 0, 0)
    with pytest.raises(ValueError, match="role must be 0, 1 or 2, got 3"):
        cpp_gather_table((0, 0), 3, 4, 4, 0)
