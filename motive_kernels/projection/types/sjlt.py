"""Sparse Johnson-Lindenstrauss transform: s signed entries in every column (docs/projection.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from motive_kernels.ops.sjlt.api import sjlt_into
from motive_kernels.ops.sjlt.reference import buckets_and_signs
from motive_kernels.projection.types.base import ParameterMap, ProjectionType, Shape
from motive_kernels.rng.entries import Key
from motive_kernels.rng.philox import parameter_key


class SparseTransform(ProjectionType):
    """Option ``s``: nonzeros of each column, 1 .. dim."""

    name = "sjlt"
    options: Mapping[str, Any] = {"s": 1}

    def validate(self, dim: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
        s = options["s"]
        if not isinstance(s, int) or isinstance(s, bool) or not 1 <= s <= dim:
            raise ValueError(f"ProjectionSpec: s must be an integer in 1 .. dim = {dim}, got {s!r}; 1 is the default")

    def build(
        self, name: str, shape: Shape, dim: int, seed: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]
    ) -> ParameterMap:
        return SparseTransformMap(parameter_key(self.name, seed, name), math.prod(shape), dim, options["s"])


class SparseTransformMap(ParameterMap):
    """The transform of one parameter, generated where it is used."""

    def __init__(self, key: Key, length: int, dim: int, nonzeros: int) -> None:
        self._key, self._length, self._dim, self._nonzeros = key, length, dim, nonzeros
        self._scale = 1.0 / math.sqrt(nonzeros)

    def project_into(self, z: Tensor, grad: Tensor, impl: str | None) -> None:
        flat = grad.reshape(grad.shape[0], self._length)
        sjlt_into(z, flat, self._nonzeros, self._key, scale=self._scale, impl=impl)

    def matrix(self) -> NDArray[np.float64]:
        bucket, sign = buckets_and_signs(self._key, 0, self._length, self._nonzeros, self._dim)
        p = np.zeros((self._dim, self._length))
        p[bucket, np.arange(self._length)[:, None]] = self._scale * sign
        return p
