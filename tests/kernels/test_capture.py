"""Projected gradients of a module: every route equals the loop of backward passes, and the model is untouched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import motive_kernels as mk
from motive_kernels.capture.loop import per_sample_gradients
from motive_kernels.capture.parameters import select_parameters
from motive_kernels.capture.passes import Pass
from motive_kernels.capture.plan import Plan
from motive_kernels.capture.probe import probe
from motive_kernels.capture.scope import Scope

ROUTES = ("stream", "factorized")


class Model(nn.Module):
    """One of each layer type with a rule, around a modulation table and a shared embedding of the samples."""

    def __init__(self, with_embedding: bool = False) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, (2, 2), stride=(2, 2))
        self.group = nn.GroupNorm(2, 8)
        self.norm = nn.LayerNorm(8)
        self.rms = nn.RMSNorm(8)
        self.table = nn.Parameter(torch.randn(1, 2, 8))
        self.up = nn.Linear(8, 20)
        self.down = nn.Linear(20, 5, bias=False)
        self.embedding = nn.Embedding(4, 8) if with_embedding else None

    def forward(self, images: Tensor, shift: Tensor) -> Tensor:
        x = self.group(self.patch(images)).flatten(2).transpose(1, 2)
        scale, offset = (self.table + shift[:, None]).unbind(1)
        x = self.norm(x) * scale[:, None] + offset[:, None]
        if self.embedding is not None:
            x = x + self.embedding(torch.arange(x.shape[1]) % 4)
        return self.down(torch.tanh(self.up(self.rms(x))))


def make(
    n: int, dtype: torch.dtype = torch.float32, **options: bool
) -> tuple[Model, Callable[[], Tensor], mk.Projector]:
    torch.manual_seed(0)
    model = Model(**options).to(dtype)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    images, shift = torch.randn(n, 3, 6, 4, dtype=dtype), torch.randn(n, 8, dtype=dtype)
    projector = mk.Projector(mk.ProjectionSpec(dim=32), {name: p.shape for name, p in model.named_parameters()})
    return model, lambda: model(images, shift).float().pow(2).mean((1, 2)), projector


def oracle(model: nn.Module, losses: Callable[[], Tensor], projector: mk.Projector) -> Tensor:
    gradients = per_sample_gradients(model, losses, select_parameters(model, projector))
    return projector.project({name: g.double() for name, g in gradients.items()}, impl="torch")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("n", [1, 5])
def test_equals_the_loop_oracle(route: str, n: int) -> None:
    model, losses, projector = make(n)
    z = mk.projected_gradients(model, losses, projector, route=route)
    torch.testing.assert_close(z, oracle(model, losses, projector), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, _ in Model().named_parameters()])
def test_each_parameter_alone(name: str) -> None:
    model, losses, projector = make(3)
    for route in ROUTES:
        z = mk.projected_gradients(model, losses, projector, route=route, parameters=[name])
        gradient = per_sample_gradients(model, losses, {name: model.get_parameter(name)})
        expected = projector.project(gradient)
        assert expected.abs().max() > 0, f"{name} gets no gradient, so this test says nothing"
        torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-5, msg=lambda m, r=route: f"{name} by {r}: {m}")


@pytest.mark.parametrize("route", ["auto", *ROUTES])
def test_several_losses_of_a_sample_share_its_forward_pass(route: str) -> None:
    """Each has its own vector, also by groups and in one's own loop; one that is zero spoils nothing."""
    model, losses, projector = make(4)
    passes: list[int] = []
    model.register_forward_hook(lambda *_: passes.append(1))
    factors = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.5, 4.0, 0.0]])
    whole = oracle(model, losses, projector)
    capture = mk.GradientCapture(model, projector, route=route)
    for _ in range(2):
        passes.clear()
        z = capture(lambda: losses()[:, None] * factors)
        torch.testing.assert_close(z, factors[:, :, None] * whole[:, None], rtol=1e-4, atol=1e-5)
    assert len(passes) == 1
    with capture:
        torch.testing.assert_close(capture.backward(losses()[:, None] * factors), z, rtol=1e-5, atol=1e-6)
    names = list(projector.shapes)
    grouped = mk.GradientCapture(model, projector, route=route, groups={"a": names[:3], "b": names[3:]})
    parts = grouped(lambda: losses()[:, None] * factors)
    assert parts.shape == (4, 3, 2, 32)
    torch.testing.assert_close(parts.sum(2), z, rtol=1e-4, atol=1e-5)


