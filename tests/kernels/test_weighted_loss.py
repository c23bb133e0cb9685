"""Motion-weighted loss and its gradient: every implementation against the float64 reference and autograd."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import motive_kernels as mk
from motive_kernels.ops.weighted_loss.api import _weighted_loss

AVAILABLE = [i for i in ("torch", "cpp") if mk.implementations()["weighted_loss"][i] is None]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

every_implementation = pytest.mark.parametrize("impl", AVAILABLE)


def some_residuals(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, target [n, c, F, h, w] and weights [n, F, h, w], the weights with zeros among them."""
    generator = torch.Generator().manual_seed(sum(shape))
    prediction, target = (torch.randn(*shape, generator=generator).to(dtype) for _ in range(2))
    weights = torch.rand(shape[0], *shape[2:], generator=generator)
    return prediction, target, torch.where(weights < 0.3, 0.0, weights)


def numbers_close(
    got: tuple[Tensor, Tensor], prediction: Tensor, target: Tensor, weights: Tensor | None, scale: float = 1.0
) -> None:
    """Within twice the RMS error of plain PyTorch of the same dtype, measured against float64."""
    wide = None if weights is None else weights.double()
    exact = mk.weighted_loss(prediction.double(), target.double(), wide, gradient_scale=scale)
    plain = mk.weighted_loss(prediction, target, weights, gradient_scale=scale, impl="torch")
    assert got[0].dtype == torch.float32
    assert got[1].dtype == prediction.dtype
    assert got[1].is_contiguous()
    for name, value, by_torch, want in zip(("loss", "gradient"), got, plain, exact, strict=True):
        error, size = (value.double() - want).norm(), float(want.norm())
        budget = 2 * float((by_torch.double() - want).norm()) + 1e-6 * size
        assert float(error) <= budget, f"{name} is off by {float(error):.2e}, allowed {budget:.2e}"


def test_reference_is_the_papers_formula() -> None:
    """Eq. 15-16 written out: 1 / F times the mean over channels and cells of the weighted squared error."""
    prediction, target, weights = (t.double() for t in some_residuals(2, 3, 4, 5, 6))
    loss, gradient = mk.weighted_loss(prediction, target, weights)
    for s in range(2):
        total = 0.0
        for c in range(3):
            total += float((weights[s] * (prediction[s, c] - target[s, c]) ** 2).sum())
        assert math.isclose(float(loss[s]), total / (3 * 4 * 5 * 6) / 4, rel_tol=1e-12)
    prediction.requires_grad_()
    by_hand = (weights[:, None] * (prediction - target) ** 2).mean((1, 2, 3, 4)) / 4
    (want,) = torch.autograd.grad(by_hand.sum(), prediction)
    torch.testing.assert_close(gradient, want, rtol=1e-12, atol=0)


@every_implementation
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "none"])
def test_matches_float64(impl: str, dtype: torch.dtype, weighted: bool) -> None:
    for shape in ((3, 16, 5, 7, 9), (1, 1, 1, 1, 1), (2, 3, 2, 41, 53), (5, 2, 1, 3, 1), (2, 16, 21, 13, 11)):
        prediction, target, weights = some_residuals(*shape, dtype=dtype)
        w = weights if weighted else None
        scale = 2.0 ** math.ceil(math.log2(math.prod(shape[1:]) * shape[2]))
        for s in (scale, 1.0) if dtype != torch.float16 else (scale,):
            got = mk.weighted_loss(prediction, target, w, gradient_scale=s, impl=impl)
            numbers_close(got, prediction, target, w, s)


def test_every_simd_level(level: str) -> None:
    """Also clips with fewer cells than a vector has lanes, and with more than a block."""
    for dtype in DTYPES:
        for shape in ((2, 3, 1, 1, 1), (2, 2, 3, 3, 3), (1, 4, 3, 29, 31)):
            prediction, target, weights = some_residuals(*shape, dtype=dtype)
            for w in (None, weights):
                got = mk.weighted_loss(prediction, target, w, gradient_scale=64.0, impl="cpp")
                numbers_close(got, prediction, target, w, 64.0)


@every_implementation
@settings(max_examples=30, deadline=None, derandomize=True)
@given(n=st.integers(0, 4), shape=st.tuples(*[st.integers(1, 8)] * 4))
def test_any_shape(impl: str, n: int, shape: tuple[int, ...]) -> None:
    prediction, target, weights = some_residuals(n, *shape)
    got = mk.weighted_loss(prediction, target, weights, impl=impl)
    assert got[0].shape == (n,)
    assert got[1].shape == prediction.shape
    numbers_close(got, prediction, target, weights)


@every_implementation
def test_no_weights_are_ones(impl: str) -> None:
    prediction, target, weights = some_residuals(3, 4, 5, 6, 7)
    ones = mk.weighted_loss(prediction, target, torch.ones_like(weights), impl=impl)
    none = mk.weighted_loss(prediction, target, impl=impl)
    assert torch.equal(ones[0], none[0])
    assert torch.equal(ones[1], none[1])


@every_implementation
def test_zero_weights_give_exact_zeros(impl: str) -> None:
    prediction, target, weights = some_residuals(2, 4, 5, 6, 7)
    weights[1] = 0
    loss, gradient = mk.weighted_loss(prediction, target, weights, impl=impl)
    assert float(loss[1]) == 0
    assert not gradient[1].any()
    assert float(loss[0]) > 0


