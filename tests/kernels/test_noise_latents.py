"""Flow-matching noise and target: every implementation against float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import motive_kernels as mk
from motive_kernels.ops.noise_latents.api import _noise_latents

AVAILABLE = [i for i in ("torch", "cpp") if mk.implementations()["noise_latents"][i] is None]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

every_implementation = pytest.mark.parametrize("impl", AVAILABLE)


def some_latents(*shape: int, shared: bool, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, noise (one draw for all samples if shared) and sigma."""
    generator = torch.Generator().manual_seed(sum(shape))
    latents = torch.randn(*shape, generator=generator).to(dtype)
    noise = torch.randn(*(shape[1:] if shared else shape), generator=generator).to(dtype)
    return latents, noise, torch.rand(shape[0], generator=generator)


def numbers_close(got: tuple[Tensor, Tensor], latents: Tensor, noise: Tensor, sigma: Tensor) -> None:
    """Within a few float32 roundings of the formula, then one rounding to the type of the latents."""
    s = sigma.double().reshape(-1, *[1] * (latents.ndim - 1))
    z, eps = latents.double(), noise.double()
    ulp = torch.finfo(latents.dtype).eps / 2
    for name, value, exact in (("noisy", got[0], (1 - s) * z + s * eps), ("target", got[1], eps - z)):
        assert value.dtype == latents.dtype
        assert value.is_contiguous()
        tiny = torch.finfo(latents.dtype).smallest_normal
        allowed = ulp * exact.abs() + 2.0**-22 * (z.abs() + eps.abs()) + tiny * ulp
        excess = float(((value.double() - exact).abs() - allowed).max()) if value.numel() else 0.0
        assert excess <= 0, f"{name} is off by {excess:.2e} more than rounding explains"


@every_implementation
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_matches_the_formula(impl: str, dtype: torch.dtype, shared: bool) -> None:
    for shape in ((3, 16, 5, 7, 9), (1, 1), (2, 4099), (4, 3, 1), (2, 70001)):
        latents, noise, sigma = some_latents(*shape, shared=shared, dtype=dtype)
        numbers_close(mk.noise_latents(latents, noise, sigma, impl=impl), latents, noise, sigma)


def test_every_simd_level(level: str) -> None:
    """Also sizes below a vector, and values that 16-bit types cannot hold: subnormal, huge, inf and NaN."""
    special = torch.tensor([0.0, -0.0, 6e-8, -3e-6, 2e-5, 65504.0, 65519.0, 65520.0, -7e4, 3e38, math.inf, math.nan])
    for dtype in DTYPES:
        for size in (1, 5, 8, 12, 31, 1000):
            latents, noise, sigma = some_latents(2, size, shared=False, dtype=dtype)
            numbers_close(mk.noise_latents(latents, noise, sigma, impl="cpp"), latents, noise, sigma)
        latents = special.to(dtype).repeat(3)[None]
        got = mk.noise_latents(latents, torch.zeros_like(latents), torch.zeros(1), impl="cpp")
        want = mk.noise_latents(latents, torch.zeros_like(latents), torch.zeros(1), impl="torch")
        torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True, msg=level)
        low, high = torch.full((1, 33), -60000.0).to(dtype), torch.full((1, 33), 60000.0).to(dtype)
        want = mk.noise_latents(low, high, torch.ones(1), impl="torch")
        torch.testing.assert_close(mk.noise_latents(low, high, torch.ones(1), impl="cpp"), want, rtol=0, atol=0)


@every_implementation
@settings(max_examples=30, deadline=None, derandomize=True)
@given(shape=st.lists(st.integers(0, 9), min_size=2, max_size=4), shared=st.booleans())
def test_any_shape(impl: str, shape: list[int], shared: bool) -> None:
    latents, noise, sigma = some_latents(*shape, shared=shared)
    got = mk.noise_latents(latents, noise, sigma, impl=impl)
    assert got[0].shape == got[1].shape == latents.shape
    numbers_close(got, latents, noise, sigma)


