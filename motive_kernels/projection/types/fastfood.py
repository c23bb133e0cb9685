"""Fastfood on tiles: H_k fold(G H B x) with one permutation for every tile (docs/projection.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motive_kernels.ops.fastfood.api import fastfood_into
from motive_kernels.ops.fastfood.reference import ROLE_GAUSSIAN, ROLE_PERMUTATION, ROLE_SIGNS, hadamard
from motive_kernels.projection.types.base import DeviceTables, ParameterMap, ProjectionType, Shape
from motive_kernels.rng.entries import Key, entries
from motive_kernels.rng.philox import parameter_key
from motive_kernels.rng.tables import balanced_buckets

_COLUMNS_AT_ONCE = 256
"""Columns of an explicit matrix that are transformed together."""


class Fastfood(ProjectionType):
    """Option ``tile``: coordinates of one transform, a power of two of at least dim; 2^14 is fast and close to ideal."""

    name = "fastfood"
    options: Mapping[str, Any] = {"tile": 2**14}

    def validate(self, dim: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
        tile = options["tile"]
        if dim & (dim - 1):
            raise ValueError(
                f"ProjectionSpec: dim must be a power of two for fastfood, got {dim}; use {1 << dim.bit_length()} "
                f"or {1 << dim.bit_length() - 1}"
            )
        if not isinstance(tile, int) or isinstance(tile, bool) or tile < dim or tile & (tile - 1):
            raise ValueError(
                f"ProjectionSpec: tile must be a power of two of at least dim = {dim}, got {tile!r}; 16384 is the default"
            )

    def build(
        self, name: str, shape: Shape, dim: int, seed: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]
    ) -> ParameterMap:
        return FastfoodMap(parameter_key(self.name, seed, name), math.prod(shape), dim, options["tile"])


class FastfoodMap(ParameterMap):
    """The transform of one parameter: its bucket labels; signs and Gaussian factors come from the key."""

    def __init__(self, key: Key, length: int, dim: int, tile: int) -> None:
        rank, _ = balanced_buckets(key, ROLE_PERMUTATION, tile, tile)
        self._key, self._length, self._dim, self._tile = key, length, dim, tile
        self._labels = DeviceTables(labels=rank % np.int32(dim))
        self._scale = 1.0 / math.sqrt(dim * tile)

    def project_into(self, z: Tensor, grad: Tensor, impl: str | None) -> None:
        flat = grad.reshape(grad.shape[0], self._length)
        labels = self._labels.on(grad.device)["labels"]
        fastfood_into(z, flat, labels, self._key, scale=self._scale, impl=impl)

    def matrix(self) -> NDArray[np.float64]:
        labels = self._labels.on(torch.device("cpu"))["labels"].long()
        columns = []
        for start in range(0, self._length, _COLUMNS_AT_ONCE):
            stop = min(self._length, start + _COLUMNS_AT_ONCE)
            for index in range(start // self._tile, -(-stop // self._tile)):
                first, last = max(start, index * self._tile), min(stop, (index + 1) * self._tile)
                columns.append(self._columns(index, first - index * self._tile, last - first, labels))
        return torch.cat(columns).T.numpy()

    def _columns(self, index: int, first: int, count: int, labels: Tensor) -> Tensor:
        """Columns first .. first + count - 1 of tile number index: float64 [count, k]."""
        signs = entries("rademacher", self._key, ROLE_SIGNS, index, 1, first, count)[0]
        factors = entries("gaussian", self._key, ROLE_GAUSSIAN, index, 1, 0, self._tile)
        v = torch.zeros(count, self._tile, dtype=torch.float64)
        v[torch.arange(count), torch.arange(first, first + count)] = torch.from_numpy(signs)
        v = torch.from_numpy(factors) * hadamard(v)
        folded = torch.zeros(count, self._dim, dtype=torch.float64).index_add_(1, labels, v)
        return self._scale * hadamard(folded)
