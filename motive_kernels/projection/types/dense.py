"""Dense projections: every entry a function of (row, column) of the flattened parameter (docs/projection.md)."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from motive_kernels.ops.dense_projection.api import dense_projection_into
from motive_kernels.projection.types.base import ParameterMap, ProjectionType, Shape
from motive_kernels.rng.entries import Key, entries
from motive_kernels.rng.philox import key_from_identifier, parameter_key

IDENTIFIER_BLOCK = 2**27
"""Entries of one block of a matrix that is named by an identifier; the next columns have their own key."""


class Dense(ProjectionType):
    """``rademacher`` or ``gaussian``.

    Option ``identifier``: None for keys of this package, or a pattern of the strings whose MD5 gives the keys, as
    bergson forms them: ``{module}/single`` is its default, ``{module}/single/seed{seed}`` its form with a seed.
    """

    options: Mapping[str, Any] = {"identifier": None}

    def __init__(self, distribution: str) -> None:
        self.name = distribution

    def validate(self, dim: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
        pattern = options["identifier"]
        if pattern is None:
            return
        fields = pattern_fields(pattern)
        if fields is None or not fields & {"name", "module"} or not fields <= {"name", "module", "seed"}:
            raise ValueError(
                "ProjectionSpec: identifier must be None or a pattern of {name}, {module} and {seed} with one of the "
                f"first two, got {pattern!r}; use e.g. '{{module}}/single'"
            )
        owners: dict[str, str] = {}
        for name in shapes:
            other = owners.setdefault(identifier_of(pattern, name, 0), name)
            if other != name:
                raise ValueError(
                    f"ProjectionSpec: identifier must tell all parameters apart, got {pattern!r}, which is the same for "
                    f"{other} and {name}; leave one out or use {{name}}"
                )

    def build(
        self, name: str, shape: Shape, dim: int, seed: int, options: Mapping[str, Any], shapes: Mapping[str, Shape]
    ) -> ParameterMap:
        pattern, length = options["identifier"], math.prod(shape)
        if pattern is None:
            return DenseMap(self.name, [(0, length, parameter_key(self.name, seed, name))], dim)
        if seed and "seed" not in (pattern_fields(pattern) or ()):
            raise ValueError(
                f"ProjectionSpec: seed must be 0 where the identifier has no {{seed}}, got {seed}; add it to {pattern!r}"
            )
        identifier, width = identifier_of(pattern, name, seed), max(1, IDENTIFIER_BLOCK // dim)
        blocks = [
            (start, min(length, start + width), key_from_identifier(f"{identifier}/{start}"))
            for start in range(0, length, width)
        ]
        return DenseMap(self.name, blocks, dim)


class DenseMap(ParameterMap):
    """Blocks (start, stop, key) of the columns of one parameter's matrix, each counting its columns from 0."""

    def __init__(self, distribution: str, blocks: list[tuple[int, int, Key]], dim: int, role: int = 0) -> None:
        self._distribution, self._blocks, self._dim, self._role = distribution, blocks, dim, role
        self._scale = 1.0 / math.sqrt(dim)

    def project_into(self, z: Tensor, grad: Tensor, impl: str | None) -> None:
        flat = grad.reshape(grad.shape[0], self._blocks[-1][1])
        for start, stop, key in self._blocks:
            part = flat[:, start:stop]
            dense_projection_into(z, part, self._distribution, key, role=self._role, scale=self._scale, impl=impl)

    def matrix(self) -> NDArray[np.float64]:
        parts = [
            entries(self._distribution, key, self._role, 0, self._dim, 0, stop - start)
            for start, stop, key in self._blocks
        ]
        return self._scale * np.concatenate(parts, axis=1)


def pattern_fields(pattern: object) -> set[str] | None:
    """The names of the {fields} of a pattern, or None where it is not a valid pattern."""
    if not isinstance(pattern, str):
        return None
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError:
        return None
    if any(spec or conversion for _, _, spec, conversion in parts):
        return None
    return {field for _, field, _, _ in parts if field is not None}


def identifier_of(pattern: str, name: str, seed: int) -> str:
    """The identifier of a parameter; {module} is its name without the last part."""
    return pattern.format(name=name, module=name.rpartition(".")[0] or name, seed=seed)
