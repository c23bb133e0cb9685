"""Modules that break what a capture rests on: each gives the vectors of a loop of backward passes, or an error that
says what to do. None may be wrong without a word."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import motive_kernels as mk
from motive_kernels.capture.loop import per_sample_gradients
from motive_kernels.capture.parameters import select_parameters

N, T, D = 4, 6, 8

torch_weight_norm = nn.utils.parametrizations.weight_norm
torch_spectral_norm = nn.utils.parametrizations.spectral_norm


class Apply(nn.Module):
    """x [n, t, d] -> use(self, x), with the modules and parameters given."""

    def __init__(self, use: Callable[[Any, Tensor], Tensor], **parts: Any) -> None:
        super().__init__()
        self.use = use
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self, x)


class ScaledGradient(torch.autograd.Function):
    """y = x W^T whose weight gradient is three times the true one: plausible forward, unusual backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w.T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return grads[0] @ w, 3 * torch.einsum("nto,nti->oi", grads[0], x)


class LyingLinear(nn.Linear):
    """Computes what a Linear computes; its weight gradient is another."""

    def forward(self, input: Tensor) -> Tensor:
        return ScaledGradient.apply(input, self.weight) + self.bias  # type: ignore[operator]


class Rounded(torch.autograd.Function):
    """Rounding with the gradient of the identity, as in quantization-aware training."""

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        return (w * 8).round() / 8

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) / 2)


def linear(**options: Any) -> nn.Linear:
    return nn.Linear(D, D, **options)


