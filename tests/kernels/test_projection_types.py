"""Properties of every projection type, route and implementation."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import motive_kernels as mk

SHAPES = {"a.weight": (7, 11), "a.bias": (19,), "b.weight": (3, 2, 2, 5), "c.weight": (40, 5), "d.scale": ()}
TOTAL = sum(math.prod(shape) for shape in SHAPES.values())
MATRICES = [name for name, shape in SHAPES.items() if len(shape) > 1]

SPECS = {
    "tensor_sketch": mk.ProjectionSpec("tensor_sketch", 16),
    "tensor_sketch-13-terms": mk.ProjectionSpec("tensor_sketch", 13, 3, {"terms": 2}),
    "fastfood": mk.ProjectionSpec("fastfood", 16, 1, {"tile": 64}),
    "fastfood-one-bucket-each": mk.ProjectionSpec("fastfood", 32, 0, {"tile": 32}),
    "fastfood-1024": mk.ProjectionSpec("fastfood", 64, 0, {"tile": 1024}),
    "rademacher": mk.ProjectionSpec("rademacher", 21),
    "rademacher-identifier": mk.ProjectionSpec("rademacher", 16, 5, {"identifier": "{name}/single/seed{seed}"}),
    "gaussian": mk.ProjectionSpec("gaussian", 35, 2),
    "sjlt": mk.ProjectionSpec("sjlt", 16),
    "sjlt-13-3": mk.ProjectionSpec("sjlt", 13, 0, {"s": 3}),
    "kronecker": mk.ProjectionSpec("kronecker", 24, 0, {"rows": 4}),
    "kronecker-rademacher": mk.ProjectionSpec("kronecker", 16, 0, {"rows": 2, "factors": "rademacher"}),
    "identity": mk.ProjectionSpec("identity", TOTAL),
}
OPS = {
    "tensor_sketch": ("tensor_sketch_into", "outer_sketch_into"),
    "fastfood": ("fastfood_into",),
    "rademacher": ("dense_projection_into",),
    "gaussian": ("dense_projection_into",),
    "sjlt": ("sjlt_into",),
    "kronecker": ("kronecker_into", "kronecker_outer_into"),
    "identity": (),
}
COMPILED = {"tensor_sketch", "fastfood", "rademacher", "gaussian", "sjlt", "kronecker"}
"""Types with a C++ implementation: a build without it fails these tests instead of skipping them."""


def implementations_of(type_name: str) -> list[str | None]:
    """None (the default choice) and every implementation of the type's ops that runs CPU tensors here."""
    table = mk.implementations()
    present = (
        ["torch", "cpp"] if all(table[op]["cpp"] is None for op in OPS[type_name]) and OPS[type_name] else ["torch"]
    )
    return [None, *present]


CASES = [pytest.param(key, i, id=f"{key}-{i}") for key, spec in SPECS.items() for i in implementations_of(spec.type)]
every_case = pytest.mark.parametrize(("key", "impl"), CASES)
every_spec = pytest.mark.parametrize("key", SPECS)


def spiky(*shape: int, seed: int = 0) -> Tensor:
    """Float64 numbers with a few massive channels on the last axis, zeros and repeated coordinates."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if shape and shape[-1] > 2:
        x[..., shape[-1] // 2] *= 300
        x[..., -1] = x[..., 0]
        x[..., 1] = 0
    return x


def gradients(n: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> dict[str, Tensor]:
    """Samples with spiky channels, of rank 1 and with a single number, in turn."""
    grads = {name: spiky(n, *shape, seed=seed + j) for j, (name, shape) in enumerate(SHAPES.items())}
    for g in (grads[name].flatten(2) for name in MATRICES):
        g[1::3] = g[1::3, :, :1] * g[1::3, :1]
        g[2::3] *= torch.arange(math.prod(g.shape[1:])).reshape(g.shape[1:]) == g.shape[2]
    return {name: g.to(dtype) for name, g in grads.items()}


def explicit(projector: mk.Projector, grads: dict[str, Tensor]) -> Tensor:
    """The explicit matrices times the gradients, in float64."""
    return sum(
        (g.double().reshape(len(g), -1) @ torch.from_numpy(projector.matrix(name)).T for name, g in grads.items()),
        start=torch.zeros((), dtype=torch.float64),
    )


def norms(grads: dict[str, Tensor]) -> Tensor:
    return torch.stack([g.double().reshape(len(g), -1).norm(dim=1) for g in grads.values()]).norm(dim=0)


def assert_near(got: Tensor, want: Tensor, scale: Tensor, tolerance: float, what: str) -> None:
    """Each sample's error is within tolerance of the norm of what was projected."""
    error = (got.double() - want).norm(dim=1)
    assert bool((error <= tolerance * scale + 1e-30).all()), (
        f"{what}: error {error.tolist()} for norms {scale.tolist()}"
    )


