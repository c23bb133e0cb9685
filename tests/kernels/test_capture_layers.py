"""Any module: whatever way its parameters are used, per-sample gradients equal the loop of backward passes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import motive_kernels as mk
from motive_kernels.capture.loop import per_sample_gradients
from motive_kernels.capture.parameters import select_parameters

WIDTH, TOKENS = 8, 6


class Uses(nn.Module):
    """x [n, t, d] -> [n, t, d] through ``use``, with parameters a [d], b [1, t, d], c [d, d] to use."""

    def __init__(self, use: Callable[[nn.Module, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.use = use
        self.a = nn.Parameter(torch.zeros(WIDTH))
        self.b = nn.Parameter(torch.zeros(1, TOKENS, WIDTH))
        self.c = nn.Parameter(torch.zeros(WIDTH, WIDTH))
        for name, module in modules.items():
            setattr(self, name, module)
        self.first, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x) + 0 * (self.a.sum() + self.b.sum() + self.c.sum()))
        return self.last(torch.tanh(self.use(self, x)))


class OnePlusNorm(nn.RMSNorm):
    """A norm whose weight counts from one."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.normalized_shape, None, self.eps) * (1 + self.weight)


class ScaledLinear(nn.Linear):
    """A Linear that is no longer one."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, self.weight * self.weight.abs().sum(), self.bias)


class Bfloat16Norm(nn.LayerNorm):
    """As a LayerNorm, computed in another dtype."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.layer_norm(input.float(), self.normalized_shape, self.weight, self.bias, self.eps).to(input)


