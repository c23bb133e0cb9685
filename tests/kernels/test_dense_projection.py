"""Dense projections: entries, published bits, and sizes that cross every block of the kernels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import motive_kernels as mk
from motive_kernels.ops.dense_projection.api import _dense_projection_into, dense_projection_into
from motive_kernels.rng.entries import entries

KEY = (0x12345678, 0x9ABCDEF0)
MODULE = "model.layers.0.mlp"
DISTRIBUTIONS = ("rademacher", "gaussian")
AVAILABLE = [i for i in ("torch", "cpp") if mk.implementations()["dense_projection_into"][i] is None]
every_implementation = pytest.mark.parametrize("impl", AVAILABLE)
every_distribution = pytest.mark.parametrize("distribution", DISTRIBUTIONS)


def sign_bits(rows: np.ndarray) -> list[str]:
    """Each row's signs as hexadecimal, +1 a set bit, lowest bit first."""
    return [np.packbits(row > 0, bitorder="little").tobytes().hex() for row in rows]


def random_gradient(n: int, d: int) -> torch.Tensor:
    grad = torch.randn(n, d, generator=torch.Generator().manual_seed(n * d))
    grad[:, d // 3] *= 300
    return grad


@every_implementation
@pytest.mark.parametrize(
    ("pattern", "seed", "want"),
    [
        (
            "{module}/single",
            0,
            [
                "5d07d2d9ac0cf518864af6365979ab18da3a3655",
                "03fd5da8757e2d7be6396eb95463f9737d61c290",
                "5222c8c40de7b38a1e6958f3f10e2819b24de156",
            ],
        ),
        (
            "{module}/single/seed{seed}",
            7,
            ["c5ec28d40aeb97b54ce2b2162c34abbe5936f312", "2e1847399a086940fddd7fa9918410cf56f46d64"],
        ),
    ],
)
def test_signs_are_bergsons(impl: str, pattern: str, seed: int, want: list[str]) -> None:
    """Literals from bergson 2.5.1, random_matrix(f"{identifier}/0", rows, 160, "cpu", "rademacher")."""
    spec = mk.ProjectionSpec("rademacher", 16, seed, {"identifier": pattern})
    projector = mk.Projector(spec, {f"{MODULE}.weight": (8, 20)})
    z = projector.project({f"{MODULE}.weight": torch.eye(160).reshape(160, 8, 20)}, impl=impl)
    assert sign_bits(z.T.numpy())[: len(want)] == want
    assert sign_bits(projector.matrix(f"{MODULE}.weight"))[: len(want)] == want


def test_later_blocks_of_columns_have_keys_of_their_own() -> None:
    """Block width 2^27 / dim = 128: columns 128 .. 167 have the key of bergson's "{identifier}/128"."""
    spec = mk.ProjectionSpec("rademacher", 2**20, 0, {"identifier": "{module}/single"})
    projector = mk.Projector(spec, {f"{MODULE}.weight": (168,)})
    probe = torch.zeros(5, 168)
    probe[0, 0] = 1
    probe[torch.arange(1, 5), torch.tensor([128, 129, 135, 167])] = 1
    z = projector.project({f"{MODULE}.weight": probe})
    rows = ["2879c0bb7e", "77096686bb", "b84744b165"]
    bits = np.unpackbits(np.array([list(bytes.fromhex(row)) for row in rows], dtype=np.uint8), 1, bitorder="little")
    assert (z[1:, :3].T > 0).tolist() == (bits[:, [0, 1, 7, 39]] > 0).tolist()
    assert (z[0, :3] > 0).tolist() == [True, True, False]


def test_normal_numbers_are_bergsons_to_float32_rounding() -> None:
    """Literals from random_matrix(f"{identifier}/0", 2, 9, "cpu", "normal")."""
    spec = mk.ProjectionSpec("gaussian", 2, 0, {"identifier": "{module}/single"})
    p = mk.Projector(spec, {f"{MODULE}.weight": (3, 3)}).matrix(f"{MODULE}.weight") * math.sqrt(2)
    want = [
        [0.4650114, 0.3267681, 1.4423106, 0.998403, 1.4518869, -0.3034773, -0.0141728, 0.7900391, -1.3120493],
        [-0.9090522, 0.1080976, -0.7683853, 0.233619, 1.061567, 0.1152638, -0.0348005, 0.8612212, 0.3967733],
    ]
    np.testing.assert_allclose(p, want, rtol=0, atol=2e-6)


def test_a_seed_that_the_identifier_ignores_is_an_error() -> None:
    spec = mk.ProjectionSpec("rademacher", 8, 1, {"identifier": "{module}/single"})
    with pytest.raises(ValueError, match=r"seed must be 0 where the identifier has no \{seed\}"):
        mk.Projector(spec, {"a.weight": (2, 2)}).matrix("a.weight")


def test_normal_numbers_of_every_level_are_exact_to_1e_6(level: str) -> None:
    """Half a million entries, among them some within 1e-5 of the ends of the distribution's words."""
    rows, columns = 512, 1024
    z = torch.zeros(columns, rows)
    dense_projection_into(z, torch.eye(columns), "gaussian", KEY, role=1, impl="cpp")
    want = entries("gaussian", KEY, 1, 0, rows, 0, columns)
    error = np.abs(z.numpy().T - want)
    assert error.max() <= 1e-6, f"{level}: entry {want.flat[error.argmax()]} is off by {error.max():.2e}"
    assert np.abs(want).max() > 4.5
    assert np.abs(want).min() < 1e-5


@every_distribution
def test_sizes_beyond_every_block(distribution: str, level: str) -> None:
    """Ragged rows, columns and samples past the kernels' passes, chunks, parts and batches."""
    for n, d, k in ((1, 129, 1), (9, 4097, 5), (67, 300, 513), (3, 8500, 37), (230, 40, 18)):
        grad = random_gradient(n, d)
        z, want = torch.ones(n, k), torch.ones(n, k, dtype=torch.float64)
        dense_projection_into(z, grad, distribution, KEY, scale=0.5, impl="cpp")
        dense_projection_into(want, grad.double(), distribution, KEY, scale=0.5, impl="torch")
        error = (z.double() - want).norm(dim=1) / (grad.double().norm(dim=1) * math.sqrt(k))
        assert float(error.max()) < 1e-6, f"{level} n={n} d={d} k={k}: relative error {float(error.max()):.2e}"


@every_distribution
def test_a_sample_has_the_same_bits_alone_and_in_a_batch(distribution: str) -> None:
    grad = random_gradient(75, 5000)
    together, alone = torch.zeros(75, 40), torch.zeros(75, 40)
    dense_projection_into(together, grad, distribution, KEY, impl="cpp")
    for s in (0, 31, 74):
        dense_projection_into(alone[s : s + 1], grad[s : s + 1], distribution, KEY, impl="cpp")
        assert torch.equal(alone[s], together[s])


@every_implementation
@every_distribution
def test_samples_far_apart_in_memory(impl: str, distribution: str) -> None:
    """A stride past 2^32 elements, over memory that is reserved but for two pages never touched."""
    stride = 2**32 + 3
    far = torch.empty(stride + 200, dtype=torch.bfloat16).as_strided((2, 200), (stride, 1))
    far.copy_(random_gradient(2, 200))
    z, want = torch.zeros(2, 16), torch.zeros(2, 16)
    dense_projection_into(z, far, distribution, KEY, impl=impl)
    dense_projection_into(want, far.clone(), distribution, KEY, impl=impl)
    assert torch.equal(z, want)


@every_implementation
@every_distribution
def test_roles_and_keys_are_streams_of_their_own(impl: str, distribution: str) -> None:
    """The correlation of 4096 entries of two different streams is within 5 standard errors of 0."""
    probe = torch.eye(64)
    vectors = []
    for key, role in ((KEY, 0), (KEY, 1), ((KEY[0] + 1, KEY[1]), 0), ((KEY[0], KEY[1] + 1), 0)):
        z = torch.zeros(64, 64)
        dense_projection_into(z, probe, distribution, key, role=role, impl=impl)
        vectors.append(z.flatten())
    correlation = torch.corrcoef(torch.stack(vectors)) - torch.eye(4)
    assert float(correlation.abs().max()) < 5 / 64


@every_distribution
def test_entries_have_the_moments_of_their_distribution(distribution: str) -> None:
    e = entries(distribution, KEY, 0, 3, 100, 1001, 5000)
    count = e.size
    assert abs(e.mean()) < 5 / math.sqrt(count)
    fourth = 1 if distribution == "rademacher" else 3
    assert abs((e**2).mean() - 1) < 5 * math.sqrt(fourth - 1 + 1e-30) / math.sqrt(count) + 1e-12
    assert abs((e**4).mean() - fourth) < 5 * math.sqrt(96) / math.sqrt(count) * (fourth > 1) + 1e-12
    assert abs((e[:, 1:] * e[:, :-1]).mean()) < 5 / math.sqrt(count)
    assert abs((e[1:] * e[:-1]).mean()) < 5 / math.sqrt(count)


@every_distribution
def test_torch_library_contract(distribution: str) -> None:
    """Schema, fake implementation, tracing and autograd registration of the custom op."""
    args = (torch.zeros(2, 8), torch.randn(2, 30), distribution, *KEY, 0, 0.5, None)
    torch.library.opcheck(_dense_projection_into, args)


def test_arguments_are_checked() -> None:
    z, grad = torch.zeros(2, 8), torch.zeros(2, 30)
    with pytest.raises(ValueError, match="distribution must be one of rademacher, gaussian, got 'cauchy'"):
        dense_projection_into(z, grad, "cauchy", KEY)
    with pytest.raises(ValueError, match="grad must be a floating-point tensor"):
        dense_projection_into(z, grad.long(), "gaussian", KEY)
    with pytest.raises(ValueError, match="z must be contiguous float32"):
        dense_projection_into(z.double(), grad, "gaussian", KEY)
    with pytest.raises(RuntimeError, match="impl must be able to run float64"):
        dense_projection_into(z.double(), grad.double(), "gaussian", KEY, impl="cpp")
    far = torch.zeros(1).expand(1, 4 * 2**32 + 1)
    with pytest.raises(ValueError, match=r"grad must be \[n, at most 17179869184\]"):
        dense_projection_into(z[:1], far, "gaussian", KEY)
