"""Every projection kind by name."""

from __future__ import annotations

from motive_kernels.projection.kinds.base import Kind
from motive_kernels.projection.kinds.dense import Dense
from motive_kernels.projection.kinds.fastfood import Fastfood
from motive_kernels.projection.kinds.identity import Identity
from motive_kernels.projection.kinds.kronecker import Kronecker
from motive_kernels.projection.kinds.sjlt import SparseTransform
from motive_kernels.projection.kinds.tensor_sketch import TensorSketch

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        TensorSketch(),
        Fastfood(),
        Dense("rademacher"),
        Dense("gaussian"),
        SparseTransform(),
        Kronecker(),
        Identity(),
    )
}
