"""Motion weights, noise and loss on a GPU, in CUDA and in Triton, against float64 on the CPU."""

from __future__ import annotations

import math

import pytest
import torch

import motive_kernels as mk

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
IMPLS = ("cuda", "triton")
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-10}


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.cpu().double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize("shape", [(2, 3, 5, 7, 9), (3, 16, 5, 30, 52), (1, 1, 1, 1, 1)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("impl", IMPLS)
def test_weighted_loss(shape: tuple[int, ...], dtype: torch.dtype, impl: str) -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    for weights in (torch.rand(shape[0], *shape[2:], generator=generator), None):
        on_device = None if weights is None else weights.cuda()
        loss, gradient = mk.weighted_loss(prediction.cuda(), target.cuda(), on_device, gradient_scale=64.0, impl=impl)
        exact = None if weights is None else weights.double()
        wanted = mk.weighted_loss(prediction.double(), target.double(), exact, gradient_scale=64.0, impl="torch")
        assert error(loss, wanted[0]) < 2e-6
        assert error(gradient, wanted[1]) < ROUNDING[dtype]


@pytest.mark.parametrize("shape", [(3, 8, 16), (2, 5, 7), (4, 16, 5, 30, 52)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("impl", IMPLS)
def test_noise_latents(shape: tuple[int, ...], dtype: torch.dtype, impl: str) -> None:
    generator = torch.Generator().manual_seed(0)
    latents, sigma = torch.randn(shape, generator=generator).to(dtype), torch.rand(shape[0], generator=generator)
    for noise in (
        torch.randn(shape, generator=generator).to(dtype),
        torch.randn(shape[1:], generator=generator).to(dtype),
    ):
        found = mk.noise_latents(latents.cuda(), noise.cuda(), sigma.cuda(), impl=impl)
        wanted = mk.noise_latents(latents.double(), noise.double(), sigma.double(), impl="torch")
        for a, b in zip(found, wanted, strict=True):
            assert error(a, b) < ROUNDING[dtype]


@pytest.mark.parametrize("order", ["normalise_first", "resize_first"])
@pytest.mark.parametrize("pooling", ["causal_mean", "causal_max", "stride", "trilinear"])
@pytest.mark.parametrize("spatial", ["bilinear", "area"])
@pytest.mark.parametrize("impl", IMPLS)
def test_motion_weights(order: str, pooling: str, spatial: str, impl: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for shape, grid in (((3, 9, 24, 40), (3, 6, 10)), ((3, 5, 13, 7), (3, 5, 9)), ((3, 5, 130, 200), (2, 16, 25))):
        for dtype in DTYPES:
            flow = (3 * torch.randn(*shape, 2, generator=generator)).to(dtype)
            flow[1] = torch.tensor([0.3, -1.7])
            flow[2, -1, -1, -1, 0] = math.nan
            confidence = torch.rand(*shape, generator=generator)
            for factor in (None, confidence):
                choice = {"order": order, "pooling": pooling, "spatial": spatial}
                on_device = None if factor is None else factor.cuda()
                found = mk.motion_weights(flow.cuda(), grid, confidence=on_device, impl=impl, **choice).cpu()
                exact = None if factor is None else factor.double()
                wanted = mk.motion_weights(flow.double(), grid, confidence=exact, impl="torch", **choice)
                tolerance = 5e-4 if order == "resize_first" else 5e-5
                assert torch.allclose(found[0].double(), wanted[0], rtol=0, atol=tolerance)
                assert found[2].isnan().all()
                if factor is None:
                    assert (found[1] == 0).all(), "uniform motion must weigh exactly nothing"


@pytest.mark.parametrize("impl", IMPLS)
def test_bitwise_repeatable(impl: str) -> None:
    prediction, target = torch.randn(4, 16, 5, 60, 104, device="cuda"), torch.randn(4, 16, 5, 60, 104, device="cuda")
    weights = torch.rand(4, 5, 60, 104, device="cuda")
    runs = [mk.weighted_loss(prediction, target, weights, impl=impl) for _ in range(2)]
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])


def test_graph_capture() -> None:
    prediction, target = torch.randn(2, 3, 4, 8, 8, device="cuda"), torch.randn(2, 3, 4, 8, 8, device="cuda")
    sigma = torch.rand(2, device="cuda")
    flow = torch.randn(2, 5, 40, 40, 2, device="cuda")

    def all_three() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        loss, _ = mk.weighted_loss(prediction, target, impl="cuda")
        noisy, _ = mk.noise_latents(prediction, target, sigma, impl="cuda")
        return loss, noisy, mk.motion_weights(flow, (3, 8, 8), impl="cuda")

    all_three()  # the driver loads a kernel when it is first launched, which a capture need not allow
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss, noisy, weights = all_three()
    prediction *= 2
    flow *= 3
    graph.replay()
    torch.cuda.synchronize()
    assert error(loss, mk.weighted_loss(prediction.cpu(), target.cpu(), impl="torch")[0]) < 2e-6
    assert error(noisy, mk.noise_latents(prediction.cpu(), target.cpu(), sigma.cpu(), impl="torch")[0]) < 2e-6
    assert torch.allclose(weights.cpu(), mk.motion_weights(flow.cpu(), (3, 8, 8), impl="torch"), atol=5e-5)