class SharedRows(nn.Module):
    """Its layer sees a table that all samples share, not the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.layer(torch.linspace(0, 1, 60 * WIDTH).reshape(60, WIDTH)).mean(0)


def split_heads(m: nn.Module, x: Tensor) -> Tensor:
    return m.mha(x, x, x, need_weights=False)[0]


def in_place(m: nn.Module, x: Tensor) -> Tensor:
    y = x.clone()
    y.add_(m.a)
    return y


def in_place_operator(m: nn.Module, x: Tensor) -> Tensor:
    y = x.clone()
    y += m.a
    return y


USES: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], dict[str, Callable[[], nn.Module]], dict[str, str]]] = {
    "gate": (lambda m, x: x * m.a + m.a, {}, {"a": "operand"}),
    "position": (lambda m, x: x + m.b, {}, {"b": "operand"}),
    "table of a batch of tokens": (
        lambda m, x: (m.b.unsqueeze(0) + x[:, :, None].expand(-1, -1, TOKENS, -1)).mean(2),
        {},
        {"b": "operand"},
    ),
    "views": (lambda m, x: x * (1 + m.b.chunk(2, 2)[0].repeat(1, 1, 2)) - m.b[:, :1], {}, {"b": "operand"}),
    "function of a parameter": (lambda m, x: x / (1 + functional.softplus(m.a)), {}, {"a": "operand"}),
    "function of two": (lambda m, x: x * (m.c @ m.a), {}, {"a": "operand", "c": "operand"}),
    "product": (lambda m, x: x @ m.c, {}, {"c": "operand"}),
    "einsum": (lambda m, x: torch.einsum("ntd,de->nte", x, m.c), {}, {"c": "operand"}),
    "linear function": (lambda m, x: functional.linear(x, m.c, m.a), {}, {"c": "operand", "a": "operand"}),
    "class token": (
        lambda m, x: torch.cat([m.b[:, :1].expand(len(x), -1, -1), x], 1)[:, :TOKENS],
        {},
        {"b": "operand"},
    ),
    "normalisation function": (lambda m, x: functional.layer_norm(x, (WIDTH,), m.a), {}, {"a": "operand"}),
    "positions": (
        lambda m, x: x * torch.cos(torch.einsum("t,de->te", torch.linspace(0, 1, TOKENS), m.c)),
        {},
        {"c": "operand"},
    ),
    "table of a layer": (lambda m, x: x * m.l(m.b), {"l": lambda: nn.Linear(WIDTH, WIDTH)}, {"b": "stream"}),
    "in place": (in_place, {}, {"a": "stream"}),
    "in place by operator": (in_place_operator, {}, {"a": "stream"}),
    "embedding": (
        lambda m, x: x + m.table(torch.arange(TOKENS) % 4),
        {"table": lambda: nn.Embedding(4, WIDTH)},
        {"table.weight": "operand"},
    ),
    "embedding of each sample": (
        lambda m, x: x + m.table((torch.arange(TOKENS) % 4).expand(len(x), -1)),
        {"table": lambda: nn.Embedding(4, WIDTH)},
        {"table.weight": "operand"},
    ),
    "layer used twice": (
        lambda m, x: m.l(torch.tanh(m.l(x))),
        {"l": lambda: nn.Linear(WIDTH, WIDTH)},
        {"l.bias": "closed"},
    ),
    "tied layers": (
        lambda m, x: m.q(torch.tanh(m.p(x))),
        {"p": lambda: nn.Linear(WIDTH, WIDTH), "q": lambda: nn.Linear(WIDTH, WIDTH)},
        {"p.bias": "closed"},
    ),
    "weight used outside too": (
        lambda m, x: functional.linear(torch.tanh(m.l(x)), m.l.weight),
        {"l": lambda: nn.Linear(WIDTH, WIDTH)},
        {"l.weight": "operand", "l.bias": "closed"},
    ),
    "attention module": (
        split_heads,
        {"mha": lambda: nn.MultiheadAttention(WIDTH, 2, batch_first=True)},
        {"mha.in_proj_weight": "stream", "mha.out_proj.weight": "stream"},
    ),
    "rows are tokens": (
        lambda m, x: m.l(x.transpose(0, 1)).transpose(0, 1),
        {"l": lambda: nn.Linear(WIDTH, WIDTH)},
        {"l.weight": "stream"},
    ),
    "rows are shared": (lambda m, x: m.s(x), {"s": SharedRows}, {"s.layer.weight": "stream"}),
    "norm from one": (lambda m, x: m.l(x), {"l": lambda: OnePlusNorm(WIDTH)}, {"l.weight": "operand"}),
    "no longer linear": (lambda m, x: m.l(x), {"l": lambda: ScaledLinear(WIDTH, WIDTH)}, {"l.weight": "operand"}),
    "another dtype": (lambda m, x: m.l(x), {"l": lambda: Bfloat16Norm(WIDTH)}, {"l.weight": "closed"}),
    "weight norm": (
        lambda m, x: m.l(x),
        {"l": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH))},
        {"l.bias": "closed"},
    ),
    "convolution": (
        lambda m, x: m.l(x),
        {"l": lambda: nn.Conv1d(TOKENS, TOKENS, 3, padding=2, dilation=2)},
        {"l.bias": "closed"},
    ),
    "strided circular convolution": (
        lambda m, x: m.l(x).repeat(1, 1, 2),
        {"l": lambda: nn.Conv1d(TOKENS, TOKENS, 4, stride=2, padding=1, padding_mode="circular")},
        {"l.bias": "closed"},
    ),
    "grouped convolution in two dimensions": (
        lambda m, x: m.l(x.unflatten(2, (2, 4))).flatten(2),
        {"l": lambda: nn.Conv2d(TOKENS, TOKENS, 3, padding="same", groups=3)},
        {"l.bias": "closed"},
    ),
    "transposed convolution": (
        lambda m, x: m.l(x)[..., :WIDTH],
        {"l": lambda: nn.ConvTranspose1d(TOKENS, TOKENS, 3)},
        {"l.weight": "operand"},
    ),
    "slope": (lambda m, x: m.l(x), {"l": lambda: nn.PReLU()}, {"l.weight": "operand"}),
    "batch statistics": (
        lambda m, x: (x - x.mean(0) / 2) * m.a,
        {},
        {"a": "stream", "first.weight": "stream"},
    ),
}


def make(use: str, n: int) -> tuple[nn.Module, Callable[[], Tensor], mk.Projector]:
    torch.manual_seed(0)
    function, modules, _ = USES[use]
    model = Uses(function, **{name: build() for name, build in modules.items()}).eval()
    if use == "tied layers":
        model.q.weight = model.p.weight
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(n, TOKENS, WIDTH)
    projector = mk.Projector(mk.ProjectionSpec(dim=5), {name: p.shape for name, p in model.named_parameters()})
    return model, lambda: model(x).square().mean((1, 2)), projector


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("use", USES)
def test_equals_the_loop_oracle(use: str, n: int) -> None:
    model, losses, projector = make(use, n)
    gradients = per_sample_gradients(model, losses, select_parameters(model, projector))
    names = list(model.state_dict())
    for name in USES[use][2]:
        assert gradients[name].any(), f"{name} gets no gradient, so this test says nothing"
    expected = projector.project({name: g.double() for name, g in gradients.items()}, impl="torch")
    capture = mk.GradientCapture(model, projector)
    for _ in range(2):  # the first pass checks, the second does not
        z = capture(losses)
        torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-5, msg=lambda m: f"{capture.routes}: {m}")
    assert list(model.state_dict()) == names
    assert not any(isinstance(v, Tensor) for module in model.modules() for v in module.__dict__.values())
    if n > 1:
        taken = {name: capture.routes[name] for name in USES[use][2]}
        assert taken == USES[use][2]


@pytest.mark.parametrize("use", ["rows are tokens", "in place", "batch statistics"])
def test_the_factorized_route_names_what_does_not_fit(use: str) -> None:
    model, losses, projector = make(use, 4)
    name = next(iter(USES[use][2]))
    with pytest.raises(ValueError, match="must fit the factorized route"):
        mk.projected_gradients(model, losses, projector, route="factorized")
    if use != "batch statistics":  # there, leaving one out does not help
        others = [other for other in projector.shapes if other.split(".")[0] != name.split(".")[0]]
        mk.projected_gradients(model, losses, projector, route="factorized", parameters=others)


def test_a_loop_of_ones_own_needs_a_plan_for_as_many_samples() -> None:
    model, losses, projector = make("rows are tokens", 4)
    expected = mk.projected_gradients(model, losses, projector, route="stream")
    x = torch.randn(1, TOKENS, WIDTH)
    capture = mk.GradientCapture(model, projector)
    with pytest.raises(RuntimeError, match=r"no plan yet; call capture\.probe"), capture:
        pass
    capture.probe(lambda: model(x).square().mean((1, 2)))
    with capture, pytest.raises(RuntimeError, match=r"proved with one sample, not with 4; call capture\.probe"):
        capture.backward(losses())
    plan = capture.probe(losses)
    assert plan.served["l.weight"] == "stream"
    assert "one alone must own a block of rows" in plan.reasons["l.weight"]
    with capture:
        torch.testing.assert_close(capture.backward(losses()), expected, rtol=1e-4, atol=1e-5)


def test_several_passes_inside_one_capture() -> None:
    model, losses, projector = make("gate", 4)
    capture = mk.GradientCapture(model, projector)
    capture.probe(losses)
    with capture:
        first, second = (capture.backward(losses()) for _ in range(2))
        with pytest.raises(RuntimeError, match="already active"):
            capture.__enter__()
        with pytest.raises(RuntimeError, match="already active"):
            capture(losses)
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="inside 'with capture:'"):
        capture.backward(losses())


def test_groups_give_a_vector_each() -> None:
    model, losses, projector = make("gate", 4)
    groups = {"ends": ["first.weight", "last.bias"], "gate": ["a"]}
    capture = mk.GradientCapture(model, projector, groups=groups)
    z = capture(losses)
    assert z.shape == (4, 2, 5)
    for j, names in enumerate(groups.values()):
        alone = mk.projected_gradients(model, losses, projector, parameters=names)
        torch.testing.assert_close(z[:, j], alone, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="each once, got 'a'"):
        mk.GradientCapture(model, projector, groups={"x": ["a"], "y": ["a"]})
    with pytest.raises(ValueError, match=r"every parameter, and none holds 'first\.weight'"):
        mk.GradientCapture(model, projector, groups={"x": ["a"]}, parameters=["a", "first.weight"])


def test_a_bad_sample_in_the_first_batch_changes_no_route() -> None:
    model, _, projector = make("gate", 4)
    x = torch.randn(4, TOKENS, WIDTH)
    x[1, 0, 0] = torch.nan
    capture = mk.GradientCapture(model, projector)
    z = capture(lambda: model(x).square().mean((1, 2)))
    assert torch.isfinite(z).all(1).tolist() == [True, False, True, True]
    assert "stream" not in capture.routes.values()
    alone = capture(lambda: model(x[2:3]).square().mean((1, 2)))
    torch.testing.assert_close(z[2:3], alone, rtol=1e-5, atol=1e-6)


def test_repeats_bit_for_bit() -> None:
    model, losses, projector = make("convolution", 4)
    first, second = (mk.projected_gradients(model, losses, projector) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("route", ["factorized", "stream"])
@pytest.mark.parametrize("how", ["wrapped", "in place", "a part"])
def test_compiled_models_give_the_same_vectors(route: str, how: str) -> None:
    model, losses, projector = make("gate", 3)
    expected = mk.projected_gradients(model, losses, projector, route="stream")
    x = torch.randn(3, TOKENS, WIDTH)
    wrapped = torch.compile(model, backend="eager") if how == "wrapped" else model
    if how == "in place":
        model.compile(backend="eager")
    elif how == "a part":
        model.first.compile(backend="eager")

    def compiled_losses() -> Tensor:
        return wrapped(x).square().mean((1, 2))

    with torch.no_grad():
        wrapped(x)  # compiled before the capture, as in use
    torch.manual_seed(0)
    plain, _, _ = make("gate", 3)
    expected = mk.projected_gradients(plain, lambda: plain(x).square().mean((1, 2)), projector, route="stream")
    for target in (wrapped, model):
        z = mk.projected_gradients(target, compiled_losses, projector, route=route)
        torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()


@pytest.mark.parametrize("use", ["gate", "weight used outside too", "rows are tokens", "convolution"])
def test_checkpointing_counts_once_on_every_route(use: str) -> None:
    from torch.utils.checkpoint import checkpoint

    model, losses, projector = make(use, 4)
    expected = mk.projected_gradients(model, losses, projector, route="stream")
    x = torch.randn(4, TOKENS, WIDTH)
    expected = mk.projected_gradients(model, lambda: model(x).square().mean((1, 2)), projector, route="stream")
    capture = mk.GradientCapture(model, projector)
    for _ in range(2):
        z = capture(lambda: checkpoint(model, x, use_reentrant=False).square().mean((1, 2)))
        torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-5)


def test_offloaded_weights_are_brought_in_by_their_hooks() -> None:
    accelerate = pytest.importorskip("accelerate")
    model, _, projector = make("layer used twice", 3)
    x = torch.randn(3, TOKENS, WIDTH)
    names = [name for name in projector.shapes if "." in name]
    expected = mk.projected_gradients(
        model, lambda: model(x).square().mean((1, 2)), projector, route="stream", parameters=names
    )
    for layer in (model.first, model.l, model.last):
        accelerate.cpu_offload(layer, execution_device=torch.device("cpu"))
    capture = mk.GradientCapture(model, projector, parameters=names)
    for _ in range(2):
        z = capture(lambda: model(x).square().mean((1, 2)))
        torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-5)
    assert set(capture.routes.values()) <= {"factorized", "materialized", "closed"}


def test_lora_factors_alone_and_what_a_fresh_one_has() -> None:
    """Before training lora_B is zero, so lora_A has no gradient at all; afterwards both equal the loop's."""
    peft = pytest.importorskip("peft")
    model, losses, _ = make("layer used twice", 3)
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=["first", "l"]), model)
    projector = mk.Projector(mk.ProjectionSpec(dim=5), {name: p.shape for name, p in model.named_parameters()})
    factors = [name for name in projector.shapes if "lora_" in name]
    assert len(factors) == 4
    for name in factors:
        assert mk.projected_gradients(model, losses, projector, parameters=[name]).any() == ("lora_B" in name)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    gradients = per_sample_gradients(model, losses, select_parameters(model, projector, factors))
    capture = mk.GradientCapture(model, projector, parameters=factors, route="factorized")
    torch.testing.assert_close(capture(losses), projector.project(gradients), rtol=1e-4, atol=1e-5)
    assert all(gradients[name].any() for name in factors)
