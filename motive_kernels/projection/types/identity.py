"""No projection: every parameter at its offset, for tests and very small models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from motive_kernels.projection.types.base import ParameterMap, ProjectionType, Shape


class Identity(ProjectionType):
    """P = I: parameters in the order of their names, one after the other."""

    name = "identity"

    def validate(self, dim: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
        total = sum(math.prod(shape) for shape in shapes.values())
        if dim != total:
            raise ValueError(
                f"ProjectionSpec: dim must be the number of elements, {total}, for identity, got {dim}; set dim={total}"
            )

    def build(
        self, name: str, shape: Shape, dim: int, seed: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]
    ) -> ParameterMap:
        return IdentityMap(sum(math.prod(shapes[other]) for other in shapes if other < name), math.prod(shape), dim)


class IdentityMap(ParameterMap):
    """Where one parameter's elements lie in the vector."""

    def __init__(self, offset: int, length: int, dim: int) -> None:
        self._offset, self._length, self._dim = offset, length, dim

    def project_into(self, z: Tensor, grad: Tensor, impl: str | None) -> None:
        if impl not in (None, "torch"):
            raise RuntimeError(f"identity: impl must be torch or None, got {impl!r}; leave it out")
        z[:, self._offset : self._offset + self._length] += grad.reshape(grad.shape[0], self._length)

    def matrix(self) -> NDArray[np.float64]:
        return np.eye(self._dim)[:, self._offset : self._offset + self._length]
