"""The CUDA kernels of the two sketch routes, run thread after thread on the CPU: results, memory bounds and races.

What the GPU adds (barriers, loads, launches) is checked by tests/gpu on a machine that has one.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from motive_kernels.ops.outer_sketch import reference as outer_reference
from motive_kernels.ops.tensor_sketch import reference
from motive_kernels.rng.philox import parameter_key
from motive_kernels.rng.tables import ROLE_COLUMNS, ROLE_ROWS, balanced_buckets, gather_table
from tests.kernels import cuda_emulation

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def tables(o: int, i: int, k: int) -> tuple[Tensor, Tensor]:
    key = parameter_key("tensor_sketch", 3, "layer.weight")
    rows, columns = (
        torch.from_numpy(gather_table(*balanced_buckets(key, role, length, k), k))
        for role, length in ((ROLE_ROWS, o), (ROLE_COLUMNS, i))
    )
    return rows, columns


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


def expected(z: Tensor, grad: Tensor, k: int, scale: float) -> Tensor:
    wanted = z.double()
    reference.tensor_sketch_into(wanted, grad.double(), *tables(grad.shape[1], grad.shape[2], k), scale)
    return wanted


@pytest.mark.parametrize(
    ("n", "o", "i", "k"),
    [
        (2, 5, 7, 16),
        (1, 40, 48, 16),
        (2, 3, 1000, 100),
        (1, 600, 24, 512),
        (1, 70, 2504, 300),
        (2, 1100, 64, 512),
        (1, 1, 5000, 512),
        (1, 9, 17, 1),
        (1, 20, 1040, 1024),
        (1, 30, 40, 2048),
        (1, 10, 3000, 2100),
        (1, 6, 24, 5000),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_flat(n: int, o: int, i: int, k: int, dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(n + o + i + k)
    grad, z = torch.randn(n, o, i).to(dtype), torch.randn(n, k)
    found = cuda_emulation.tensor_sketch(tmp_path, z, [(grad, *tables(o, i, k), 0.5)])
    assert error(found, expected(z, grad, k, 0.5)) < 1e-6


def test_flat_takes_any_strides(tmp_path: Path) -> None:
    """Rows that begin anywhere take the path without 16-byte loads; a step outside the tensor would be reported."""
    whole = torch.randn(3, 41, 67).to(torch.bfloat16)
    z = torch.zeros(2, 32)
    for grad in (whole[::2, 1:, 3:], whole[:2, ::2, :64], whole[:1, :, 1:9].expand(2, -1, -1)):
        found = cuda_emulation.tensor_sketch(tmp_path, z, [(grad, *tables(grad.shape[1], grad.shape[2], 32), 1.0)])
        assert error(found, expected(z, grad, 32, 1.0)) < 1e-6


def test_flat_sums_many_partial_vectors(tmp_path: Path) -> None:
    """More blocks than one group of the reduction."""
    grad, z = torch.randn(1, 130, 20000), torch.zeros(1, 512)
    found = cuda_emulation.tensor_sketch(tmp_path, z, [(grad, *tables(130, 20000, 512), 1.0)])
    assert error(found, expected(z, grad, 512, 1.0)) < 1e-6


def test_flat_of_many_tensors(tmp_path: Path) -> None:
    """A list longer than one launch takes, with empty members, is the sum of its members."""
    shapes = [(1 + j % 7, 3 + j % 11) for j in range(300)] + [(0, 5), (4, 0), (33, 70)]
    parts = [(torch.randn(2, o, i), *tables(o, i, 24), 0.5 + o) for o, i in shapes]
    z = torch.randn(2, 24)
    found = cuda_emulation.tensor_sketch(tmp_path, z, parts)
    wanted = z.double()
    for grad, rows, columns, scale in parts:
        if grad.numel():
            reference.tensor_sketch_into(wanted, grad.double(), rows, columns, scale)
    assert error(found, wanted) < 1e-6


def test_flat_keeps_infinities_and_nans_where_they_belong(tmp_path: Path) -> None:
    grad = torch.randn(2, 50, 90)
    grad[1, 3, 4], grad[1, 40, 80] = math.nan, math.inf
    z = torch.zeros(2, 32)
    found = cuda_emulation.tensor_sketch(tmp_path, z, [(grad, *tables(50, 90, 32), 1.0)])
    wanted = expected(z, grad, 32, 1.0)
    assert torch.equal(found.isfinite(), wanted.isfinite())
    assert int((~found.isfinite()).sum()) == 2


@pytest.mark.parametrize("k", [16, 300, 512, 2048])
def test_flat_has_no_races(k: int, tmp_path: Path) -> None:
    """Between two barriers the order of the threads does not matter."""
    grad, z = torch.randn(1, 40, 700), torch.zeros(1, k)
    runs = [
        cuda_emulation.tensor_sketch(tmp_path, z, [(grad, *tables(40, 700, k), 1.0)], descending)
        for descending in (False, True)
    ]
    assert torch.equal(*runs)


def tokens(n: int, t: int, o: int, i: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.randn(n, t, i).to(dtype), torch.randn(n, t, o).to(dtype)


def expected_outer(x: Tensor, dy: Tensor, k: int, lengths: Tensor | None = None) -> Tensor:
    wanted = torch.zeros(x.shape[0], k, dtype=torch.float64)
    rows, columns = tables(dy.shape[2], x.shape[2], k)
    outer_reference.outer_sketch_into(wanted, x.double(), dy.double(), rows, columns, lengths, 1.0)
    return wanted


def outer(
    folder: Path, x: Tensor, dy: Tensor, k: int, lengths: Tensor | None = None, descending: bool = False
) -> Tensor:
    rows, columns = tables(dy.shape[2], x.shape[2], k)
    z = torch.zeros(x.shape[0], k)
    return cuda_emulation.outer_sketch(folder, z, x, dy, rows, columns, lengths, descending=descending)


@pytest.mark.parametrize(
    ("n", "t", "o", "i", "k"),
    [
        (2, 3, 5, 7, 16),
        (1, 40, 40, 48, 16),
        (1, 9, 600, 2600, 512),
        (2, 33, 30, 24, 512),
        (1, 5, 70, 90, 300),
        (1, 6, 17, 300, 256),
        (1, 5, 64, 2104, 1024),
        (1, 3, 64, 64, 2048),
        (1, 3, 30, 30, 1500),
        (1, 4, 20, 4200, 4096),
        (1, 1, 1, 1, 1),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_token(n: int, t: int, o: int, i: int, k: int, dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(n + t + o + i + k)
    x, dy = tokens(n, t, o, i, dtype)
    assert error(outer(tmp_path, x, dy, k), expected_outer(x, dy, k)) < 2e-6


def test_token_sums_many_blocks(tmp_path: Path) -> None:
    """More blocks of tokens than one group of the reduction."""
    x, dy = tokens(1, 1100, 8, 9, torch.float32)
    assert error(outer(tmp_path, x, dy, 16), expected_outer(x, dy, 16)) < 2e-6


def test_token_ragged(tmp_path: Path) -> None:
    """Tokens past a sample's length are never read into a result, whatever they hold."""
    x, dy = tokens(5, 37, 20, 40, torch.float32)
    lengths = torch.tensor([0, 1, 36, 37, 32])
    for s, length in enumerate(lengths.tolist()):
        x[s, length:], dy[s, length:] = math.nan, math.inf
    found = outer(tmp_path, x, dy, 24, lengths)
    for s, length in enumerate(lengths.tolist()):
        wanted = expected_outer(x[s : s + 1, :length], dy[s : s + 1, :length], 24)[0]
        assert torch.allclose(found[s].double(), wanted, rtol=0, atol=1e-4), f"sample {s} of {length} tokens"
    assert torch.equal(found[0], torch.zeros(24))


