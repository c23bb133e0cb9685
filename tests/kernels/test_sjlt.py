"""Sparse transform: where its nonzeros lie, and sizes that cross every block of the kernel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import motive_kernels as mk
from motive_kernels.ops.sjlt.api import _sjlt_into, sjlt_into
from motive_kernels.ops.sjlt.reference import buckets_and_signs

KEY = (7, 0xFFFFFFF1)
AVAILABLE = [i for i in ("torch", "cpp") if mk.implementations()["sjlt_into"][i] is None]
every_implementation = pytest.mark.parametrize("impl", AVAILABLE)


@pytest.mark.parametrize(("s", "k"), [(1, 16), (4, 16), (3, 10), (10, 10), (7, 512)])
def test_every_column_has_s_nonzeros_in_distinct_buckets(s: int, k: int) -> None:
    p = mk.Projector(mk.ProjectionSpec("sjlt", k, 0, {"s": s}), {"w": (50, 20)}).matrix("w")
    assert ((p != 0).sum(0) == s).all()
    np.testing.assert_allclose((p**2).sum(0), 1, rtol=1e-12)


@pytest.mark.parametrize(("s", "k"), [(1, 512), (4, 16), (3, 10)])
def test_buckets_are_even_and_signs_fair(s: int, k: int) -> None:
    """Chi-squared within 6 standard deviations, and no correlation of sign with bucket or neighbour."""
    count = 100_000
    bucket, sign = buckets_and_signs(KEY, 0, count, s, k)
    width = np.diff(np.arange(s + 1) * k // s)
    expected = np.repeat(count / width, width)
    chi2 = float(((np.bincount(bucket.reshape(-1), minlength=k) - expected) ** 2 / expected).sum())
    freedom = k - s
    assert abs(chi2 - freedom) < 6 * math.sqrt(2 * freedom), f"chi-squared {chi2:.0f} for {freedom} degrees of freedom"
    signed = np.zeros(k)
    np.add.at(signed, bucket.reshape(-1), sign.reshape(-1))
    assert np.abs(signed / np.sqrt(expected)).max() < 6
    assert abs((sign[1:].astype(float) * sign[:-1]).mean()) < 6 / math.sqrt(count)


def test_any_part_of_the_columns_is_the_same() -> None:
    whole = buckets_and_signs(KEY, 0, 100, 3, 11)
    part = buckets_and_signs(KEY, 37, 20, 3, 11)
    assert np.array_equal(part[0], whole[0][37:57])
    assert np.array_equal(part[1], whole[1][37:57])


def test_columns_past_2_to_the_34_have_counters_of_their_own() -> None:
    """Block numbers are 64 bits wide: column 2^34 does not repeat column 0."""
    first, late = buckets_and_signs(KEY, 0, 64, 1, 512), buckets_and_signs(KEY, 2**34, 64, 1, 512)
    assert not np.array_equal(first[0], late[0])
    crossing = buckets_and_signs(KEY, 2**34 - 32, 64, 1, 512)
    assert np.array_equal(crossing[0][32:], late[0][:32])


@pytest.mark.parametrize("s", [1, 3, 5])
def test_sizes_beyond_every_block(s: int, level: str) -> None:
    for n, d, k in ((1, 3, 5), (9, 4099, 13), (67, 2100, 512), (3, 9001, 37), (5, 77, 40_000)):
        grad = torch.randn(n, d, generator=torch.Generator().manual_seed(d))
        z, want = torch.ones(n, k), torch.ones(n, k, dtype=torch.float64)
        sjlt_into(z, grad, s, KEY, scale=0.5, impl="cpp")
        sjlt_into(want, grad.double(), s, KEY, scale=0.5, impl="torch")
        error = (z.double() - want).norm(dim=1) / grad.double().norm(dim=1)
        assert float(error.max()) < 1e-5, f"{level} n={n} d={d} k={k}: relative error {float(error.max()):.2e}"


def test_a_sample_has_the_same_bits_alone_and_in_a_batch() -> None:
    grad = torch.randn(75, 9000, generator=torch.Generator().manual_seed(0))
    together, alone = torch.zeros(75, 40), torch.zeros(75, 40)
    sjlt_into(together, grad, 2, KEY, impl="cpp")
    for s in (0, 31, 74):
        sjlt_into(alone[s : s + 1], grad[s : s + 1], 2, KEY, impl="cpp")
        assert torch.equal(alone[s], together[s])


@every_implementation
def test_samples_far_apart_in_memory(impl: str) -> None:
    stride = 2**32 + 3
    far = torch.empty(stride + 200, dtype=torch.bfloat16).as_strided((2, 200), (stride, 1))
    far.copy_(torch.arange(400).reshape(2, 200))
    z, want = torch.zeros(2, 16), torch.zeros(2, 16)
    sjlt_into(z, far, 1, KEY, impl=impl)
    sjlt_into(want, far.clone(), 1, KEY, impl=impl)
    assert torch.equal(z, want)


def test_torch_library_contract() -> None:
    torch.library.opcheck(_sjlt_into, (torch.zeros(2, 8), torch.randn(2, 30), 2, *KEY, 0.5, None))


def test_arguments_are_checked() -> None:
    z, grad = torch.zeros(2, 8), torch.zeros(2, 30)
    with pytest.raises(ValueError, match="nonzeros must be in 1"):
        sjlt_into(z, grad, 9, KEY)
    with pytest.raises(ValueError, match="z must be contiguous float32"):
        sjlt_into(torch.zeros(3, 8), grad, 1, KEY)
