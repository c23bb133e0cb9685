"""Tiled Fastfood: its parts, its relation to the full-length transform, and sizes that cross every block."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import motive_kernels as mk
from motive_kernels.ops.fastfood.api import _fastfood_into, fastfood_into
from motive_kernels.ops.fastfood.reference import hadamard

KEY = (3, 0x80000001)
AVAILABLE = [i for i in ("torch", "cpp") if mk.implementations()["fastfood_into"][i] is None]
every_implementation = pytest.mark.parametrize("impl", AVAILABLE)


def some_labels(tile: int, k: int) -> torch.Tensor:
    return (torch.randperm(tile, generator=torch.Generator().manual_seed(tile)) % k).int()


@pytest.mark.parametrize("length", [1, 2, 8, 64])
def test_hadamard_matrix(length: int) -> None:
    h = hadamard(torch.eye(length, dtype=torch.float64))
    assert torch.equal(h, h.T)
    assert torch.equal(h @ h, length * torch.eye(length, dtype=torch.float64))
    signs = [[(-1.0) ** bin(p & q).count("1") for q in range(length)] for p in range(length)]
    assert h.tolist() == signs


def test_truncated_outer_transform_is_a_fold() -> None:
    """The first k rows of H_n v are H_k of the sums of entries with equal index modulo k."""
    v = torch.randn(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(hadamard(v)[:8], hadamard(v.reshape(8, 8).sum(0)))


def test_one_tile_with_one_bucket_each_keeps_every_direction() -> None:
    """k = tile: the factors of P = H G Pi H B are all invertible."""
    p = mk.Projector(mk.ProjectionSpec("fastfood", 32, 0, {"tile": 32}), {"w": (32,)}).matrix("w")
    assert np.linalg.matrix_rank(p) == 32


def test_default_tile_on_more_than_one_tile() -> None:
    """Against the explicit matrix, for columns at the ends of the tiles."""
    spec, d = mk.ProjectionSpec("fastfood", 64), 2**14 + 100
    projector = mk.Projector(spec, {"w": (d,)})
    columns = torch.tensor([0, 1, 2**14 - 1, 2**14, d - 1])
    probe = torch.zeros(5, d)
    probe[torch.arange(5), columns] = 1
    z = {impl: projector.project({"w": probe}, impl=impl) for impl in AVAILABLE}
    first = mk.Projector(spec, {"w": (2,)}).matrix("w")
    for impl, vectors in z.items():
        np.testing.assert_allclose(vectors[:2].T.numpy(), first, rtol=0, atol=1e-6, err_msg=impl)
        torch.testing.assert_close(vectors, z["torch"], rtol=0, atol=1e-6)
        length = (vectors.double() ** 2).sum(1)
        assert bool(((length - 1).abs() < 6 * math.sqrt(2 / 64)).all()), f"{impl}: |P e_j|^2 is {length.tolist()}"


@pytest.mark.parametrize("tile", [1, 4, 16, 64, 512, 4096, 8192, 65536])
def test_sizes_beyond_every_block(tile: int, level: str) -> None:
    k = min(tile, 128)
    for n, d in ((1, 1), (3, 9 * tile + tile // 2 + 1), (9, tile)):
        if n * d > 2**20:
            continue
        grad = torch.randn(n, d, generator=torch.Generator().manual_seed(d))
        labels = some_labels(tile, k)
        z, want = torch.ones(n, k), torch.ones(n, k, dtype=torch.float64)
        scale = 1 / math.sqrt(tile * k)
        fastfood_into(z, grad, labels, KEY, scale=scale, impl="cpp")
        fastfood_into(want, grad.double(), labels, KEY, scale=scale, impl="torch")
        error = (z.double() - want).norm(dim=1) / grad.double().norm(dim=1)
        assert float(error.max()) < 3e-6, f"{level} n={n} d={d}: relative error {float(error.max()):.2e}"


def test_a_sample_has_the_same_bits_alone_and_in_a_batch() -> None:
    grad, labels = torch.randn(70, 5000, generator=torch.Generator().manual_seed(0)), some_labels(256, 32)
    together, alone = torch.zeros(70, 32), torch.zeros(70, 32)
    fastfood_into(together, grad, labels, KEY, impl="cpp")
    for s in (0, 31, 69):
        fastfood_into(alone[s : s + 1], grad[s : s + 1], labels, KEY, impl="cpp")
        assert torch.equal(alone[s], together[s])


@every_implementation
def test_samples_far_apart_in_memory(impl: str) -> None:
    stride = 2**32 + 3
    far = torch.empty(stride + 200, dtype=torch.bfloat16).as_strided((2, 200), (stride, 1))
    far.copy_(torch.arange(400).reshape(2, 200))
    z, want = torch.zeros(2, 16), torch.zeros(2, 16)
    fastfood_into(z, far, some_labels(64, 16), KEY, impl=impl)
    fastfood_into(want, far.clone(), some_labels(64, 16), KEY, impl=impl)
    assert torch.equal(z, want)


def test_torch_library_contract() -> None:
    torch.library.opcheck(_fastfood_into, (torch.zeros(2, 8), torch.randn(2, 30), some_labels(16, 8), *KEY, 0.5, None))


def test_arguments_are_checked() -> None:
    z, grad = torch.zeros(2, 8), torch.zeros(2, 30)
    with pytest.raises(ValueError, match=r"z must be \[n, a power of two\]"):
        fastfood_into(torch.zeros(2, 6), grad, some_labels(16, 8), KEY)
    for labels in (some_labels(16, 8).long(), some_labels(16, 8)[:12], some_labels(4, 4), some_labels(64, 8)[::2]):
        with pytest.raises(ValueError, match="labels must be int32"):
            fastfood_into(z, grad, labels, KEY)
    for bad in (8, -1):
        labels = some_labels(16, 8)
        labels[5] = bad
        with pytest.raises(ValueError, match=r"labels must be in 0 \.\. dim - 1"):
            fastfood_into(z, grad, labels, KEY, impl="cpp")
