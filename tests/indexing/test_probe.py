"""Exact cosines are the same whether parameters are taken together or in groups, and however draws are put together."""

from __future__ import annotations

import numpy as np
import pytest

from motive.indexing.probe import combined, parameter_groups

SHAPES = {"a": (3, 5), "b": (7,), "c": (40, 2), "d": (1,)}


@pytest.mark.parametrize(("memory_bytes", "groups"), [(1, 4), (4 * 6 * 22, 3), (1 << 20, 1)])
def test_groups_hold_every_parameter_once(memory_bytes: int, groups: int) -> None:
    found = parameter_groups(SHAPES, rows=6, memory_bytes=memory_bytes)
    assert len(found) == groups
    assert {name: shape for group in found for name, shape in group.items()} == SHAPES
    assert sum(len(group) for group in found) == len(SHAPES)


@pytest.mark.parametrize("combine", ["mean", "normalized-mean", "concat"])
def test_inner_products_of_draws_give_those_of_clips(combine: str) -> None:
    draws = np.random.default_rng(0).normal(size=(4, 3, 50)) * np.array([1.0, 5.0, 0.2])[None, :, None]
    units = draws / np.linalg.norm(draws, axis=2, keepdims=True)
    vectors = {"mean": draws.sum(1), "normalized-mean": units.sum(1), "concat": units.reshape(4, -1)}[combine]
    rows = draws.reshape(12, 50)
    np.testing.assert_allclose(combined(rows @ rows.T, 4, combine), vectors @ vectors.T, rtol=1e-10)