def test_compiled_kinds_are_tested() -> None:
    table = mk.implementations()
    missing = {op: table[op]["cpp"] for type_name in COMPILED for op in OPS[type_name] if table[op]["cpp"] is not None}
    assert not missing, f"the C++ implementation must run here: {missing}"


@every_case
def test_one_hot_probes_read_out_the_matrix(key: str, impl: str | None) -> None:
    """Column j of P is what the gradient e_j becomes, for every parameter."""
    projector = mk.Projector(SPECS[key], SHAPES)
    exact = impl == "torch"
    for name, shape in projector.shapes.items():
        d = math.prod(shape)
        probe = torch.eye(d, dtype=torch.float64 if exact else torch.float32).reshape(d, *shape)
        z = torch.zeros(d, projector.dim, dtype=probe.dtype)
        projector.project_into(z, name, probe, impl=impl)
        p = projector.matrix(name)
        assert p.shape == (projector.dim, d)
        assert p.dtype == np.float64
        np.testing.assert_allclose(z.numpy().T, p, rtol=0, atol=1e-12 if exact else 2e-6, err_msg=name)


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_flat_route_is_the_explicit_matrix(key: str, impl: str | None, dtype: torch.dtype) -> None:
    """Half-precision input costs its own rounding only: products and sums are float32."""
    projector = mk.Projector(SPECS[key], SHAPES)
    for n in (1, 2, 9):
        grads = gradients(n, dtype)
        z = projector.project(grads, impl=impl)
        assert z.dtype == torch.float32
        assert z.shape == (n, projector.dim)
        assert_near(z, explicit(projector, grads), norms(grads), 3e-6, key)


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_token_route_is_the_explicit_matrix(key: str, impl: str | None, dtype: torch.dtype) -> None:
    """Also for lengths 0 and 1, whatever the tokens past the end hold."""
    projector = mk.Projector(SPECS[key], SHAPES)
    lengths = torch.tensor([6, 0, 1, 4])
    for name in MATRICES:
        o, i = projector.shapes[name][0], math.prod(projector.shapes[name][1:])
        x, dy = spiky(4, 6, i, seed=1).to(dtype), spiky(4, 6, o, seed=2).to(dtype)
        kept = torch.arange(6) < lengths[:, None]
        gradient = torch.einsum("nt,nto,nti->noi", kept.double(), dy.double(), x.double())
        size = torch.einsum("nt,nto,nti->n", kept.double(), dy.double() ** 2, x.double() ** 2).sqrt()
        x[~kept], dy[~kept] = float("nan"), float("inf")
        z = projector.zeros(4)
        projector.project_outer_into(z, name, x, dy, lengths, impl=impl)
        want = explicit(projector, {name: gradient.reshape(4, *projector.shapes[name])})
        assert_near(z, want, size, 1e-5, f"{key} {name}")
        projector.project_outer_into(z, name, x[:, :4].nan_to_num(posinf=0), dy[:, :4].nan_to_num(posinf=0), impl=impl)
        twice = want + explicit(projector, {name: gradient_of(x[:, :4], dy[:, :4], projector.shapes[name])})
        assert_near(z, twice, 2 * size, 1e-5, f"{key} {name} added to what was there")


