"""Kronecker projection P = A (x) B: vec(A G B^T) of every matrix parameter (docs/projection.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motive_kernels.ops.kronecker.api import kronecker_into, kronecker_outer_into
from motive_kernels.projection.types.base import DeviceTables, ParameterMap, ProjectionType, Shape
from motive_kernels.projection.types.dense import DenseMap
from motive_kernels.rng.entries import DISTRIBUTIONS, Key, entries
from motive_kernels.rng.philox import parameter_key
from motive_kernels.rng.tables import ROLE_COLUMNS, ROLE_ROWS, ROLE_VECTOR


class Kronecker(ProjectionType):
    """Options ``rows``: of A, a divisor of dim (B has the others); ``factors``: their distribution."""

    name = "kronecker"
    options: Mapping[str, Any] = {"rows": 16, "factors": "gaussian"}

    def validate(self, dim: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
        rows, factors = options["rows"], options["factors"]
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1 or dim % rows:
            raise ValueError(
                f"ProjectionSpec: rows must be a divisor of dim = {dim}, got {rows!r}; about the square root is best"
            )
        if factors not in DISTRIBUTIONS:
            raise ValueError(f"ProjectionSpec: factors must be one of {DISTRIBUTIONS}, got {factors!r}; choose one")

    def build(
        self, name: str, shape: Shape, dim: int, seed: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]
    ) -> ParameterMap:
        key, factors = parameter_key(self.name, seed, name), options["factors"]
        if len(shape) == 1:
            return DenseMap(factors, [(0, shape[0], key)], dim, ROLE_VECTOR)
        return KroneckerMap(factors, key, shape, dim, options["rows"])


class KroneckerMap(ParameterMap):
    """The two factors of one matrix parameter."""

    def __init__(self, factors: str, key: Key, shape: Shape, dim: int, rows: int) -> None:
        self._shape = (shape[0], math.prod(shape[1:]))
        self._left = entries(factors, key, ROLE_ROWS, 0, rows, 0, self._shape[0])
        self._right = entries(factors, key, ROLE_COLUMNS, 0, dim // rows, 0, self._shape[1])
        self._scale = 1.0 / math.sqrt(dim)
        self._tables = DeviceTables(left=self._left.astype(np.float32), right=self._right.astype(np.float32))
        self._exact = DeviceTables(left=self._left, right=self._right)

    def project_into(self, z: Tensor, grad: Tensor, impl: str | None) -> None:
        left, right = self._factors(grad)
        kronecker_into(z, grad.reshape(grad.shape[0], *self._shape), left, right, scale=self._scale, impl=impl)

    def project_outer_into(self, z: Tensor, x: Tensor, dy: Tensor, lengths: Tensor | None, impl: str | None) -> None:
        left, right = self._factors(x)
        kronecker_outer_into(z, x, dy, left, right, lengths=lengths, scale=self._scale, impl=impl)

    def matrix(self) -> NDArray[np.float64]:
        return np.kron(self._scale * self._left, self._right).astype(np.float64)

    def _factors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        tables = (self._exact if like.dtype == torch.float64 else self._tables).on(like.device)
        return tables["left"], tables["right"]
