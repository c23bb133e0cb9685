"""Factorized route of the balanced tensor sketch: equal to the materialized route of the gradient that it never forms."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor

import motive_kernels as mk
from motive_kernels.ops.outer_sketch import api
from motive_kernels.ops.tensor_sketch.api import tensor_sketch_into
from tests.kernels.sketch_data import DIMS, SHAPES, Tables, far_apart, outer, tokens

every_implementation = pytest.mark.parametrize("impl", ["cpp", "torch"])
Threads = Callable[[int], AbstractContextManager[None]]


def sketch(x: Tensor, dy: Tensor, tables: Tables, impl: str | None = None, lengths: Tensor | None = None) -> Tensor:
    z = torch.zeros(x.shape[0], tables.rows.shape[1])
    api.outer_sketch_into(z, x, dy, tables.rows, tables.columns, lengths=lengths, impl=impl)
    return z


def budget(x: Tensor, dy: Tensor) -> Tensor:
    """1e-5 sqrt(sum_t |dy_t|^2 |x_t|^2), per sample."""
    return 1e-5 * (dy.double().square().sum(-1) * x.double().square().sum(-1)).sum(-1).sqrt() + 1e-12


def assert_near(z: Tensor, wanted: Tensor, allowed: Tensor, what: str = "") -> None:
    error = (z.double() - wanted).norm(dim=1)
    assert (error <= allowed).all(), f"{what}: errors {error.tolist()}, allowed {allowed.tolist()}"


@every_implementation
@pytest.mark.parametrize("k", DIMS)
@pytest.mark.parametrize(("o", "i"), [shape for shape in SHAPES if shape[0] * shape[1] <= 1000])
def test_one_hot_probes_read_the_matrix(o: int, i: int, k: int, impl: str) -> None:
    tables = Tables(o, i, k)
    dy = torch.eye(o).repeat_interleave(i, 0)[:, None]
    x = torch.eye(i).repeat(o, 1)[:, None]
    assert torch.equal(sketch(x, dy, tables, impl).double(), tables.matrix.reshape(k, -1).T)


@pytest.mark.parametrize("t", [1, 9, 300])
@pytest.mark.parametrize("k", [7, 64])
@pytest.mark.parametrize(("o", "i"), [(1, 40), (40, 1), (17, 33), (64, 64), (64, 20), (130, 65), (20, 200)])
def test_every_level_equals_the_matrix(level: str, o: int, i: int, k: int, t: int) -> None:
    """With massive constant channels, and dy that sums to zero: the terms are 300 times their sum."""
    tables, (x, dy) = Tables(o, i, k), tokens(2, t, o, i)
    assert_near(sketch(x, dy, tables, "cpp"), tables.apply(outer(x, dy)), budget(x, dy), level)


@every_implementation
def test_flat_and_token_routes_agree(impl: str) -> None:
    tables, (x, dy) = Tables(50, 70, 16), tokens(3, 40, 50, 70)
    flat = torch.zeros(3, 16)
    tensor_sketch_into(flat, outer(x, dy).float(), tables.rows, tables.columns, impl=impl)
    assert_near(sketch(x, dy, tables, impl), flat.double(), budget(x, dy))


@every_implementation
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_tokens_cost_no_more_than_a_rounded_gradient(dtype: torch.dtype, impl: str) -> None:
    """Twice the error of the same gradient accumulated in float32 and rounded once to that type."""
    tables, (x, dy) = Tables(90, 120, 32), tokens(3, 64, 90, 120)
    x, dy = x.to(dtype), dy.to(dtype)
    exact = outer(x, dy)
    rounded = tables.apply(exact.float().to(dtype))
    wanted = tables.apply(exact)
    assert_near(sketch(x, dy, tables, impl), wanted, 2 * (rounded - wanted).norm(dim=1))


@every_implementation
def test_ragged_samples(impl: str, level: str) -> None:
    """Tokens past a sample's length are not read into anything, whatever they hold."""
    lengths = torch.tensor([0, 1, 7, 300, 299, 257])
    tables, (x, dy) = Tables(20, 31, 16), tokens(6, 300, 20, 31)
    counted = torch.arange(300) < lengths[:, None]
    x0, dy0 = x * counted[..., None], dy * counted[..., None]
    x, dy = x.clone(), dy.clone()
    x[~counted], dy[~counted] = float("nan"), float("inf")
    z = sketch(x, dy, tables, impl, lengths)
    assert_near(z, tables.apply(outer(x0, dy0)), budget(x0, dy0), level)
    assert not z[0].any()
    assert torch.equal(sketch(x, dy, tables, impl, lengths.int()), z)


