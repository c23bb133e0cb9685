"""Balanced tensor sketch: z[(h_o[a] + h_i[b]) mod k] += s_o[a] s_i[b] G[a, b] (docs/projection.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motive_kernels.ops.outer_sketch.api import outer_sketch_into
from motive_kernels.ops.tensor_sketch.api import tensor_sketch_into, tensor_sketch_many_into
from motive_kernels.projection.types.base import DeviceTables, ParameterMap, ProjectionType, Shape
from motive_kernels.rng.philox import parameter_key
from motive_kernels.rng.tables import ROLE_COLUMNS, ROLE_ROWS, ROLE_VECTOR, balanced_buckets, gather_table


class TensorSketch(ProjectionType):
    name = "tensor_sketch"
    options = {"terms": 1}

    def validate(self, dim: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
        terms = options["terms"]
        if not isinstance(terms, int) or isinstance(terms, bool) or terms < 1:
            raise ValueError(f"ProjectionSpec: terms must be a positive integer, got {terms!r}; 1 is the default")

    def build(
        self, name: str, shape: Shape, dim: int, seed: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]
    ) -> ParameterMap:
        return TensorSketchMap(parameter_key(self.name, seed, name), shape, dim, options["terms"])


class TensorSketchMap(ParameterMap):
    """The sketch of one parameter: a row table and a column table per term, or one table for a vector."""

    def __init__(self, key: tuple[int, int], shape: Shape, dim: int, terms: int) -> None:
        self._scale = 1.0 / math.sqrt(terms)
        self._rows = shape[0] if len(shape) > 1 else 1
        self._columns = math.prod(shape[1:]) if len(shape) > 1 else math.prod(shape)
        self._dim = dim
        roles = (ROLE_ROWS, ROLE_COLUMNS) if len(shape) > 1 else (None, ROLE_VECTOR)
        self._axes = [
            tuple(
                _unit_table() if role is None else balanced_buckets(key, role, length, dim, term)
                for role, length in zip(roles, (self._rows, self._columns), strict=True)
            )
            for term in range(terms)
        ]
        self._tables = [
            DeviceTables(rows=gather_table(*rows, dim), columns=gather_table(*columns, dim))
            for rows, columns in self._axes
        ]
        identity = np.arange(dim, dtype=np.int32), np.ones(dim, dtype=np.int8)
        self._placed = DeviceTables(unit=gather_table(*_unit_table(), dim), identity=gather_table(*identity, dim))

    def project_into(self, z: Tensor, grad: Tensor, impl: str | None) -> None:
        for part in self._parts(grad):
            tensor_sketch_into(z, *part[:3], scale=self._scale, impl=impl)

    @classmethod
    def project_many_into(cls, z: Tensor, parts: Sequence[tuple[ParameterMap, Tensor]], impl: str | None) -> None:
        own = [(sketch, grad) for sketch, grad in parts if isinstance(sketch, TensorSketchMap)]
        tensor_sketch_many_into(z, [part for sketch, grad in own for part in sketch._parts(grad)], impl=impl)

    def _parts(self, grad: Tensor) -> list[tuple[Tensor, Tensor, Tensor, float]]:
        """The gradient as a matrix with the tables and the factor of each term."""
        grad = grad.reshape(grad.shape[0], self._rows, self._columns)
        tables = [tables.on(grad.device) for tables in self._tables]
        return [(grad, on_device["rows"], on_device["columns"], self._scale) for on_device in tables]

    def project_outer_into(self, z: Tensor, x: Tensor, dy: Tensor, lengths: Tensor | None, impl: str | None) -> None:
        for tables in self._tables:
            on_device = tables.on(x.device)
            outer_sketch_into(
                z, x, dy, on_device["rows"], on_device["columns"], lengths=lengths, scale=self._scale, impl=impl
            )

    def sketch_inputs(self, x: Tensor, impl: str | None) -> Tensor | None:
        if len(self._tables) > 1 or self._columns <= self._dim or x.dtype == torch.float64:
            return None
        sketched = torch.zeros(x.shape[0], self._dim, device=x.device)
        columns = self._tables[0].on(x.device)["columns"]
        rows = self._placed.on(x.device)["unit"]
        tensor_sketch_into(sketched, x[:, None], rows, columns, impl=impl)
        return sketched

    def project_sketched_into(self, z: Tensor, sketched: Tensor, dy: Tensor, impl: str | None) -> None:
        rows = self._tables[0].on(dy.device)["rows"]
        columns = self._placed.on(dy.device)["identity"]
        outer_sketch_into(z, sketched, dy.float(), rows, columns, scale=self._scale, impl=impl)

    def matrix(self) -> NDArray[np.float64]:
        p = np.zeros((self._dim, self._rows, self._columns))
        a, b = np.meshgrid(np.arange(self._rows), np.arange(self._columns), indexing="ij")
        for (row_bucket, row_sign), (column_bucket, column_sign) in self._axes:
            bucket = (row_bucket[:, None] + column_bucket[None, :]) % self._dim
            p[bucket, a, b] += self._scale * row_sign[:, None] * column_sign[None, :]
        return p.reshape(self._dim, -1)


def _unit_table() -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """The single row that a vector is seen as: bucket 0, sign +1."""
    return np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.int8)
