"""Materialized route of the balanced tensor sketch: every implementation against the explicit matrix."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import motive_kernels as mk
from motive_kernels.ops.tensor_sketch import api
from tests.kernels.sketch_data import DIMS, SHAPES, Tables, far_apart, gradients

IMPLEMENTATIONS = ["cpp", "torch"]
every_implementation = pytest.mark.parametrize("impl", IMPLEMENTATIONS)
Threads = Callable[[int], AbstractContextManager[None]]


def sketch(grad: Tensor, tables: Tables, impl: str | None = None, scale: float = 1.0) -> Tensor:
    z = torch.zeros(grad.shape[0], tables.rows.shape[1], dtype=torch.float32)
    api.tensor_sketch_into(z, grad, tables.rows, tables.columns, scale=scale, impl=impl)
    return z


def assert_near(z: Tensor, wanted: Tensor, size: Tensor | float, what: str = "") -> None:
    """Each row of z within 1e-6 of the gradient's norm."""
    error = (z.double() - wanted).norm(dim=1)
    allowed = 1e-6 * torch.as_tensor(size, dtype=torch.float64) + 1e-12
    assert (error <= allowed).all(), f"{what}: errors {error.tolist()}, allowed {allowed.tolist()}"


@every_implementation
@pytest.mark.parametrize("k", DIMS)
@pytest.mark.parametrize(("o", "i"), SHAPES)
def test_one_hot_probes_read_the_matrix(o: int, i: int, k: int, impl: str) -> None:
    tables = Tables(o, i, k)
    if o * i > 1000:
        pytest.skip("too many probes; other shapes cover it")
    z = sketch(torch.eye(o * i).reshape(o * i, o, i), tables, impl)
    assert torch.equal(z.double(), tables.matrix.reshape(k, -1).T)
    projector = mk.Projector(mk.ProjectionSpec("tensor_sketch", k), {"w": (o, i)})
    assert np.array_equal(projector.matrix("w"), tables.matrix.reshape(k, -1).numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n", [1, 2, 5, 8, 19])
@pytest.mark.parametrize(("o", "i", "k"), [(1, 700, 16), (600, 3, 37), (33, 129, 64), (12, 10, 64), (90, 257, 7)])
def test_every_level_equals_the_matrix(level: str, o: int, i: int, k: int, n: int, dtype: torch.dtype) -> None:
    tables = Tables(o, i, k)
    grad = (gradients(n, o, i) / 64).to(dtype)
    assert_near(sketch(grad, tables, "cpp"), tables.apply(grad), grad.double().flatten(1).norm(dim=1), level)


@every_implementation
def test_scale_and_addition_in_place(impl: str) -> None:
    tables, grad = Tables(20, 30, 16), gradients(3, 20, 30)
    z = torch.ones(3, 16)
    api.tensor_sketch_into(z, grad, tables.rows, tables.columns, scale=0.5, impl=impl)
    assert_near(z, 1 + 0.5 * tables.apply(grad), grad.flatten(1).norm(dim=1) + 1)


@every_implementation
def test_splits_add_up(impl: str) -> None:
    """Linear in the gradient, and a sample's vector does not depend on the others of its batch."""
    tables, grad = Tables(50, 60, 16), gradients(9, 50, 60)
    whole, size = sketch(grad, tables, impl), grad.flatten(1).norm(dim=1)
    parts = torch.zeros_like(grad)
    parts[:, :17] = grad[:, :17]
    assert_near(sketch(parts, tables, impl) + sketch(grad - parts, tables, impl), whole.double(), size)
    alone = torch.cat([sketch(grad[s : s + 1], tables, impl) for s in range(9)])
    assert_near(alone, whole.double(), size)


@pytest.mark.parametrize("shape", [(3, 500, 1100), (1, 2100, 700), (2, 1, 1_500_000), (40, 1, 70_001), (200, 60, 130)])
def test_bitwise_equal_for_any_number_of_threads(shape: tuple[int, int, int], threads: Threads) -> None:
    n, o, i = shape
    projector = mk.Projector(mk.ProjectionSpec("tensor_sketch", 64), {"w": (o, i) if o > 1 else (i,)})
    grad = torch.randn(n, *projector.shapes["w"], generator=torch.Generator().manual_seed(1))
    vectors = []
    for count in (1, 2, 3, 8):
        with threads(count):
            vectors.append(projector.project({"w": grad}, impl="cpp"))
    assert all(torch.equal(vectors[0], other) for other in vectors[1:])


@every_implementation
@pytest.mark.parametrize("n", [2, 9])
def test_any_strides(n: int, impl: str) -> None:
    o, i = 21, 34
    tables, grad = Tables(o, i, 16), gradients(n, o, i)
    size = grad.flatten(1).norm(dim=1)
    wide = torch.full((n, 2 * o, i + 5), float("nan"))
    wide[:, ::2, 3 : 3 + i] = grad
    views = {
        "sliced": wide[:, ::2, 3 : 3 + i],
        "transposed": grad.transpose(1, 2).contiguous().transpose(1, 2),
        "samples innermost": grad.permute(1, 2, 0).contiguous().permute(2, 0, 1),
        "every other column": torch.stack([grad, grad], -1)[..., 0],
        "reversed twice": grad.flip(0).flip(0),
    }
    for name, view in views.items():
        assert_near(sketch(view, tables, impl), tables.apply(grad), size, name)
    one = grad[:1].expand(n, o, i)
    assert_near(sketch(one, tables, impl), tables.apply(one), size[0], "stride 0")
    row = grad[:, :1].expand(n, o, i)
    assert_near(sketch(row, tables, impl), tables.apply(row), row.flatten(1).norm(dim=1), "row stride 0")


@pytest.mark.parametrize("n", [3, 8])
def test_addresses_beyond_32_bits(n: int, level: str) -> None:
    tables, values = Tables(5, 9, 7), gradients(n, 5, 9).half()
    grad = far_apart((n, 5, 9), (2**32 + 3, 2**31 + 1, 1), torch.float16)
    grad.copy_(values)
    assert_near(sketch(grad, tables, "cpp"), tables.apply(values), values.double().flatten(1).norm(dim=1), level)


def test_more_than_two_to_the_32_elements(threads: Threads) -> None:
    """One sample stands for many: 5000 x 1000 x 1000 elements, 10 GB of bfloat16, in a buffer of 2 MB."""
    one = gradients(1, 1000, 1000).bfloat16()
    projector = mk.Projector(mk.ProjectionSpec("tensor_sketch", 64), {"w": (1000, 1000)})
    with threads(2):
        z = projector.project({"w": one.expand(4304, 1000, 1000)}, impl="cpp")
    assert torch.equal(z, z[:1].expand_as(z))
    assert_near(z[:1], projector.project({"w": one}, impl="torch").double(), one.double().norm())


@every_implementation
def test_empty_batch(impl: str) -> None:
    assert sketch(torch.zeros(0, 5, 6), Tables(5, 6, 4), impl).shape == (0, 4)


@every_implementation
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("n", [1, 3, 9])
def test_non_finite_gradients_show_in_their_own_vector(n: int, bad: float, impl: str, level: str) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        clean = (gradients(n, 40, 50) / 64).to(dtype)
        for a, b in ((0, 0), (39, 49), (17, 31)):
            grad = clean.clone()
            grad[n // 2, a, b] = bad
            finite = torch.isfinite(sketch(grad, Tables(40, 50, 16), impl)).all(1)
            assert finite.tolist() == [s != n // 2 for s in range(n)], f"{dtype} at {a}, {b} on {level}"


def test_vectors_and_dlpack_arrays() -> None:
    shapes = {"w": (4, 3, 2, 5), "b": (11,), "scale": ()}
    projector = mk.Projector(mk.ProjectionSpec("tensor_sketch", 8), shapes)
    rng = np.random.default_rng(0)
    grads = {name: rng.standard_normal((3, *shape)).astype(np.float32) for name, shape in projector.shapes.items()}
    wanted = sum(grads[name].reshape(3, -1) @ projector.matrix(name).T for name in grads)
    np.testing.assert_allclose(projector.project(grads).numpy(), wanted, rtol=0, atol=1e-5)
    single = projector.project({"scale": torch.from_numpy(grads["scale"]).reshape(3)})
    np.testing.assert_allclose(single.numpy(), grads["scale"].reshape(3, 1) @ projector.matrix("scale").T, atol=1e-6)


class Foreign:
    """What an array of another library shows: DLPack's two methods, and perhaps strides."""

    def __init__(self, held: Tensor, strides: tuple[int, ...] | None = None) -> None:
        self._held, self.strides = held, strides

    def __dlpack__(self, **options: Any) -> object:
        return self._held.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[Any, int]:
        return self._held.__dlpack_device__()


def test_any_dlpack_array_is_taken() -> None:
    projector = mk.Projector(mk.ProjectionSpec("tensor_sketch", 8), {"w": (4, 5)})
    grad = gradients(3, 4, 5)
    wanted, array = projector.project({"w": grad}), grad.numpy()
    frozen = array.copy()
    frozen.flags.writeable = False
    views = {
        "another library's": Foreign(grad),
        "another library's, with a step": Foreign(torch.stack([grad, grad], -1)[..., 0], (40, 10, 2)),
        "read-only": frozen,
        "with a step": np.repeat(array, 2, axis=2)[:, :, ::2],
        "samples backwards": np.ascontiguousarray(array[::-1])[::-1],
        "all backwards": np.ascontiguousarray(array[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        "no samples": array[:0],
    }
    for name, view in views.items():
        assert torch.equal(projector.project({"w": view}), wanted[: len(view) if name == "no samples" else None]), name
    half = projector.project({"w": array.astype(np.float16)})
    assert_near(half, projector.project({"w": grad.half()}).double(), 1e-30)
    doubled = projector.project({"w": array.astype(np.float64)})
    assert_near(doubled, wanted.double(), grad.flatten(1).norm(dim=1))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ([[1.0]], "w must be a tensor or an array with DLPack, got list"),
        (np.zeros((1, 4, 5), dtype=">f4"), "w must be a tensor or an array with DLPack of a type that torch has"),
        (np.zeros((1, 4, 5), dtype=object), "w must be a tensor or an array with DLPack of a type that torch has"),
        (np.zeros((1, 4, 5), dtype=np.int32), "w must be dense floating point with a sample axis, got torch.int32"),
        (np.zeros((1, 5, 4), dtype=np.float32), r"w must be \[n, 4, 5\], got \[1, 5, 4\]"),
        (Foreign(torch.zeros(1, 4, 5), (80, -20, 4)), "without negative strides, got strides"),
    ],
)
def test_arrays_that_cannot_be_taken_are_named(array: object, message: str) -> None:
    projector = mk.Projector(mk.ProjectionSpec("tensor_sketch", 8), {"w": (4, 5)})
    with pytest.raises(ValueError, match=message):
        projector.project({"w": array})


def test_registered_op() -> None:
    tables = Tables(5, 6, 4)
    arguments = (torch.zeros(2, 4), torch.randn(2, 5, 6), tables.rows, tables.columns, 1.0, None)
    torch.library.opcheck(torch.ops.motive.tensor_sketch_into.default, arguments)


def test_compiles_without_a_graph_break() -> None:
    tables, grad = Tables(5, 6, 4), torch.randn(2, 5, 6)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def double_sketch(g: Tensor) -> Tensor:
        z = torch.zeros(2, 4)
        api.tensor_sketch_into(z, g * 2, tables.rows, tables.columns)
        return z + 1

    assert_near(double_sketch(grad), 2 * tables.apply(grad) + 1, grad.norm())


def test_gradients_that_require_grad_leave_the_vector_alone() -> None:
    z = torch.zeros(1, 4)
    tables, grad = Tables(5, 6, 4), torch.randn(1, 5, 6, requires_grad=True)
    for impl in IMPLEMENTATIONS:
        before = z._version
        api.tensor_sketch_into(z, grad, tables.rows, tables.columns, impl=impl)
        assert not z.requires_grad
        assert z._version > before


def bad_calls() -> dict[str, tuple[tuple[object, ...], dict[str, object], str]]:
    tables = Tables(5, 6, 4)
    z, grad, rows, columns = torch.zeros(2, 4), torch.zeros(2, 5, 6), tables.rows, tables.columns
    wrong = columns.clone()
    wrong[0, 0] = 2 * 6
    twice = columns.clone()
    twice[0, 0] = twice[0, 1]
    return {
        "gradient of two axes": ((z, grad[0], rows, columns), {}, "grad must be"),
        "integer gradient": ((z, grad.int(), rows, columns), {}, "grad must be"),
        "a list": ((z, [[1.0]], rows, columns), {}, "grad must be a torch tensor"),
        "z of another n": ((z[:1], grad, rows, columns), {}, "z must be"),
        "z not contiguous": ((torch.zeros(2, 8)[:, ::2], grad, rows, columns), {}, "z must be"),
        "z of bfloat16": ((z.bfloat16(), grad, rows, columns), {}, "z must be"),
        "tables exchanged": ((z, grad, columns, rows), {}, "rows must be"),
        "tables of int64": ((z, grad, rows.long(), columns), {}, "rows must be int32"),
        "an index too large": ((z, grad, rows, wrong), {"impl": "cpp"}, "columns must be a gather table"),
        "an index twice": ((z, grad, rows, twice), {"impl": "cpp"}, "columns must be a gather table"),
        "negative entries": ((z, grad, rows, -5 - columns), {"impl": "cpp"}, "columns must be a gather table"),
        "an unknown implementation": ((z, grad, rows, columns), {"impl": "fortran"}, "impl must be one of"),
        "CUDA for CPU tensors": ((z, grad, rows, columns), {"impl": "cuda"}, "impl must be able to run"),
        "float64 in C++": ((z, grad.double(), rows, columns), {"impl": "cpp"}, "impl must be able to run float64"),
    }


@pytest.mark.parametrize("name", list(bad_calls()))
def test_bad_arguments_name_themselves(name: str) -> None:
    arguments, options, message = bad_calls()[name]
    with pytest.raises((ValueError, RuntimeError), match=message):
        api.tensor_sketch_into(*arguments, **options)  # type: ignore[arg-type]


def test_random_arguments_never_crash() -> None:
    generator = np.random.default_rng(0)

    def pick(*choices: int) -> int:
        return int(generator.choice(choices))

    refused = 0
    for _ in range(400):
        o, i, k, n = pick(0, 1, 3, 9), pick(0, 1, 4, 20), pick(1, 2, 8, 33), pick(0, 1, 3, 9)
        dtype = [torch.float32, torch.bfloat16, torch.float16, torch.float64][pick(0, 0, 1, 2, 3)]
        grad = torch.randn(n, o, i).to(dtype)
        z = torch.zeros(n + pick(0, 0, 0, 1), k)
        rows = torch.randint(-3, 2 * o + 3, (-(-o // k) + pick(0, 0, 1), k), dtype=torch.int32)
        columns = torch.randint(-(2**31), 2**31, (-(-i // k), k + pick(0, 0, 1)), dtype=torch.int64).int()
        if pick(0, 1):
            tables = Tables(max(o, 1), max(i, 1), k)
            rows, columns = tables.rows, tables.columns
        try:
            api.tensor_sketch_into(z, grad, rows, columns, impl=None if dtype == torch.float64 else "cpp")
        except (ValueError, RuntimeError, IndexError):
            refused += 1
    assert 0 < refused < 400
