"""Products of the engine are float32 whatever torch's global switches say, and 16-bit operands lose nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import motive_kernels as mk
from motive_kernels.capture.rules import rule_for
from motive_kernels.capture.scope import Scope
from motive_kernels.capture.sums import Sums
from motive_kernels.runtime import precision
from motive_kernels.runtime.precision import full_float32, outer_products

needs_switches = pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="one switch for each back end came with torch 2.9"
)


def switches() -> tuple[str, str]:
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]


@pytest.fixture(params=["highest", "high", "medium"])
def lowered(request: pytest.FixtureRequest) -> Iterator[str]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision(before)


@needs_switches
def test_the_switches_are_off_inside_and_come_back(lowered: str) -> None:
    before = switches()
    inside: list[tuple[str, str]] = []

    def stopped() -> None:
        with full_float32():
            inside.append(switches())
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        stopped()
    assert inside == [("ieee", "ieee")]
    assert switches() == before
    assert torch.get_float32_matmul_precision() == lowered


PRODUCTS = (torch.ops.aten.bmm.default, torch.ops.aten.mm.default, torch.ops.aten.addmm.default)


class Watch(TorchDispatchMode):
    """Notes the switches at each product."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            self.seen.append(switches())
        return func(*args, **(kwargs or {}))


@needs_switches
@pytest.mark.parametrize("kind", ["tensor_sketch", "rademacher", "kronecker"])
def test_every_product_of_a_rule_runs_with_the_switches_off(lowered: str, kind: str) -> None:
    model = nn.ModuleDict({"linear": nn.Linear(8, 8), "norm": nn.LayerNorm(8), "rms": nn.RMSNorm(8)})
    model["conv"] = nn.Conv1d(6, 6, 3, groups=2, padding=1)
    projector = mk.Projector(mk.ProjectionSpec(kind, dim=16), {name: p.shape for name, p in model.named_parameters()})
    for route in ("auto", "factorized"):
        scope = Scope.of(model, projector, route, None, "", None, "torch")
        sums, watch = Sums(scope, 3), Watch()
        with watch:
            for module, own in scope.owners.items():
                rule = rule_for(module)
                assert rule is not None
                rule.take(sums, module, own, torch.randn(3, 6, 8), torch.randn(3, 6, 8))
        assert len(watch.seen) >= 3
        assert set(watch.seen) == {("ieee", "ieee")}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_operands_are_summed_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, dy = torch.randn(2, 1000, 24).to(dtype), torch.randn(2, 1000, 16).to(dtype)
    exact = torch.einsum("nto,nti->noi", dy.double(), x.double())
    got = outer_products(x, dy)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-4)
    mixed = outer_products(x.float(), dy)
    torch.testing.assert_close(mixed.double(), exact, rtol=1e-5, atol=1e-4)


def test_16_bit_operands_are_not_widened_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: what bmm is called with for tensors that claim to be there."""
    calls: list[dict[str, Any]] = []

    def bmm(left: torch.Tensor, right: torch.Tensor, **options: Any) -> torch.Tensor:
        calls.append({"dtypes": (left.dtype, right.dtype), **options})
        return torch.zeros(left.shape[0], left.shape[1], right.shape[2])

    monkeypatch.setattr(torch, "bmm", bmm)
    monkeypatch.setattr(precision, "_on_gpu", lambda x: True)
    x, dy = torch.randn(2, 5, 4).bfloat16(), torch.randn(2, 5, 3).bfloat16()
    outer_products(x, dy)
    outer_products(x, dy.float())
    assert calls[0] == {"dtypes": (torch.bfloat16, torch.bfloat16), "out_dtype": torch.float32}
    assert calls[1] == {"dtypes": (torch.float32, torch.float32)}
