"""Checks of every op, found by its folder: implementations against the reference, and inputs that reach all of them."""

from __future__ import annotations

import pytest
import torch

import motive_kernels as mk
from motive_kernels.ops import registry
from motive_kernels.ops.cases import Draw
from motive_kernels.runtime import dispatch
from tests.kernels.every_op import DTYPES, compare, folders, small


@pytest.mark.parametrize("name", folders("cpp"))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cpp_is_the_reference(name: str, dtype: torch.dtype) -> None:
    for case in small(name, dtype, "cpp"):
        if (reason := dispatch.unavailable("cpp")) is not None:
            pytest.skip(reason)
        compare(case, "cpp")


def test_folders_hold_every_op() -> None:
    """Each folder has cases, of both sizes, of each op that its api.py defines."""
    covered = set()
    for name in registry.names():
        cases = registry.cases(name)
        large = {case.op for case in cases.large(Draw(torch.float32, shrink=64))}
        assert large == {case.op for case in cases.small(Draw(torch.float32))}, name
        covered |= large
    assert covered == set(registry.load())
    assert set(mk.implementations()) == covered


def test_a_case_is_the_same_every_time() -> None:
    """Two draws give the same numbers, and a copy of a case keeps the strides and the original."""
    for name in registry.names():
        first, again = (list(registry.cases(name).small(Draw(torch.bfloat16))) for _ in range(2))
        for a, b in zip(first, again, strict=True):
            copy = a.to("cpu")
            for x, y, z in zip(a.arguments, b.arguments, copy.arguments, strict=True):
                if isinstance(x, torch.Tensor):
                    assert torch.equal(x, y)
                    assert torch.equal(x, z)
                    assert x.stride() == z.stride()
                    assert x.data_ptr() != z.data_ptr()
                else:
                    assert x == y == z
