"""Shared by the checks that run over every op of motive_kernels/ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from motive_kernels.ops import registry
from motive_kernels.ops.cases import Case, Draw
from motive_kernels.runtime import dispatch

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def folders(*impls: str) -> list[str]:
    """Names of the ops that have one of the implementations."""
    registry.load()
    return [name for name in registry.names() if any(impls_of(name) & {impl} for impl in impls)]


def impls_of(name: str) -> set[str]:
    """Implementations of the ops of a folder."""
    return {
        impl for case in registry.cases(name).small(Draw(torch.float32)) for impl in dispatch.OPS[case.op].functions
    }


def small(name: str, dtype: torch.dtype, impl: str) -> Iterator[Case]:
    """The small cases of a folder's ops that have an implementation."""
    for case in registry.cases(name).small(Draw(dtype)):
        if impl in dispatch.OPS[case.op].functions:
            yield case


def results(function: Callable[..., Any], case: Case, device: str = "cpu") -> list[Any]:
    """What a call returns, or its first argument if that takes the result; on the CPU."""
    own = case.to(device)
    returned = function(*own.arguments)
    if returned is None:
        returned = own.arguments[0]
    values = returned if isinstance(returned, (tuple, list)) else (returned,)
    return [value.cpu() if isinstance(value, Tensor) else value for value in values]


def compare(case: Case, impl: str, device: str = "cpu") -> None:
    """Hold an implementation against the reference: in float64, or bit for bit where the case has no tolerance."""
    functions = dispatch.OPS[case.op].functions
    exact = case if case.tolerance == 0 else case.in_float64()
    wanted = results(functions["torch"], exact)
    found = results(functions[impl], case, device)
    assert len(found) == len(wanted)
    shapes = [list(value.shape) for value in case.arguments if isinstance(value, Tensor)]
    for a, b in zip(found, wanted, strict=True):
        where = f"{case.op} by {impl} for {shapes}"
        if case.tolerance == 0 or not isinstance(a, Tensor):
            same = torch.equal(a, b) if isinstance(a, Tensor) else a == b
            assert same, f"{where} differs from the reference"
            continue
        rounding = torch.finfo(a.dtype).eps if a.dtype in (torch.bfloat16, torch.float16) else 0.0
        error = float((a.double() - b).norm()) / max(float(b.norm()), 1e-30)
        assert error < case.tolerance + rounding, f"{where} is {error:.1e} off"