def under_no_grad(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        teacher, factor = m.l(x), m.a.exp()
    return m.l(x) * factor - teacher + m.a


def experts(m: Any, x: Tensor) -> Tensor:
    """Tokens are routed: each expert sees a part of them."""
    y, left = torch.zeros_like(x), x[..., 0] > 0
    y[left] = m.l(x[left])
    y[~left] = m.k(x[~left])
    return y


def expert_of_a_sample(m: Any, x: Tensor) -> Tensor:
    return torch.stack([(m.k if s == 1 else m.l)(x[s]) for s in range(len(x))])


def hooked_parameter() -> nn.Linear:
    layer = linear()
    layer.weight.register_hook(lambda grad: 2 * grad)
    return layer


def tied() -> Apply:
    p, q = linear(), linear()
    q.weight = p.weight
    return Apply(lambda m, x: m.q(torch.tanh(m.p(x))), p=p, q=q)


def autocast(m: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return m.k(torch.tanh(m.l(x)) * m.a)


def functional_call(m: Any, x: Tensor) -> Tensor:
    return torch.func.functional_call(m.l, dict(m.l.named_parameters()), (x,)) + m.a


def recurrent(kind: Callable[..., nn.Module], **options: Any) -> Callable[[], nn.Module]:
    return lambda: Apply(lambda m, x: m.r(x)[0], r=kind(D, D, **options))


def encoder(**options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.TransformerEncoderLayer(D, 2, 16, batch_first=True, **options)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "attention first": lambda: Apply(
        lambda m, x: m.l(m.mha(x, x, x, need_weights=False)[0]),
        mha=nn.MultiheadAttention(D, 2, batch_first=True),
        l=linear(),
    ),
    "attention alone": lambda: Apply(
        lambda m, x: m.mha(x, x, x, need_weights=False)[0], mha=nn.MultiheadAttention(D, 2, batch_first=True)
    ),
    "attention over tokens first": lambda: Apply(
        lambda m, x: m.mha(x.transpose(0, 1), x.transpose(0, 1), x.transpose(0, 1))[0].transpose(0, 1),
        mha=nn.MultiheadAttention(D, 2),
    ),
    "einsum alone": lambda: Apply(lambda m, x: torch.einsum("nti,oi->tno", x, m.a).transpose(0, 1), a=parameter(D, D)),
    "einsum with the samples first": lambda: Apply(lambda m, x: torch.einsum("nti,oi->nto", x, m.a), a=parameter(D, D)),
    "transformer encoder layer": encoder(dropout=0.0),
    "transformer encoder layer with dropout": encoder(dropout=0.3),
    "transformer encoder layer, norm first": encoder(dropout=0.0, norm_first=True),
    "dropout": lambda: nn.Sequential(linear(), nn.Dropout(0.5), linear()),
    "batch norm": lambda: nn.Sequential(linear(), nn.BatchNorm1d(T), linear()),
    "batch norm with running statistics": lambda: nn.Sequential(linear(), nn.BatchNorm1d(T).eval(), linear()),
    "weight norm": lambda: nn.Sequential(torch_weight_norm(linear()), nn.Tanh(), linear()),
    "spectral norm": lambda: nn.Sequential(torch_spectral_norm(linear()), nn.Tanh(), linear()),
    "tied weights": tied,
    "tied embedding": lambda: Apply(
        lambda m, x: (m.e((x[..., 0].abs() * 3).long() % 5) + x) @ m.e.weight.T, e=nn.Embedding(5, D)
    ),
    "sparse embedding": lambda: Apply(
        lambda m, x: m.l(x) * m.e((x[..., 0].abs() * 3).long() % 5), e=nn.Embedding(5, D, sparse=True), l=linear()
    ),
    "bag of embeddings": lambda: Apply(
        lambda m, x: m.l(x) + m.e((x[..., :3].abs() * 3).long().flatten(0, 1) % 5).reshape(x.shape),
        e=nn.EmbeddingBag(5, D),
        l=linear(),
    ),
    "in place": lambda: nn.Sequential(linear(), nn.ReLU(inplace=True), linear()),
    "LSTM": recurrent(nn.LSTM, batch_first=True),
    "LSTM, tokens first": lambda: Apply(
        lambda m, x: m.r(x.transpose(0, 1))[0].transpose(0, 1), r=nn.LSTM(D, D, 2, bidirectional=False)
    ),
    "GRU": recurrent(nn.GRU, batch_first=True, bidirectional=True),
    "GRU cell": lambda: Apply(
        lambda m, x: torch.stack([m.r(x[:, t]) for t in range(x.shape[1])], 1), r=nn.GRUCell(D, D)
    ),
    "no_grad": lambda: Apply(under_no_grad, l=linear(), a=parameter(D)),
    "detach": lambda: Apply(lambda m, x: m.l(x).detach() * m.a.detach() + m.l(x) * m.a, l=linear(), a=parameter(D)),
    "tokens first": lambda: Apply(lambda m, x: m.l(torch.tanh(m.k(x.transpose(0, 1)))).mean(0), l=linear(), k=linear()),
    "samples last": lambda: Apply(lambda m, x: m.l(x.permute(1, 2, 0)).permute(2, 0, 1), l=nn.Linear(N, N)),
    "samples in one row": lambda: Apply(
        lambda m, x: m.l(x.reshape(1, -1, D)).reshape(x.shape) * m.a, l=linear(), a=parameter(D)
    ),
    "samples reversed": lambda: Apply(lambda m, x: m.l(x.flip(0)).flip(0), l=linear()),
    "complex": lambda: Apply(
        lambda m, x: torch.view_as_real(
            torch.view_as_complex(m.l(x).unflatten(-1, (-1, 2))) * torch.view_as_complex(m.a)
        ).flatten(2),
        l=linear(),
        a=parameter(D // 2, 2),
    ),
    "Fourier layer": lambda: Apply(
        lambda m, x: torch.fft.irfft(torch.fft.rfft(m.l(x), dim=1) * m.a.exp(), n=T, dim=1), l=linear(), a=parameter(D)
    ),
    "functional_call": lambda: Apply(functional_call, l=linear(), a=parameter(D)),
    "autocast": lambda: Apply(autocast, l=linear(), k=linear(), a=parameter(D)),
    "in a loop": lambda: Apply(lambda m, x: m.l(torch.tanh(m.l(torch.tanh(m.l(x))))) + m.a, l=linear(), a=parameter(D)),
    "a sample at a time": lambda: Apply(lambda m, x: torch.stack([m.l(one) for one in x]), l=linear()),
    "experts of tokens": lambda: Apply(experts, l=linear(), k=linear()),
    "experts of samples": lambda: Apply(expert_of_a_sample, l=linear(), k=linear()),
    "parameter list": lambda: Apply(
        lambda m, x: torch.tanh(x @ m.w[0]) @ m.w[1], w=nn.ParameterList([parameter(D, D), parameter(D, D)])
    ),
    "bilinear": lambda: Apply(lambda m, x: m.l(x, x), l=nn.Bilinear(D, D, D)),
    "a gradient that lies": lambda: nn.Sequential(LyingLinear(D, D), nn.Tanh(), linear()),
    "fake quantization": lambda: Apply(
        lambda m, x: functional.linear(x, Rounded.apply(m.a)) + m.l(x), a=parameter(D, D), l=linear()
    ),
    "a hook on a parameter": lambda: nn.Sequential(hooked_parameter(), nn.Tanh(), linear()),
    "a hook on a result": lambda: Apply(lambda m, x: m.k(torch.tanh(m.l(x)).mul(1.0)), l=linear(), k=linear()),
    "unused": lambda: Apply(lambda m, x: m.l(x), l=linear(), k=linear(), a=parameter(D)),
    "interpolated table": lambda: Apply(
        lambda m, x: m.l(x) + functional.interpolate(m.a, T, mode="linear").transpose(1, 2),
        l=linear(),
        a=parameter(1, D, 3),
    ),
    "masked gate": lambda: Apply(lambda m, x: torch.where(x > 0, m.l(x) * m.a, x), l=linear(), a=parameter(D)),
    "gathered rows": lambda: Apply(
        lambda m, x: m.l(x) + m.a[(x[..., 0].abs() * 3).long() % 5], l=linear(), a=parameter(5, D)
    ),
    "attention with a learnt query": lambda: Apply(
        lambda m, x: functional.scaled_dot_product_attention(m.a.expand(len(x), -1, -1), m.l(x), x),
        l=linear(),
        a=parameter(1, 2, D),
    ),
    "scaled by a statistic": lambda: Apply(
        lambda m, x: m.l(x) * (m.a / m.a.square().sum()) * (m.a * m.l.bias.sum()), l=linear(), a=parameter(D)
    ),
    "random use": lambda: Apply(
        lambda m, x: m.l(x) + functional.dropout(x @ m.a, 0.5) + functional.rrelu(m.b, training=True),
        l=linear(),
        a=parameter(D, D),
        b=parameter(D),
    ),
    "dropout inside attention": lambda: Apply(
        lambda m, x: functional.scaled_dot_product_attention(m.l(x), m.a.expand(len(x), -1, -1), x, dropout_p=0.5),
        l=linear(),
        a=parameter(1, T, D),
    ),
    "regulariser": lambda: Apply(lambda m, x: m.l(x) + 0.1 * m.l.weight.square().sum(), l=linear()),
}


def losses_of(model: nn.Module) -> Callable[[], Tensor]:
    x = torch.randn(N, T, D, generator=torch.Generator().manual_seed(1))
    return lambda: model(x).float().square().flatten(1).mean(1) + 0 * x.sum()


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name]()


def oracle(name: str, projector: mk.Projector) -> tuple[Tensor, nn.Module, Tensor]:
    """Vectors [n, k] of the loop; the model and the random state after one forward pass."""
    model = made(name)
    torch.manual_seed(7)
    gradients = per_sample_gradients(model, losses_of(model), select_parameters(model, projector))
    dense = {parameter: grad.to_dense().double() for parameter, grad in gradients.items()}
    return projector.project(dense, impl="torch"), model, torch.get_rng_state()


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_an_odd_module_is_right(name: str, verify: bool) -> None:
    if not verify and name in ("a gradient that lies", "a hook on a parameter"):
        pytest.skip("what only the proof can see")
    model = made(name)
    before = copy.deepcopy(dict(model.named_buffers()))
    projector = mk.Projector(mk.ProjectionSpec(dim=5), {n: p.shape for n, p in model.named_parameters()})
    expected, after, random_state = oracle(name, projector)
    capture = mk.GradientCapture(model, projector, verify=verify)
    within = 5e-2 if name == "autocast" else 1e-4
    for repeat in range(2):
        torch.manual_seed(7)
        z = capture(losses_of(model))
        error = float((z - expected).norm() / expected.norm())
        assert error < within, f"{error}: {capture.routes} {capture.plan.reasons}"
        assert torch.equal(torch.get_rng_state(), random_state), "random numbers of one forward pass"
        if repeat == 0:
            for key, value in after.named_buffers():
                assert torch.equal(dict(model.named_buffers())[key], value), f"{key}: statistics of one forward pass"
                with torch.no_grad():
                    dict(model.named_buffers())[key].copy_(before[key])


class Counting(nn.Module):
    """Its output depends on how often it was called, as that of a model with a cache does."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.l = linear()
        self.in_place = in_place
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.in_place:
            self.calls += 1
        else:
            self.calls = self.calls + 1
        return self.l(x) * self.calls


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_buffer_that_the_forward_pass_writes_counts_a_batch_once(
    training: bool, in_place: bool, verify: bool
) -> None:
    model = Counting(in_place).train(training)
    x = torch.randn(N, T, D)
    projector = mk.Projector(mk.ProjectionSpec(dim=16), {name: p.shape for name, p in model.named_parameters()})
    capture = mk.GradientCapture(model, projector, verify=verify)
    for call in (1, 2):
        z = capture(lambda: model(x).square().mean((1, 2)))
        assert float(model.calls) == call
        right = mk.projected_gradients(
            model.l, lambda c=call: (model.l(x) * c).square().mean((1, 2)), projector, prefix="l."
        )
        torch.testing.assert_close(z, right)


def test_a_large_buffer_that_is_written_in_eval_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motive_kernels.capture.replay.COPIED_BYTES", 0)
    model, x = Counting(in_place=True).eval(), torch.randn(N, T, D)
    projector = mk.Projector(mk.ProjectionSpec(dim=16), {name: p.shape for name, p in model.named_parameters()})
    with pytest.raises(ValueError, match="got a change of calls of a Counting"):
        mk.projected_gradients(model, lambda: model(x).square().mean((1, 2)), projector)