@every_implementation
def test_splits_add_up(impl: str) -> None:
    tables, (x, dy) = Tables(30, 41, 16), tokens(5, 100, 30, 41)
    whole = sketch(x, dy, tables, impl)
    parts = torch.zeros(5, 16)
    for first, last in ((0, 1), (1, 33), (33, 100)):
        api.outer_sketch_into(parts, x[:, first:last], dy[:, first:last], tables.rows, tables.columns, impl=impl)
    assert_near(parts, whole.double(), budget(x, dy), "tokens")
    alone = torch.cat([sketch(x[s : s + 1], dy[s : s + 1], tables, impl) for s in range(5)])
    assert_near(alone, whole.double(), budget(x, dy), "batch mates")


@pytest.mark.parametrize(("n", "t", "o", "i"), [(1, 1100, 150, 140), (7, 90, 300, 200), (3, 700, 20, 500)])
def test_bitwise_equal_for_any_number_of_threads(n: int, t: int, o: int, i: int, threads: Threads) -> None:
    tables, (x, dy) = Tables(o, i, 128), tokens(n, t, o, i)
    vectors = []
    for count in (1, 2, 3, 8):
        with threads(count):
            vectors.append(sketch(x, dy, tables, "cpp"))
    assert all(torch.equal(vectors[0], other) for other in vectors[1:])


@every_implementation
def test_any_strides(impl: str) -> None:
    n, t, o, i = 3, 11, 20, 33
    tables, (x, dy) = Tables(o, i, 16), tokens(n, t, o, i)
    wanted, allowed = tables.apply(outer(x, dy)), budget(x, dy)
    wide = torch.full((n, 2 * t, i + 4), float("nan"))
    wide[:, ::2, 1 : 1 + i] = x
    tokens_first = dy.transpose(0, 1).contiguous().transpose(0, 1)
    channels_outside = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert_near(sketch(wide[:, ::2, 1 : 1 + i], tokens_first, tables, impl), wanted, allowed, "sliced, tokens first")
    assert_near(sketch(channels_outside, dy, tables, impl), wanted, allowed, "channels outside")
    same = x[:1].expand(n, t, i)
    assert_near(sketch(same, dy, tables, impl), tables.apply(outer(same, dy)), budget(same, dy), "stride 0")
    constant = x[:, :1].expand(n, t, i)
    allowed = budget(constant, dy)
    assert_near(sketch(constant, dy, tables, impl), tables.apply(outer(constant, dy)), allowed, "token stride 0")


def test_addresses_beyond_32_bits(level: str) -> None:
    tables, (x, dy) = Tables(5, 9, 7), tokens(2, 3, 5, 9)
    far_x = far_apart((2, 3, 9), (2**32 + 3, 2**31 + 1, 1), torch.float32)
    far_dy = far_apart((2, 3, 5), (2**31 + 5, 2**32 + 1, 1), torch.float32)
    far_x.copy_(x)
    far_dy.copy_(dy)
    assert_near(sketch(far_x, far_dy, tables, "cpp"), tables.apply(outer(x, dy)), budget(x, dy), level)


@every_implementation
@pytest.mark.parametrize(("n", "t"), [(0, 5), (3, 0), (0, 0)])
def test_nothing_to_add(n: int, t: int, impl: str) -> None:
    z = torch.ones(n, 4)
    tables = Tables(5, 6, 4)
    api.outer_sketch_into(z, torch.zeros(n, t, 6), torch.zeros(n, t, 5), tables.rows, tables.columns, impl=impl)
    assert (z == 1).all()


