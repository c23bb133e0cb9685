"""quantize_rows: the same bytes by every implementation, and what they stand for."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

import motive_kernels as mk
from motive_kernels.ops.quantize_rows.api import _quantize_rows
from tests.kernels.search_data import vectors

SHAPES = [(1, 1), (3, 7), (50, 33), (300, 8), (2, 5000), (0, 4)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("unit", [True, False])
def test_every_implementation_gives_the_bytes_of_the_definition(level, dtype, unit) -> None:
    for n, k in SHAPES:
        z = vectors(n, k).to(dtype)
        values, scales = mk.quantize_rows(z, unit=unit, impl="cpp")
        wide = z.double().numpy()
        largest = np.abs(wide).max(axis=1, keepdims=True)
        expected = np.rint(wide * np.divide(127, largest, out=np.zeros_like(largest), where=largest > 0))
        np.testing.assert_array_equal(values.numpy(), expected, f"{level} {n} x {k}")
        again = mk.quantize_rows(z, unit=unit, impl="torch")
        assert torch.equal(values, again[0])
        assert torch.equal(scales, again[1])


def test_scaled_bytes_stand_for_the_rows() -> None:
    z = vectors(200, 64)
    norms = z.norm(dim=1, keepdim=True)
    values, scales = mk.quantize_rows(z)
    error = (values * scales[:, None] - z / norms.clamp_min(1e-30)).norm(dim=1)
    assert float(error.max()) < math.sqrt(64) / 2 * float(scales.max()), "a row is off by more than half a step each"
    exact = (values.double() * scales.double()[:, None]).norm(dim=1)
    assert bool(((exact - 1).abs() < 1e-6).logical_or(norms[:, 0] == 0).all()), "units have norm 1"
    values, scales = mk.quantize_rows(z, unit=False)
    assert bool(((values * scales[:, None] - z).abs() <= 0.501 * scales[:, None]).all())


def test_extremes() -> None:
    tiny = torch.full((1, 4), 1e-45)
    huge = torch.tensor([[3.4e38, -3.4e38, 0.0, 1e38]])
    for z in (tiny, huge, torch.zeros(1, 4), torch.tensor([[-1.0, 0.5, -0.5, 1.5 / 127]])):
        for impl in ("cpp", "torch"):
            values, scales = mk.quantize_rows(z, impl=impl)
            assert bool(scales.isfinite().all())
            assert int(values.abs().max()) == (127 if z.any() else 0)


def test_threads_do_not_matter(threads) -> None:
    z = vectors(3000, 40)
    with threads(1):
        one = mk.quantize_rows(z, impl="cpp")
    with threads(3):
        many = mk.quantize_rows(z, impl="cpp")
    assert torch.equal(one[0], many[0])
    assert torch.equal(one[1], many[1])


@pytest.mark.parametrize("impl", ["cpp", "torch"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_rows_that_are_not_finite_are_refused_by_number(impl, value) -> None:
    z = vectors(700, 9)
    z[530, 8] = value
    z[611, 0] = value
    with pytest.raises(ValueError, match=re.escape("quantize_rows: z must be finite, got NaN or infinity in row 530")):
        mk.quantize_rows(z, impl=impl)


def test_any_strides() -> None:
    z = vectors(40, 30)
    for part in (z[::3, 4:], z.T, z[:, ::2]):
        assert torch.equal(mk.quantize_rows(part)[0], mk.quantize_rows(part.clone(), impl="torch")[0])


def test_registered() -> None:
    torch.library.opcheck(_quantize_rows, (vectors(5, 6), True, None))
