"""Inputs of an op for checks that run over all ops: every op's folder has them in cases.py.

``small`` gives ragged sizes that reach every kernel of the op, ``large`` one call of the size that matters. Tests hold
every implementation against the reference on the small ones; benchmarks time the large one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from motive_kernels.rng.philox import parameter_key
from motive_kernels.rng.tables import ROLE_COLUMNS, ROLE_ROWS, balanced_buckets, gather_table

KEY = parameter_key("cases", 0, "w")


@dataclass(frozen=True)
class Case:
    """One call of an op.

    Attributes:
        op: name of the op, as in dispatch.OPS.
        arguments: of its functions, in order. If the function returns nothing, the first one takes the result.
        tolerance: largest relative error of a float32 result against the reference in float64; 0 wants the
            reference's bits in the same dtype.
    """

    op: str
    arguments: tuple[Any, ...]
    tolerance: float = 2e-6

    def to(self, device: torch.device | str) -> Case:
        """The same call with its tensors, copied, on a device."""
        moved = tuple(_copy(value, device) for value in self.arguments)
        return Case(self.op, moved, self.tolerance)

    def in_float64(self) -> Case:
        """The same call with every floating-point tensor in float64, which is what the reference is exact in."""
        wide = tuple(
            value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
            for value in self.arguments
        )
        return Case(self.op, wide, self.tolerance)


def _copy(value: Any, device: torch.device | str) -> Any:
    if not isinstance(value, Tensor):
        return value
    copy = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)
    return copy.copy_(value)


class Draw:
    """Random inputs on one device, the same at every call of a program.

    Args:
        dtype: of gradients, tokens, latents and flows.
        device: where tensors are made.
        shrink: divides the sizes of large cases, for a rehearsal without a GPU.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device | str = "cpu", shrink: int = 1) -> None:
        self.dtype, self.device, self._shrink = dtype, torch.device(device), shrink
        self._generator = torch.Generator(self.device).manual_seed(0)

    def length(self, full: int) -> int:
        """A size of a large case."""
        return max(1, full // self._shrink)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers of the dtype."""
        return torch.randn(*shape, generator=self._generator, device=self.device).to(self.dtype)

    def uniform(self, *shape: int) -> Tensor:
        """float32 numbers in [0, 1)."""
        return torch.rand(*shape, generator=self._generator, device=self.device)

    def vectors(self, n: int, k: int) -> Tensor:
        """z [n, k] float32, to be added to."""
        return torch.randn(n, k, generator=self._generator, device=self.device)

    def tables(self, o: int, i: int, k: int) -> tuple[Tensor, Tensor]:
        """Gather tables of the rows and the columns of a parameter [o, i]."""
        axes = ((ROLE_ROWS, o), (ROLE_COLUMNS, i))
        rows, columns = (gather_table(*balanced_buckets(KEY, role, n, k), k) for role, n in axes)
        return torch.from_numpy(rows).to(self.device), torch.from_numpy(columns).to(self.device)