@every_implementation
def test_ends_of_the_line_are_exact(impl: str) -> None:
    """sigma 0 returns the latents and sigma 1 the noise, bit for bit."""
    latents, noise, _ = some_latents(2, 3, 5, 7, shared=False, dtype=torch.bfloat16)
    noisy, _ = mk.noise_latents(latents, noise, torch.tensor([0.0, 1.0]), impl=impl)
    assert torch.equal(noisy[0], latents[0])
    assert torch.equal(noisy[1], noise[1])


@every_implementation
def test_one_draw_is_the_same_however_it_is_given(impl: str) -> None:
    latents, noise, sigma = some_latents(3, 4, 5, 6, shared=True)
    want = mk.noise_latents(latents, noise.repeat(3, 1, 1, 1), sigma, impl=impl)
    for given_noise in (noise, noise[None], noise.expand(3, -1, -1, -1)):
        got = mk.noise_latents(latents, given_noise, sigma, impl=impl)
        assert torch.equal(got[0], want[0])
        assert torch.equal(got[1], want[1])


@every_implementation
def test_does_not_depend_on_strides_or_threads(impl: str, threads: Any) -> None:
    latents, noise, sigma = some_latents(3, 6, 50, 70, shared=True)
    with threads(1):
        want = mk.noise_latents(latents, noise, sigma, impl=impl)
    last_first = latents.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    sliced = torch.full((6, 6, 50, 140), math.nan)
    sliced[::2, ..., ::2] = latents
    for strided in (last_first, sliced[::2, ..., ::2]):
        for count in (1, 2, 5):
            with threads(count):
                got = mk.noise_latents(strided, noise.mT.contiguous().mT, sigma.repeat_interleave(2)[::2], impl=impl)
            assert torch.equal(got[0], want[0])
            assert torch.equal(got[1], want[1])


@every_implementation
def test_a_bad_sample_stays_alone(impl: str) -> None:
    latents, noise, sigma = some_latents(3, 40, 41, shared=True)
    want = mk.noise_latents(latents, noise, sigma, impl=impl)
    latents[1, 3, 5] = math.nan
    got = mk.noise_latents(latents, noise, sigma, impl=impl)
    assert got[0][1, 3, 5].isnan()
    assert got[1][1, 3, 5].isnan()
    assert all(torch.equal(g[0::2], w[0::2]) for g, w in zip(got, want, strict=True)), "another sample changed"


@every_implementation
def test_opcheck_and_compile(impl: str) -> None:
    latents, noise, sigma = some_latents(2, 3, 4, 5, shared=True)
    torch.library.opcheck(_noise_latents, (latents, noise[None], sigma, impl))
    torch.library.opcheck(_noise_latents, (latents, latents.flip(0), sigma.double(), impl))

    def both(latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        noisy, target = mk.noise_latents(latents, noise, sigma, impl=impl)
        return noisy - target

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(latents, noise, sigma), both(latents, noise, sigma))


def test_float64_stays_float64() -> None:
    latents, noise, sigma = some_latents(2, 3, 4, shared=True, dtype=torch.float64)
    noisy, target = mk.noise_latents(latents, noise, sigma.double())
    s = sigma.double()[:, None, None]
    torch.testing.assert_close(noisy, (1 - s) * latents + s * noise, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(target, noise - latents, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": torch.zeros(5)}, r"latents must be a floating-point tensor \[n, ...\], got float32 \[5\]"),
        ({"latents": torch.zeros(2, 3, dtype=torch.int64)}, "latents must be a floating-point"),
        ({"noise": torch.zeros(2, 4)}, r"noise must be like latents \(float32 \[2, 3\] on cpu\)"),
        ({"noise": torch.zeros(3, 3)}, "noise must be like latents"),
        ({"noise": torch.zeros(3, dtype=torch.bfloat16)}, "noise must be like latents"),
        ({"noise": 0.5}, "noise must be a torch tensor, got float"),
        ({"sigma": torch.zeros(3)}, r"sigma must be a floating-point tensor \[2\] on cpu, got float32 \[3\]"),
        ({"sigma": torch.zeros(2, dtype=torch.int64)}, "sigma must be a floating-point"),
        ({"sigma": 0.751}, "sigma must be a torch tensor, got float"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "latents": torch.zeros(2, 3), "noise": torch.zeros(3), "sigma": torch.zeros(2), **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match="^noise_latents: " + message):
        mk.noise_latents(**arguments)