def gradient_of(x: Tensor, dy: Tensor, shape: tuple[int, ...]) -> Tensor:
    x, dy = x.double().nan_to_num(posinf=0), dy.double().nan_to_num(posinf=0)
    return torch.einsum("nto,nti->noi", dy, x).reshape(len(x), *shape)


@every_case
def test_linear_in_samples_parameters_and_batches(key: str, impl: str | None) -> None:
    """Parameters in any order, one at a time or together; a sample alone or among others."""
    projector = mk.Projector(SPECS[key], SHAPES)
    grads = gradients(11, torch.float32)
    z = projector.project(grads, impl=impl)
    shuffled = projector.project(dict(reversed(list(grads.items()))), impl=impl)
    assert_near(shuffled, z.double(), norms(grads), 1e-6, "another order of parameters")
    parts = torch.zeros_like(z)
    for name, grad in grads.items():
        projector.project_into(parts[:4], name, grad[:4], impl=impl)
        projector.project_into(parts[4:], name, grad[4:], impl=impl)
    assert_near(parts, z.double(), norms(grads), 1e-6, "two batches")
    alone = projector.project({name: g[5:6] for name, g in grads.items()}, impl=impl)
    assert_near(alone, z[5:6].double(), norms(grads)[5:6], 1e-6, "one sample alone")
    doubled = projector.project({name: 2 * g for name, g in grads.items()}, impl=impl)
    assert_near(doubled, 2 * z.double(), norms(grads), 1e-6, "twice the gradient")


@every_case
def test_any_memory_layout(key: str, impl: str | None) -> None:
    """Transposed, sliced, broadcast and NumPy gradients."""
    projector = mk.Projector(SPECS[key], SHAPES)
    base = spiky(5, 11, 7).float()
    layouts: dict[str, Any] = {
        "transposed": base.transpose(1, 2),
        "sliced": torch.cat([base, base], 1)[:, 4:15].transpose(1, 2),
        "every other sample": torch.stack([base, -base], 1).reshape(10, 11, 7)[::2].transpose(1, 2),
        "broadcast": base[:1].transpose(1, 2).expand(5, 7, 11),
        "backwards": base.flip(0).transpose(1, 2).numpy(),
    }
    for layout, grad in layouts.items():
        grads = {"a.weight": grad}
        got = projector.project(grads, impl=impl)
        dense = {"a.weight": torch.as_tensor(grad).clone(memory_format=torch.contiguous_format)}
        assert_near(got, explicit(projector, dense), norms(dense), 3e-6, layout)


@every_case
def test_no_samples(key: str, impl: str | None) -> None:
    projector = mk.Projector(SPECS[key], SHAPES)
    assert projector.project(gradients(0, torch.float32), impl=impl).shape == (0, projector.dim)
    z = projector.zeros(2)
    projector.project_outer_into(z, "a.weight", torch.ones(2, 0, 11), torch.ones(2, 0, 7), impl=impl)
    assert bool((z == 0).all())


@every_case
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_number_shows_in_its_own_sample_only(key: str, impl: str | None, bad: float) -> None:
    projector = mk.Projector(SPECS[key], SHAPES)
    grads = gradients(9, torch.float32)
    grads["a.weight"][3, 6, 10] = bad
    finite = projector.project(grads, impl=impl).isfinite().all(1)
    assert finite.tolist() == [s != 3 for s in range(9)]


