"""Fixtures of the kernel tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch

from motive_kernels.runtime import native


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def threads() -> Callable[[int], AbstractContextManager[None]]:
    """``with threads(n):`` runs torch, and the CPU kernels that honour its setting, on n threads."""
    return _threads


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test at each SIMD level of the CPU kernels that this machine has."""
    module, reason = native.load("cpu")
    if module is None:
        pytest.skip(str(reason))
    best = module.level()
    try:
        module.limit_level(request.param)
    except ValueError:
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    module.limit_level(best)