def test_token_takes_any_strides(tmp_path: Path) -> None:
    x, dy = tokens(3, 19, 50, 70, torch.bfloat16)
    x, dy = x[::2, 1:, 5:], dy[1:2, ::2, :48].expand(2, -1, -1)[:, :9]
    x = x[:, ::2]
    assert error(outer(tmp_path, x, dy, 32), expected_outer(x, dy, 32)) < 2e-6


def test_token_has_no_races(tmp_path: Path) -> None:
    for k, dtype in ((16, torch.float32), (512, torch.bfloat16), (1024, torch.bfloat16), (2048, torch.float32)):
        x, dy = tokens(1, 11, 24, 600, dtype)
        runs = [outer(tmp_path, x, dy, k, descending=descending) for descending in (False, True)]
        assert torch.equal(*runs), f"k = {k}, {dtype}"


def test_token_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    """Bitwise: neither other samples nor padding change a vector."""
    x, dy = tokens(3, 50, 24, 40, torch.bfloat16)
    together = outer(tmp_path, x, dy, 64, torch.tensor([50, 40, 50]))
    assert torch.equal(together[1:2], outer(tmp_path, x[1:2, :40].contiguous(), dy[1:2, :40].contiguous(), 64))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_token_accuracy_under_cancellation(dtype: torch.dtype, tmp_path: Path) -> None:
    """Constant massive channels meet gradients that sum to zero over tokens.

    16-bit inputs: twice the error of a gradient accumulated in float32 and rounded once. float32: 1e-5 of the norms.
    """
    torch.manual_seed(0)
    x, dy = torch.randn(1, 64, 200), torch.randn(1, 64, 150)
    x[..., ::40] = 300.0
    dy -= dy.mean(1, keepdim=True)
    x, dy = x.to(dtype), dy.to(dtype)
    k = 128
    wanted = expected_outer(x, dy, k)
    distance = float((outer(tmp_path, x, dy, k).double() - wanted).norm())
    if dtype == torch.float32:
        norms = x.double().square().sum(2) * dy.double().square().sum(2)
        assert distance < 1e-5 * float(norms.sum().sqrt())
    else:
        rounded = torch.bmm(dy.float().transpose(1, 2), x.float()).to(dtype)
        sketch = torch.zeros(1, k, dtype=torch.float64)
        reference.tensor_sketch_into(sketch, rounded.double(), *tables(150, 200, k), 1.0)
        assert distance < 2 * float((sketch - wanted).norm())


@pytest.mark.parametrize("share", [1e-9, 1e9])
def test_token_accuracy_with_unlike_magnitudes(share: float, tmp_path: Path) -> None:
    """Neither the ratio of dy to x nor neighbours of opposite magnitudes cost digits."""
    x, dy = tokens(1, 16, 40, 30, torch.float32)
    dy *= share
    swing = torch.logspace(-3, 3, 16)[torch.randperm(16)][None, :, None]
    x, dy = x * swing, dy / swing
    norms = (x.double().square().sum(2) * dy.double().square().sum(2)).sum().sqrt()
    distance = (outer(tmp_path, x, dy, 32).double() - expected_outer(x, dy, 32)).norm()
    assert float(distance / norms) < 1e-6


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_token_reports_bad_samples(bad: float, tmp_path: Path) -> None:
    x, dy = tokens(2, 9, 24, 40, torch.float32)
    x[1, 3, 5] = bad
    found = outer(tmp_path, x, dy, 32)
    assert found[0].isfinite().all()
    assert not found[1].isfinite().all()