def test_samples_may_own_several_rows() -> None:
    """Draws of one sample are rows of the leading axis; their gradients add up."""
    model, _, projector = make(1)
    images, shift = torch.randn(6, 3, 6, 4), torch.randn(6, 8)

    def losses() -> Tensor:
        return model(images, shift).pow(2).mean((1, 2)).reshape(2, 3).sum(1)

    z = mk.projected_gradients(model, losses, projector, route="factorized")
    torch.testing.assert_close(z, oracle(model, losses, projector), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("route", ROUTES)
def test_the_model_comes_back_as_it_was(route: str) -> None:
    model, losses, projector = make(2)
    model.up.weight.requires_grad_(False)
    model.down.weight.grad = torch.ones_like(model.down.weight)
    before = {name: (p, p.requires_grad, p.grad, p.detach().clone()) for name, p in model.named_parameters()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    mk.projected_gradients(model, losses, projector, route=route)

    def broken() -> Tensor:
        losses()
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        mk.projected_gradients(model, broken, projector, route=route)
    after = dict(model.named_parameters())
    assert list(after) == list(before), "parameters were renamed or reordered"
    for name, (parameter, required, grad, value) in before.items():
        assert after[name] is parameter
        assert parameter.requires_grad == required
        assert parameter.grad is grad, f"{name}.grad was replaced"
        assert torch.equal(parameter, value)
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


@pytest.mark.parametrize("route", ROUTES)
def test_batch_mates_do_not_matter(route: str) -> None:
    torch.manual_seed(1)
    model, _, projector = make(1)
    images, shift = torch.randn(4, 3, 6, 4), torch.randn(4, 8)

    def project(rows: slice) -> Tensor:
        def losses() -> Tensor:
            return model(images[rows], shift[rows]).pow(2).mean((1, 2))

        return mk.projected_gradients(model, losses, projector, route=route)

    torch.testing.assert_close(project(slice(None))[2:3], project(slice(2, 3)), rtol=1e-4, atol=1e-6)


def test_a_bad_sample_leaves_the_others_alone() -> None:
    model, _, projector = make(1)
    images, shift = torch.randn(3, 3, 6, 4), torch.randn(3, 8)
    images[1, 0, 0, 0] = torch.nan

    def losses() -> Tensor:
        return model(images, shift).pow(2).mean((1, 2))

    z = mk.projected_gradients(model, losses, projector, route="factorized")
    finite = torch.isfinite(z).all(1).tolist()
    assert finite == [True, False, True]


def test_bfloat16_weights() -> None:
    model, losses, projector = make(3, torch.bfloat16)
    for route in ROUTES:
        z = mk.projected_gradients(model, losses, projector, route=route)
        error = (z - oracle(model, losses, projector)).norm(dim=1) / oracle(model, losses, projector).norm(dim=1)
        assert error.max() < 0.02, f"{route}: {error}"


def test_checkpointing_counts_once() -> None:
    from torch.utils.checkpoint import checkpoint

    model, _, projector = make(2)
    images, shift = torch.randn(2, 3, 6, 4), torch.randn(2, 8)

    def losses() -> Tensor:
        return checkpoint(model, images, shift, use_reentrant=False).pow(2).mean((1, 2))

    for route in ROUTES:
        z = mk.projected_gradients(model, losses, projector, route=route)
        torch.testing.assert_close(z, oracle(model, losses, projector), rtol=1e-4, atol=1e-5)


def test_bad_arguments_say_what_to_do() -> None:
    model, losses, projector = make(2)
    with pytest.raises(ValueError, match="route must be one of auto"):
        mk.projected_gradients(model, losses, projector, route="fast")
    with pytest.raises(ValueError, match="compute_losses must return a float tensor"):
        mk.projected_gradients(model, lambda: losses().mean(), projector)
    with pytest.raises(ValueError, match="not in the model"):
        mk.projected_gradients(model, losses, mk.Projector(mk.ProjectionSpec(), {"absent": (3,)}))
    with pytest.raises(ValueError, match=r"up\.weight must be"):
        mk.projected_gradients(model, losses, mk.Projector(mk.ProjectionSpec(), {"up.weight": (20, 9)}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim", [16, 128])
def test_wide_inputs_are_kept_as_their_sketches(dim: int, dtype: torch.dtype) -> None:
    """After the checks, a layer whose wide input no other layer sees keeps a shorter form of it; nothing else changes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 300), nn.Tanh(), nn.Linear(300, 400), nn.Tanh(), nn.Linear(400, 30)).to(dtype)
    x = torch.randn(3, 50, 20, dtype=dtype)
    projector = mk.Projector(mk.ProjectionSpec(dim=dim), {name: p.shape for name, p in model.named_parameters()})
    kept: list[int] = []

    def losses() -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape[-1]) or t, lambda t: t):
            return model(x).float().square().mean((1, 2))

    scope = Scope.of(model, projector, "auto", None, "", None, None)
    plan = probe(scope, Plan.first(scope), losses)
    assert plan.alone == {"0.weight", "2.weight", "4.weight"}
    with Pass(scope, replace(plan, alone=frozenset())) as run:
        whole = run.backward(losses())
    assert kept.count(300) >= 3
    kept.clear()
    with Pass(scope, plan) as run:
        sketched = run.backward(losses())
    assert dim in kept
    assert kept.count(300) < 3, "an input of 300 numbers a token is kept besides its sketch"
    torch.testing.assert_close(sketched, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))