@every_spec
def test_the_same_bits_for_any_number_of_threads(
    key: str, threads: Callable[[int], AbstractContextManager[None]]
) -> None:
    spec = SPECS[key]
    if "cpp" not in implementations_of(spec.type):
        pytest.skip(f"{spec.type} is made of torch operations, whose sums torch orders")
    projector = mk.Projector(spec, {"w": (130, 301)})
    grad = spiky(10, 130, 301).float()
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(projector.project({"w": grad}, impl="cpp"))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def relative_variance(spec: mk.ProjectionSpec, g: Tensor) -> float:
    """Var |Pg|^2 / |g|^4 of one matrix parameter g, as docs/projection.md states it."""
    k, total, fourth = spec.dim, float((g**2).sum()), float((g**4).sum())
    gram = float(((g @ g.T) ** 2).sum())
    if spec.type in ("rademacher", "sjlt"):
        return 2 / k * (1 - fourth / total**2)
    if spec.type == "gaussian":
        return 2 / k
    if spec.type == "kronecker":
        ko = spec.resolved_options()["rows"]
        ki = k // ko
        return 2 / k + 2 * gram / total**2 * (1 / ko + 1 / ki + 1 / k)
    if spec.type == "fastfood":
        length = spec.resolved_options()["tile"]
        tiles = [part**2 for part in g.flatten().split(length)]
        apart = sum(float(part.sum() ** 2 - (part**2).sum()) for part in tiles)
        return 2 / k * (1 + 2 * (k - 1) / (length - 1) * apart / total**2)
    rows, columns = (torch.arange(length) // k for length in g.shape)
    apart_i, apart_o = columns[:, None] != columns, rows[:, None] != rows
    between = float((((g.T @ g) ** 2) * apart_i).sum() + (((g @ g.T) ** 2) * apart_o).sum())
    rank = total**2 - float((g**2).sum(1).pow(2).sum()) - float((g**2).sum(0).pow(2).sum()) + fourth
    return 2 / k * (between + rank) / total**2


UNBIASED = [
    mk.ProjectionSpec("tensor_sketch", 8),
    mk.ProjectionSpec("fastfood", 8, 0, {"tile": 32}),
    mk.ProjectionSpec("fastfood", 8, 0, {"tile": 64}),
    mk.ProjectionSpec("rademacher", 8),
    mk.ProjectionSpec("gaussian", 8),
    mk.ProjectionSpec("sjlt", 8),
    mk.ProjectionSpec("sjlt", 8, 0, {"s": 4}),
    mk.ProjectionSpec("kronecker", 8, 0, {"rows": 2}),
]


@pytest.mark.parametrize("spec", UNBIASED, ids=lambda spec: f"{spec.type}-{dict(spec.options)}")
def test_unbiased_with_the_stated_variance(spec: mk.ProjectionSpec) -> None:
    """Over seeds, inner products come out right on average, and norms with the variance of docs/projection.md."""
    seeds = 1000
    g = spiky(12, 9, seed=3)
    g[:, 4] /= 60  # A strong channel that does not drown all others.
    other = spiky(12, 9, seed=4)
    norm, inner = np.empty(seeds), np.empty(seeds)
    for seed in range(seeds):
        projector = mk.Projector(mk.ProjectionSpec(spec.type, spec.dim, seed, spec.options), {"w": (12, 9)})
        z = torch.stack([g, other]).reshape(2, -1) @ torch.from_numpy(projector.matrix("w")).T
        norm[seed] = float(z[0] @ z[0] / (g * g).sum())
        inner[seed] = float(z[0] @ z[1] / (g.norm() * other.norm()))
    for name, values, want in (
        ("norm", norm, 1.0),
        ("inner product", inner, float((g * other).sum() / (g.norm() * other.norm()))),
    ):
        error = abs(values.mean() - want) / (values.std() / math.sqrt(seeds))
        assert error < 4, f"{name}: mean {values.mean():.4f} is {error:.1f} standard errors from {want:.4f}"
    want = relative_variance(spec, g)
    assert abs(norm.var() / want - 1) < 0.25, f"variance {norm.var():.4f}, expected {want:.4f}"


@pytest.mark.parametrize("spec", UNBIASED, ids=lambda spec: f"{spec.type}-{dict(spec.options)}")
def test_a_matrix_and_its_transpose_stay_apart(spec: mk.ProjectionSpec) -> None:
    """Rows and columns have separate streams: <PG, PG^T> averages to <G, G^T>, which is far from |G|^2."""
    g = torch.triu(spiky(9, 9, seed=5), 1)
    products = []
    for seed in range(300):
        projector = mk.Projector(mk.ProjectionSpec(spec.type, spec.dim, seed, spec.options), {"w": (9, 9)})
        z = torch.stack([g, g.T]).reshape(2, -1) @ torch.from_numpy(projector.matrix("w")).T
        products.append(float(z[0] @ z[1] / (g * g).sum()))
    mean, error = np.mean(products), np.std(products) / math.sqrt(len(products))
    assert abs(mean) < 4 * error, f"<PG, PG^T> / |G|^2 averages to {mean:.3f} +- {error:.3f}, expected 0"


@every_spec
def test_matrix_depends_on_kind_seed_name_and_shape_alone(key: str) -> None:
    spec = SPECS[key]
    if spec.type == "identity":
        return
    one = mk.Projector(spec, {"w": (7, 11)}).matrix("w")
    among = mk.Projector(spec, {"module.w": (7, 11), "a": (3,), "z": (2, 2)}).matrix("w")
    assert np.array_equal(one, among), "other parameters or a wrapper's prefix changed the matrix"
    seeded = mk.ProjectionSpec(spec.type, spec.dim, spec.seed + 1, spec.options)
    for what, other in (
        ("seed", mk.Projector(seeded, {"w": (7, 11)}).matrix("w")),
        ("name", mk.Projector(spec, {"v": (7, 11)}).matrix("v")),
    ):
        assert not np.allclose(one, other), f"another {what} gives the same matrix"


def test_every_field_is_part_of_the_identity() -> None:
    identities = {mk.Projector(spec, SHAPES).identity for spec in SPECS.values()}
    variants = [
        (mk.ProjectionSpec("sjlt", 16, 1), SHAPES),
        (mk.ProjectionSpec("sjlt", 32), SHAPES),
        (mk.ProjectionSpec("sjlt", 16, 0, {"s": 2}), SHAPES),
        (mk.ProjectionSpec("sjlt", 16), {**SHAPES, "e": (2,)}),
        (mk.ProjectionSpec("kronecker", 16, 0, {"rows": 4}), SHAPES),
        (mk.ProjectionSpec("fastfood", 16, 1, {"tile": 128}), SHAPES),
    ]
    identities |= {mk.Projector(spec, shapes).identity for spec, shapes in variants}
    assert len(identities) == len(SPECS) + len(variants)
    spelled_out = mk.ProjectionSpec("sjlt", 16, 0, {"s": 1})
    assert mk.Projector(spelled_out, SHAPES).identity == mk.Projector(SPECS["sjlt"], SHAPES).identity


@every_spec
def test_naming_an_implementation_that_cannot_run_is_an_error(key: str) -> None:
    projector = mk.Projector(SPECS[key], SHAPES)
    with pytest.raises(RuntimeError, match="impl must be"):
        projector.project({"a.weight": torch.ones(1, 7, 11)}, impl="triton")


@pytest.mark.parametrize(
    ("type_name", "dim", "options", "message"),
    [
        ("fastfood", 48, {}, "dim must be a power of two"),
        ("fastfood", 64, {"tile": 32}, "tile must be a power of two of at least dim"),
        ("fastfood", 64, {"tile": 96}, "tile must be a power of two of at least dim"),
        ("sjlt", 8, {"s": 0}, "s must be an integer in 1"),
        ("sjlt", 8, {"s": 9}, "s must be an integer in 1"),
        ("sjlt", 8, {"s": True}, "s must be an integer in 1"),
        ("kronecker", 24, {"rows": 5}, "rows must be a divisor of dim"),
        ("kronecker", 24, {"rows": 4, "factors": "cauchy"}, "factors must be one of"),
        ("rademacher", 8, {"identifier": "x"}, "identifier must be None or a pattern"),
        ("rademacher", 8, {"identifier": "{module}/{other}"}, "identifier must be None or a pattern"),
        ("gaussian", 8, {"identifier": "{module}/{"}, "identifier must be None or a pattern"),
        ("gaussian", 8, {"identifier": "{module}/single"}, "identifier must tell all parameters apart"),
        ("identity", TOTAL + 1, {}, "dim must be the number of elements"),
        ("sjlt", 8, {"nonzeros": 2}, "options of sjlt must be among"),
    ],
)
def test_bad_options_are_named(type_name: str, dim: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mk.Projector(mk.ProjectionSpec(type_name, dim, 0, options), SHAPES)


TWO = mk.Projector(mk.ProjectionSpec(dim=8), {"w": (4, 5), "b": (5,)})
X, DY, Z = torch.ones(2, 3, 5), torch.ones(2, 3, 4), torch.zeros(2, 8)
MISUSES: dict[str, tuple[Callable[[], object], str]] = {
    "x is a list": (lambda: TWO.project_outer_into(Z, "w", [[1.0]], DY), "x must be a torch tensor"),  # type: ignore[arg-type]
    "x is a number": (lambda: TWO.project_outer_into(Z, "w", torch.tensor(1.0), DY), "x must be a floating-point"),
    "x and dy differ": (lambda: TWO.project_outer_into(Z, "w", X, DY[:, :2]), "dy must be like x"),
    "a vector's tokens": (
        lambda: TWO.project_outer_into(Z, "b", X, DY),
        "use project_into for parameters with one axis",
    ),
    "z is too wide": (lambda: TWO.project_outer_into(torch.zeros(2, 9), "w", X, DY), r"z must be a tensor \[2, 8\]"),
    "z is None": (lambda: TWO.project_into(None, "w", torch.ones(2, 4, 5)), r"z must be .* got NoneType"),  # type: ignore[arg-type]
    "lengths is a list": (lambda: TWO.project_outer_into(Z, "w", X, DY, [1, 2]), "lengths must be int64 .* got list"),  # type: ignore[arg-type]
    "a length is negative": (lambda: TWO.project_outer_into(Z, "w", X, DY, torch.tensor([-1, 2])), r"in 0 \.\. 3"),
    "a length is too large": (lambda: TWO.project_outer_into(Z, "w", X, DY, torch.tensor([1, 4])), r"in 0 \.\. 3"),
    "name is a number": (lambda: TWO.project_into(Z, 3, X), "name must be one of the projector's 2"),  # type: ignore[arg-type]
    "grads is a list": (lambda: TWO.project([X]), "grads must be a dict"),  # type: ignore[arg-type]
    "samples differ": (lambda: TWO.project({"w": torch.ones(2, 4, 5), "b": torch.ones(3, 5)}), "z must be a tensor"),
    "complex": (lambda: TWO.project({"w": torch.ones(2, 4, 5) * 1j}), "w must be dense floating point"),
    "sparse": (lambda: TWO.project({"w": torch.ones(2, 4, 5).to_sparse()}), "w must be dense floating point"),
    "spec is a dict": (lambda: mk.Projector({"dim": 8}, {"w": (4,)}), "spec must be a ProjectionSpec"),  # type: ignore[arg-type]
    "shapes are a list": (lambda: mk.Projector(mk.ProjectionSpec(), [(4,)]), "parameters must be a dict"),  # type: ignore[arg-type]
    "a shape is text": (lambda: mk.Projector(mk.ProjectionSpec(), {"w": "ab"}), "the shape of w must be a list"),
    "terms is no number": (
        lambda: mk.Projector(mk.ProjectionSpec(options={"terms": True}), {"w": (4,)}),
        "terms must be",
    ),
}


@pytest.mark.parametrize("name", list(MISUSES))
def test_misuse_is_named(name: str) -> None:
    call, message = MISUSES[name]
    with pytest.raises(ValueError, match=message):
        call()
