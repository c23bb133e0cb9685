"""Base of the projection types: one fixed linear map per parameter, and the ways to apply it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motive_kernels.ops.outer_sketch.reference import outer_gradient

Shape = tuple[int, ...]


class ParameterMap(ABC):
    """P of one parameter, with whatever tables it needs on each device.

    Every method adds to z [n, k] float32 in place, so that parameters, token ranges and batches add up.
    """

    @abstractmethod
    def project_into(self, z: Tensor, grad: Tensor, impl: str | None) -> None:
        """z += P grad for grad [n, *shape] (materialized route)."""

    @classmethod
    def project_many_into(cls, z: Tensor, parts: Sequence[tuple[ParameterMap, Tensor]], impl: str | None) -> None:
        """z += P grad of several parameters of one type (materialized route)."""
        for own, grad in parts:
            own.project_into(z, grad, impl)

    def project_outer_into(self, z: Tensor, x: Tensor, dy: Tensor, lengths: Tensor | None, impl: str | None) -> None:
        """z += P (sum_t dy_t x_t^T) for x [n, t, i], dy [n, t, o] (factorized route).

        This default forms the per-sample gradient by one batched matrix product and projects it; types that have a
        factorized form override it.
        """
        self.project_into(z, outer_gradient(x, dy, lengths), impl)

    def sketch_inputs(self, x: Tensor, impl: str | None) -> Tensor | None:
        """What the factorized route needs of a layer's inputs x [m, i], float32 [m, k], where that is shorter; else None."""
        return None

    def project_sketched_into(self, z: Tensor, sketched: Tensor, dy: Tensor, impl: str | None) -> None:
        """As project_outer_into, with the inputs as sketch_inputs gave them: sketched [n, t, k], dy [n, t, o]."""
        raise NotImplementedError("this type keeps its inputs: sketch_inputs returns None")

    @property
    def has_factorized_form(self) -> bool:
        """Whether project_outer_into avoids forming the gradient."""
        return type(self).project_outer_into is not ParameterMap.project_outer_into

    @abstractmethod
    def matrix(self) -> NDArray[np.float64]:
        """Explicit P, float64 [k, number of elements], for tests and small parameters."""


class ProjectionType(ABC):
    """One family of random linear maps."""

    name: str

    options: Mapping[str, Any] = {}
    """Option names of this type with their defaults; part of the identity."""

    def validate(self, dim: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
        """Raise ValueError where an option or a shape does not fit this type."""

    @abstractmethod
    def build(
        self, name: str, shape: Shape, dim: int, seed: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]
    ) -> ParameterMap:
        """The map of one parameter. ``shapes`` holds every parameter of the projector."""


class DeviceTables:
    """NumPy tables built once on the host and copied to each device that asks."""

    def __init__(self, **arrays: NDArray[Any]) -> None:
        self._host = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        self._copies: dict[torch.device, dict[str, Tensor]] = {torch.device("cpu"): self._host}

    def on(self, device: torch.device) -> dict[str, Tensor]:
        """The tables on a device."""
        if device not in self._copies:
            self._copies[device] = {name: table.to(device) for name, table in self._host.items()}
        return self._copies[device]
