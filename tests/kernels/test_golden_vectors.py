"""Projected vectors and noise pinned by literals: what a store holds must stay comparable for ever.

The files in tests/golden are a format. Nothing writes them; a change that makes these tests fail needs a new
philox.FORMAT_VERSION.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import motive_kernels as mk
from motive_kernels.rng import philox

FOLDER = Path(__file__).parents[1] / "golden"
VECTORS = json.loads((FOLDER / "tensor_sketch.json").read_text())
PROJECTION_TYPES = json.loads((FOLDER / "projection_types.json").read_text())
NOISE = json.loads((FOLDER / "noise.json").read_text())


def eighths(*shape: int) -> Tensor:
    """Small multiples of 1/8: every sum of them is exact in float32, so equality can be asked for."""
    j = torch.arange(int(np.prod(shape)), dtype=torch.int64)
    return (((j * 31 + j // 7 * 17) % 29 - 14).float() / 8).reshape(shape)


@pytest.mark.parametrize("impl", ["cpp", "torch"])
@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: f"k{case['dim']}-seed{case['seed']}")
def test_vectors(case: dict[str, Any], impl: str) -> None:
    assert VECTORS["format"] == philox.FORMAT_VERSION
    shapes = case["parameters"]
    spec = mk.ProjectionSpec("tensor_sketch", case["dim"], case["seed"], case["options"])
    projector = mk.Projector(spec, shapes)
    z = projector.project({name: eighths(2, *shape) for name, shape in shapes.items()}, impl=impl)
    head = len(case["vectors"][0])
    assert z[:, :head].tolist() == case["vectors"]
    assert (z.double() * torch.arange(1, case["dim"] + 1)).sum().item() == case["weighted_sum"]
    assert projector.identity == case["identity"]


@pytest.mark.parametrize("impl", ["cpp", "torch"])
@pytest.mark.parametrize(
    "case", PROJECTION_TYPES["cases"], ids=lambda case: f"{case['kind']}-{case['dim']}-{case['options']}"
)
def test_vectors_of_the_other_projection_types(case: dict[str, Any], impl: str) -> None:
    """Made in float64; float32 sums are as near as their rounding."""
    assert PROJECTION_TYPES["format"] == philox.FORMAT_VERSION
    shapes = PROJECTION_TYPES["parameters"]
    projector = mk.Projector(mk.ProjectionSpec(case["kind"], case["dim"], case["seed"], case["options"]), shapes)
    z = projector.project({name: eighths(2, *shape) for name, shape in shapes.items()}, impl=impl).double()
    allowed = 2e-6 * max(case["norms"])
    torch.testing.assert_close(z[:, :6], torch.tensor(case["vectors"], dtype=torch.float64), rtol=0, atol=allowed)
    torch.testing.assert_close(z.norm(dim=1), torch.tensor(case["norms"], dtype=torch.float64), rtol=0, atol=allowed)
    assert projector.identity == case["identity"]


def test_noise() -> None:
    values = philox.normal(philox.key_from_identifier(NOISE["identifier"]), len(NOISE["values"]))
    np.testing.assert_array_max_ulp(values, np.array(NOISE["values"], dtype=np.float32), maxulp=1)
