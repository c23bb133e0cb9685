"""The two sketch routes on a GPU, in CUDA and in Triton, against float64 on the CPU."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import motive_kernels as mk
from motive_kernels.ops.outer_sketch.api import outer_sketch_into
from motive_kernels.ops.tensor_sketch.api import tensor_sketch_into
from tests.kernels.sketch_data import Tables, gradients, outer, tokens

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
IMPLS = ("cuda", "triton")

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation")


def flat(grad: Tensor, tables: Tables, k: int, impl: str) -> Tensor:
    z = torch.zeros(grad.shape[0], k, device="cuda")
    tensor_sketch_into(z, grad.cuda(), tables.rows.cuda(), tables.columns.cuda(), scale=0.5, impl=impl)
    return z.cpu()


def token(x: Tensor, dy: Tensor, tables: Tables, k: int, impl: str, lengths: Tensor | None = None) -> Tensor:
    z = torch.zeros(x.shape[0], k, device="cuda")
    counts = None if lengths is None else lengths.cuda()
    outer_sketch_into(z, x.cuda(), dy.cuda(), tables.rows.cuda(), tables.columns.cuda(), lengths=counts, impl=impl)
    return z.cpu()


def reference(grad: Tensor, tables: Tables, k: int, scale: float) -> Tensor:
    """The definition in float64, on the GPU since wide sketches take the CPU seconds."""
    wanted = torch.zeros(grad.shape[0], k, dtype=torch.float64, device="cuda")
    rows, columns = tables.rows.cuda(), tables.columns.cuda()
    tensor_sketch_into(wanted, grad.double().cuda(), rows, columns, scale=scale, impl="torch")
    return wanted.cpu()


@pytest.mark.parametrize(
    ("n", "o", "i", "k"),
    [
        (4, 5, 9, 16),
        (4, 130, 65, 37),
        (1, 1536, 1536, 512),
        (2, 1, 5001, 512),
        (1, 9000, 33, 512),
        (1, 33, 9000, 512),
        (2, 300, 2000, 1000),
        (1, 100, 4100, 2048),
        (1, 70, 5000, 4096),
        (1, 9, 700, 5000),
        (1, 3, 2, 1),
    ],
)
@pytest.mark.parametrize("impl", IMPLS)
def test_flat(n: int, o: int, i: int, k: int, impl: str) -> None:
    tables = Tables(o, i, k)
    for dtype in DTYPES:
        grad = gradients(n, o, i).to(dtype)
        wanted = reference(grad, tables, k, 0.5)
        assert float((flat(grad, tables, k, impl) - wanted).norm() / wanted.norm()) < 1e-6, dtype


@pytest.mark.parametrize("impl", IMPLS)
def test_flat_takes_any_strides(impl: str) -> None:
    whole = gradients(3, 60, 90).to(torch.bfloat16)
    for grad in (whole[::2, 1:, 3:], whole.transpose(1, 2), whole[:1].expand(2, -1, -1), whole[:, :, ::2]):
        tables = Tables(grad.shape[1], grad.shape[2], 24)
        on_device = (
            grad.cuda()
            if grad.is_contiguous()
            else whole.cuda().as_strided(grad.shape, grad.stride(), grad.storage_offset())
        )
        z = torch.zeros(grad.shape[0], 24, device="cuda")
        tensor_sketch_into(z, on_device, tables.rows.cuda(), tables.columns.cuda(), impl=impl)
        wanted = tables.apply(grad)
        assert float((z.cpu() - wanted).norm() / wanted.norm()) < 1e-6


@pytest.mark.parametrize(
    ("n", "t", "o", "i", "k"),
    [
        (2, 3, 5, 9, 16),
        (4, 65, 130, 65, 37),
        (1, 100, 600, 2600, 512),
        (3, 33, 64, 24, 512),
        (1, 40, 300, 90, 256),
        (1, 40, 70, 1100, 300),
        (1, 9, 100, 2100, 1024),
        (1, 9, 100, 300, 2048),
        (1, 5, 50, 5000, 4096),
        (1, 5, 50, 700, 5000),
        (1, 1, 1, 1, 1),
    ],
)
@pytest.mark.parametrize("impl", IMPLS)
def test_token(n: int, t: int, o: int, i: int, k: int, impl: str) -> None:
    """Massive constant channels, dy that sums to zero: budgets of the precision rule."""
    if impl == "triton" and k > 4096:
        pytest.skip("the Triton kernel takes widths up to 4096")
    tables = Tables(o, i, k)
    for dtype in DTYPES:
        x, dy = (side.to(dtype) for side in tokens(n, t, o, i))
        exact = outer(x, dy)
        wanted = reference(exact, tables, k, 1.0)
        distance = float((token(x, dy, tables, k, impl) - wanted).norm())
        if dtype == torch.float32:
            norms = (x.double().square().sum(2) * dy.double().square().sum(2)).sum().sqrt()
            assert distance < 1e-5 * float(norms)
        else:
            rounded = reference(exact.float().to(dtype), tables, k, 1.0)
            assert distance < 2 * float((rounded - wanted).norm()) + 1e-5 * float(wanted.norm()), dtype


@pytest.mark.parametrize("impl", IMPLS)
def test_token_ragged(impl: str) -> None:
    tables = Tables(20, 40, 24)
    x, dy = torch.randn(5, 1100, 40), torch.randn(5, 1100, 20)
    lengths = torch.tensor([0, 1, 1099, 1100, 1024])
    for s, length in enumerate(lengths.tolist()):
        x[s, length:], dy[s, length:] = math.nan, math.inf
    found = token(x, dy, tables, 24, impl, lengths)
    for s, length in enumerate(lengths.tolist()):
        wanted = tables.apply(outer(x[s : s + 1, :length], dy[s : s + 1, :length]))[0]
        assert torch.allclose(found[s].double(), wanted, rtol=0, atol=2e-2), f"sample {s} of {length} tokens"


@pytest.mark.parametrize("impl", IMPLS)
def test_bitwise_repeatable(impl: str) -> None:
    tables = Tables(700, 2000, 512)
    grad, (x, dy) = gradients(2, 700, 2000), tokens(2, 500, 700, 2000)
    assert torch.equal(flat(grad, tables, 512, impl), flat(grad, tables, 512, impl))
    assert torch.equal(token(x, dy, tables, 512, impl), token(x, dy, tables, 512, impl))


@pytest.mark.parametrize("impl", IMPLS)
def test_bad_samples_show(impl: str) -> None:
    tables = Tables(50, 90, 32)
    grad, (x, dy) = gradients(3, 50, 90), tokens(3, 20, 50, 90)
    grad[1, 3, 4], x[1, 5, 6] = math.nan, math.inf
    for z in (flat(grad, tables, 32, impl), token(x, dy, tables, 32, impl)):
        assert z[[0, 2]].isfinite().all()
        assert not z[1].isfinite().all()


@pytest.mark.parametrize("impl", IMPLS)
def test_beyond_32_bit_offsets(impl: str) -> None:
    """Elements that lie more than 2^32 apart."""
    if torch.cuda.mem_get_info()[0] < 20 * 2**30:
        pytest.skip("less than 20 GiB of free GPU memory")
    o, i, k = 40, 64, 32
    tables, stride = Tables(o, i, k), 2**32 + 8
    memory = torch.zeros(2 * stride // 2 + stride + o * i, dtype=torch.bfloat16, device="cuda")
    grad = memory.as_strided((2, o, i), (stride, i, 1))
    values = gradients(2, o, i).to(torch.bfloat16)
    grad.copy_(values)
    z = torch.zeros(2, k, device="cuda")
    tensor_sketch_into(z, grad, tables.rows.cuda(), tables.columns.cuda(), impl=impl)
    assert float((z.cpu() - tables.apply(values)).norm() / tables.apply(values).norm()) < 1e-6
    x, dy = tokens(2, 5, o, i)
    far = memory.as_strided((2, 5, i), (stride, i, 1))
    far.copy_(x)
    z = torch.zeros(2, k, device="cuda")
    outer_sketch_into(z, far, dy.to(torch.bfloat16).cuda(), tables.rows.cuda(), tables.columns.cuda(), impl=impl)
    wanted = tables.apply(outer(x.to(torch.bfloat16), dy.to(torch.bfloat16)))
    norms = (x.double().square().sum(2) * dy.double().square().sum(2)).sum().sqrt()
    assert float((z.cpu() - wanted).norm() / norms) < 1e-5


@pytest.mark.parametrize("impl", IMPLS)
def test_graph_capture_on_a_side_stream(impl: str) -> None:
    """No synchronisation, the current stream, and replays that see new values."""
    tables = Tables(70, 90, 32)
    grad, (x, dy) = gradients(2, 70, 90).cuda(), (side.cuda() for side in tokens(2, 40, 70, 90))
    rows, columns, z = tables.rows.cuda(), tables.columns.cuda(), torch.zeros(2, 32, device="cuda")

    def both() -> None:
        tensor_sketch_into(z, grad, rows, columns, impl=impl)
        outer_sketch_into(z, x, dy, rows, columns, impl=impl)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        both()  # compiles what Triton compiles at the first call
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        both()
    z.zero_()
    grad *= 2
    graph.replay()
    torch.cuda.synchronize()
    wanted = torch.zeros(2, 32, dtype=torch.float64)
    wanted += 2 * tables.apply(gradients(2, 70, 90)) + tables.apply(outer(x.cpu(), dy.cpu()))
    assert float((z.cpu() - wanted).norm() / wanted.norm()) < 1e-5


def test_a_model_in_one_launch() -> None:
    from motive_kernels.ops.tensor_sketch.cuda import tensor_sketch_many_into

    shapes = [(1 + j % 7, 3 + j % 11) for j in range(300)] + [(333, 700)]
    parts, wanted = [], torch.zeros(2, 48, dtype=torch.float64)
    for o, i in shapes:
        tables, grad = Tables(o, i, 48), gradients(2, o, i)
        parts.append((grad.cuda(), tables.rows.cuda(), tables.columns.cuda(), 0.5))
        wanted += reference(grad, tables, 48, 0.5)
    z = torch.zeros(2, 48, device="cuda")
    tensor_sketch_many_into(z, parts)
    assert float((z.cpu() - wanted).norm() / wanted.norm()) < 1e-6


@pytest.mark.parametrize(
    ("type_name", "dim", "options"),
    [
        ("tensor_sketch", 48, {"terms": 2}),
        ("fastfood", 64, {"tile": 256}),
        ("fastfood", 512, {}),
        ("rademacher", 70, {}),
        ("gaussian", 70, {}),
        ("sjlt", 70, {"s": 3}),
        ("sjlt", 20000, {}),
        ("kronecker", 64, {"rows": 8}),
    ],
)
def test_every_type_gives_the_vectors_of_the_cpu(type_name: str, dim: int, options: dict) -> None:
    shapes = {"a.weight": (70, 300), "a.bias": (70,), "b.weight": (5, 3, 2, 2)}
    projector = mk.Projector(mk.ProjectionSpec(type_name, dim, 3, options), shapes)
    generator = torch.Generator().manual_seed(0)
    for dtype in DTYPES:
        grads = {name: torch.randn(3, *shape, generator=generator).to(dtype) for name, shape in shapes.items()}
        wanted = torch.zeros(3, dim, dtype=torch.float64)
        for name, grad in grads.items():
            projector.project_into(wanted, name, grad.double(), impl="torch")
        found = projector.project({name: grad.cuda() for name, grad in grads.items()}).cpu()
        assert float((found - wanted).norm() / wanted.norm()) < 5e-6, dtype
