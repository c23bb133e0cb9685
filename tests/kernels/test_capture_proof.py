"""The proof of a plan on a capture's first batch: faults that nothing else would notice are caught, named and rerouted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import motive_kernels as mk
from motive_kernels.capture.loop import per_sample_gradients
from motive_kernels.capture.parameters import select_parameters
from motive_kernels.capture.proof import proof_weights
from motive_kernels.capture.rules import LinearRule
from motive_kernels.capture.sums import Sums

N, T, D = 4, 6, 8


def make(n: int = N, dtype: torch.dtype = torch.float32) -> tuple[nn.Sequential, Callable[[], Tensor], mk.Projector]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(D, D), nn.Tanh(), nn.LayerNorm(D), nn.Linear(D, 3)).to(dtype)
    x = torch.randn(n, T, D, dtype=dtype)
    projector = mk.Projector(mk.ProjectionSpec(dim=16), {name: p.shape for name, p in model.named_parameters()})
    return model, lambda: model(x).float().square().mean((1, 2)), projector


def oracle(model: nn.Module, losses: Callable[[], Tensor], projector: mk.Projector) -> Tensor:
    gradients = per_sample_gradients(model, losses, select_parameters(model, projector))
    return projector.project({name: grad.double() for name, grad in gradients.items()}, impl="torch")


def mix_samples(patch: pytest.MonkeyPatch) -> set[str]:
    """Each sample's tokens and output gradients are filed under the next sample."""
    right = Sums.samples
    patch.setattr(Sums, "samples", lambda self, name, value: right(self, name, value).roll(1, 0))
    return {"0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias"}


def forget_tokens(patch: pytest.MonkeyPatch) -> set[str]:
    """The rule of a Linear leaves out the last token."""
    right = LinearRule.take

    def take(self: LinearRule, sums: Sums, module: nn.Module, own: Any, x: Tensor, dy: Tensor) -> None:
        right(self, sums, module, own, x[:, :-1], dy[:, :-1])

    patch.setattr(LinearRule, "take", take)
    return {"0.weight", "0.bias", "3.weight", "3.bias"}


def take_twice(patch: pytest.MonkeyPatch) -> set[str]:
    """Biases count twice."""
    right = Sums.add

    def add(self: Sums, name: str, grad: Tensor) -> None:
        right(self, name, 2 * grad if name == "3.bias" else grad)

    patch.setattr(Sums, "add", add)
    return {"3.bias"}


FAULTS = {"samples mixed up": mix_samples, "tokens left out": forget_tokens, "a bias counted twice": take_twice}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 2, N])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_rerouted(fault: str, n: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "samples mixed up" and n == 1:
        pytest.skip("one sample cannot be mixed up")
    model, losses, projector = make(n, dtype)
    expected = oracle(model, losses, projector)
    wrong = FAULTS[fault](monkeypatch)
    capture = mk.GradientCapture(model, projector)
    z = capture(losses)
    assert {name for name, served in capture.plan.served.items() if served == "stream"} == wrong
    assert all("differ from ordinary ones" in capture.plan.reasons[name] for name in wrong)
    within = 1e-4 if dtype == torch.float32 else 0.02
    assert (z - expected).norm() < within * expected.norm()
    with pytest.raises(ValueError, match=r"must fit the factorized route, got '\d\.\w+' \(its gradients differ from"):
        mk.projected_gradients(model, losses, projector, route="factorized")
    blind = mk.projected_gradients(model, losses, projector, verify=False)
    assert (blind - expected).norm() > 0.03 * expected.norm(), "the fault changes nothing, so this test says nothing"


def test_what_stays_wrong_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model, losses, projector = make()
    right = Sums.add_sample

    def add_sample(self: Sums, name: str, sample: int, grad: Tensor) -> None:
        right(self, name, sample, grad if self.n == 1 else 1.5 * grad)

    monkeypatch.setattr(Sums, "add_sample", add_sample)
    take_twice(monkeypatch)
    with pytest.raises(ValueError, match=r"must add up to the ordinary gradient, got a difference of .* for 3\.bias"):
        mk.projected_gradients(model, losses, projector)


def test_a_right_plan_is_proved_once_and_for_as_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, projector = make()
    passes: list[int] = []
    model.register_forward_hook(lambda *_: passes.append(1))

    def run(n: int) -> int:
        passes.clear()
        x = torch.randn(n, T, D)
        capture(lambda: model(x).square().mean((1, 2)))
        return len(passes)

    capture = mk.GradientCapture(model, projector)
    assert [run(1), run(1), run(3), run(5), run(1)] == [4, 1, 5, 1, 1], "look, twice to prove, then the batch itself"
    assert capture.plan.proved == 3
    capture = mk.GradientCapture(model, projector, verify=False)
    assert [run(3), run(3)] == [2, 1]


def test_a_batch_that_proves_nothing_leaves_it_to_the_next() -> None:
    """Not-a-number or gradients that are all zero cannot be compared."""
    model, losses, projector = make()
    capture = mk.GradientCapture(model, projector)
    for factor in (torch.nan, 0.0):
        capture(lambda factor=factor: losses() * torch.tensor([1.0, factor, factor, factor]) * (factor or 0.0))
        assert capture.plan.proved == 0
        assert "stream" not in capture.plan.served.values()
    capture(losses)
    assert capture.plan.proved == N


def test_weights_tell_any_eight_samples_apart() -> None:
    weights = proof_weights(torch.zeros(64))
    assert torch.equal(weights, proof_weights(torch.zeros(64)))
    for block in weights.split(8):
        assert len(set(block.tolist())) == 8
    assert proof_weights(torch.zeros(3, 2, dtype=torch.bfloat16)).shape == (3, 2)


def test_losses_that_change_with_each_call_are_refused() -> None:
    model, losses, projector = make()
    calls = iter(range(100))
    with pytest.raises(ValueError, match="must give the same losses each time"):
        mk.projected_gradients(model, lambda: losses() * (1 + next(calls)), projector)


def test_reentrant_checkpoints_are_refused_with_the_remedy() -> None:
    model, _, projector = make()
    x = torch.randn(N, T, D)
    for requires_grad in (True, False):
        start = x.clone().requires_grad_(requires_grad)

        def losses(start: Tensor = start) -> Tensor:
            y = checkpoint(model[1:], model[0](start), use_reentrant=True)
            return y.square().mean((1, 2))

        for verify in (True, False):
            with pytest.raises(ValueError, match="use_reentrant=False"):
                mk.projected_gradients(model, losses, projector, verify=verify)

    def detached() -> Tensor:
        return checkpoint(model, x, use_reentrant=True).square().mean((1, 2))

    with pytest.raises(ValueError, match="use_reentrant=False"), pytest.warns(UserWarning, match="requires_grad"):
        mk.projected_gradients(model, detached, projector)


def test_the_log_says_what_runs_and_is_quiet_by_default(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, losses, projector = make()
    take_twice(monkeypatch)
    with caplog.at_level("INFO", logger="motive_kernels"):
        mk.projected_gradients(model, losses, projector)
    rerouted, line = (record.getMessage() for record in caplog.records)
    assert rerouted.startswith("3.bias: layer does not fit: its gradients differ from ordinary ones by")
    assert line.startswith("capture: 6 parameters (layer: 5, stream: 1) on cpu in float32")
    assert line.endswith("proved with 4 samples")
    assert capsys.readouterr() == ("", "")