@every_implementation
def test_a_scale_keeps_small_float16_gradients(impl: str) -> None:
    """The mean over a clip puts gradients below float16's smallest number; a power of two brings them back."""
    prediction, target, _ = some_residuals(1, 16, 21, 24, 28, dtype=torch.float16)
    exact = mk.weighted_loss(prediction.double(), target.double())[1]

    def relative_error(scale: float) -> float:
        gradient = mk.weighted_loss(prediction, target, gradient_scale=scale, impl=impl)[1]
        return float((gradient.double() / scale - exact).norm() / exact.norm())

    assert relative_error(1.0) > 1e-2, "this shape no longer shows the underflow"
    assert relative_error(2.0**20) < 1e-3


@every_implementation
@pytest.mark.parametrize("scale", [1.0, 0.25, 3.0])
def test_loss_is_differentiable(impl: str, scale: float) -> None:
    """backward of any function of loss gives the chain rule, whatever gradient_scale is."""
    prediction, target, weights = some_residuals(3, 2, 3, 4, 5)
    prediction.requires_grad_()
    loss, gradient = mk.weighted_loss(prediction, target, weights, gradient_scale=scale, impl=impl)
    assert loss.requires_grad
    assert not gradient.requires_grad
    (loss * torch.tensor([1.0, -2.0, 0.0])).sum().backward()
    want = gradient / scale * torch.tensor([1.0, -2.0, 0.0]).reshape(3, 1, 1, 1, 1)
    torch.testing.assert_close(prediction.grad, want, rtol=1e-6, atol=0)


def test_gradcheck() -> None:
    prediction, target, weights = (t.double() for t in some_residuals(2, 2, 3, 2, 3))
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: mk.weighted_loss(p, target, weights, gradient_scale=8.0)[0], prediction)


@every_implementation
def test_does_not_depend_on_strides_batch_or_threads(impl: str, threads: Any) -> None:
    prediction, target, weights = some_residuals(3, 5, 4, 30, 34)
    with threads(1):
        want = mk.weighted_loss(prediction, target, weights, impl=impl)
    channels_last = prediction.permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)
    sliced = torch.full((6, 5, 4, 30, 68), math.nan)
    sliced[::2, ..., ::2] = target
    for count in (1, 2, 7):
        with threads(count):
            got = mk.weighted_loss(channels_last, sliced[::2, ..., ::2], weights.mT.contiguous().mT, impl=impl)
        torch.testing.assert_close(got[0], want[0], rtol=0 if impl != "torch" else 1e-6, atol=0)
        assert torch.equal(got[1], want[1])
    if impl != "torch":
        for s in range(3):
            alone = mk.weighted_loss(prediction[s : s + 1], target[s : s + 1], weights[s : s + 1], impl=impl)
            assert torch.equal(alone[0][0], want[0][s]), "a sample's loss depends on its batch"


@every_implementation
def test_a_bad_sample_stays_alone(impl: str) -> None:
    prediction, target, weights = some_residuals(3, 4, 5, 6, 7)
    want = mk.weighted_loss(prediction, target, weights, impl=impl)
    for tensor, at in ((prediction, (1, 3, 4, 5, 6)), (target, (1, 0, 0, 0, 0)), (weights, (1, 2, 3, 4))):
        kept = float(tensor[at])
        tensor[at] = math.inf if tensor is target else math.nan
        got = mk.weighted_loss(prediction, target, weights, impl=impl)
        assert not got[0][1].isfinite(), "a bad value has to show in its sample's loss"
        assert all(torch.equal(g[0::2], w[0::2]) for g, w in zip(got, want, strict=True)), "another sample changed"
        tensor[at] = kept


@every_implementation
def test_opcheck_and_compile(impl: str) -> None:
    prediction, target, weights = some_residuals(2, 3, 2, 4, 5)
    prediction.requires_grad_()
    torch.library.opcheck(_weighted_loss, (prediction, target, weights, 2.0, impl))
    torch.library.opcheck(_weighted_loss, (prediction.detach().bfloat16(), target.bfloat16(), None, 1.0, impl))

    def total(prediction: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        return mk.weighted_loss(prediction, target, weights, impl=impl)[0].sum()

    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    (want,) = torch.autograd.grad(total(prediction, target, weights), prediction)
    (got,) = torch.autograd.grad(compiled(prediction, target, weights), prediction)
    assert torch.equal(got, want)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction": torch.zeros(2, 3, 4, 5)}, r"prediction must be a floating-point tensor \[n, c, F, h, w\]"),
        ({"prediction": torch.zeros(2, 0, 4, 5, 6)}, "prediction must be non-empty but for n"),
        ({"target": torch.zeros(2, 3, 4, 5, 7)}, r"target must be like prediction \(float32 \[2, 3, 4, 5, 6\]"),
        ({"target": torch.zeros(2, 3, 4, 5, 6).half()}, "target must be like prediction"),
        ({"target": torch.zeros(2, 3, 4, 5, 6, requires_grad=True)}, "target must be free of gradients"),
        ({"weights": torch.zeros(2, 5, 4, 6)}, r"weights must be \[2, 4, 5, 6\] on cpu, got float32 \[2, 5, 4, 6\]"),
        ({"weights": torch.zeros(2, 4, 5, 6).long()}, "weights must be a floating-point tensor"),
        ({"weights": torch.zeros(2, 4, 5, 6, requires_grad=True)}, "weights must be free of gradients"),
        ({"gradient_scale": 0.0}, "gradient_scale must be positive and finite, got 0.0; use a power of two"),
        ({"gradient_scale": math.inf}, "gradient_scale must be positive and finite"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "prediction": torch.zeros(2, 3, 4, 5, 6),
        "target": torch.zeros(2, 3, 4, 5, 6),
        "weights": torch.zeros(2, 4, 5, 6),
        **change,
    }
    with pytest.raises(ValueError, match="^weighted_loss: " + message):
        mk.weighted_loss(**arguments)
