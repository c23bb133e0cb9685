"""Every projection type by name."""

from __future__ import annotations

from motive_kernels.projection.types.base import ProjectionType
from motive_kernels.projection.types.dense import Dense
from motive_kernels.projection.types.fastfood import Fastfood
from motive_kernels.projection.types.identity import Identity
from motive_kernels.projection.types.kronecker import Kronecker
from motive_kernels.projection.types.sjlt import SparseTransform
from motive_kernels.projection.types.tensor_sketch import TensorSketch

TYPES: dict[str, ProjectionType] = {
    projection_type.name: projection_type
    for projection_type in (
        TensorSketch(),
        Fastfood(),
        Dense("rademacher"),
        Dense("gaussian"),
        SparseTransform(),
        Kronecker(),
        Identity(),
    )
}