@every_implementation
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_tokens_show_in_their_own_vector(bad: float, impl: str, level: str) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x, dy = tokens(3, 20, 40, 50)
        x, dy = (x / 64).to(dtype), dy.to(dtype)
        x[1, 13, 21] = bad
        finite = torch.isfinite(sketch(x, dy, Tables(40, 50, 16), impl)).all(1)
        assert finite.tolist() == [True, False, True], f"{dtype} on {level}"


def test_projector_sums_terms_and_layers() -> None:
    shapes = {"a": (20, 3, 2, 2), "b": (7, 9)}
    projector = mk.Projector(mk.ProjectionSpec("tensor_sketch", 16, options={"terms": 3}), shapes)
    z, wanted = projector.zeros(2), torch.zeros(2, 16, dtype=torch.float64)
    for name, (o, i) in {"a": (20, 12), "b": (7, 9)}.items():
        x, dy = tokens(2, 5, o, i)
        projector.project_outer_into(z, name, x, dy)
        wanted += outer(x, dy).flatten(1) @ torch.from_numpy(projector.matrix(name)).T
    assert_near(z, wanted, budget(*tokens(2, 5, 20, 12)))


def test_registered_op() -> None:
    tables = Tables(5, 6, 4)
    for lengths in (None, torch.tensor([3, 1])):
        arguments = (torch.zeros(2, 4), torch.randn(2, 3, 6), torch.randn(2, 3, 5), tables.rows, tables.columns)
        torch.library.opcheck(torch.ops.motive.outer_sketch_into.default, (*arguments, lengths, 1.0, None))


def test_compiles_without_a_graph_break() -> None:
    tables, (x, dy) = Tables(5, 6, 4), tokens(2, 3, 5, 6)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def double_sketch(x: Tensor, dy: Tensor) -> Tensor:
        z = torch.zeros(2, 4)
        api.outer_sketch_into(z, x * 2, dy, tables.rows, tables.columns)
        return z + 1

    assert_near(double_sketch(x, dy), 2 * tables.apply(outer(x, dy)) + 1, 2 * budget(x, dy))


def bad_calls() -> dict[str, tuple[tuple[object, ...], dict[str, object], str]]:
    tables = Tables(5, 6, 4)
    z, x, dy, rows, columns = torch.zeros(2, 4), torch.zeros(2, 3, 6), torch.zeros(2, 3, 5), tables.rows, tables.columns
    wrong = rows.clone()
    wrong[0, 0] = 1000
    good = (z, x, dy, rows, columns)
    return {
        "x of two axes": ((z, x[0], dy, rows, columns), {}, "x must be"),
        "other numbers of tokens": ((z, x[:, :2], dy, rows, columns), {}, "dy must be"),
        "other dtypes": ((z, x, dy.half(), rows, columns), {}, "dy must be"),
        "z of another n": ((z[:1], x, dy, rows, columns), {}, "z must be"),
        "tables exchanged": ((z, x, dy, columns, rows), {}, "rows must be"),
        "a bad entry": ((z, x, dy, wrong, columns), {"impl": "cpp"}, "rows must be a gather table"),
        "a length too long": (
            (z, x, dy, rows, columns),
            {"lengths": torch.tensor([1, 4])},
            "lengths must be in 0 .. 3",
        ),
        "a negative length": (
            (z, x, dy, rows, columns),
            {"lengths": torch.tensor([-1, 3])},
            "lengths must be in 0 .. 3",
        ),
        "lengths of another n": (good, {"lengths": torch.tensor([3])}, "lengths must be int64"),
        "fractional lengths": (good, {"lengths": torch.ones(2)}, "lengths must be int64"),
    }


@pytest.mark.parametrize("name", list(bad_calls()))
def test_bad_arguments_name_themselves(name: str) -> None:
    arguments, options, message = bad_calls()[name]
    with pytest.raises((ValueError, RuntimeError), match=message):
        api.outer_sketch_into(*arguments, **options)  # type: ignore[arg-type]
