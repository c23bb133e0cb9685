"""Kronecker projection: two thin products, from the gradient and from tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import motive_kernels as mk
from motive_kernels.ops.kronecker.api import (
    _kronecker_into,
    _kronecker_outer_into,
    kronecker_into,
    kronecker_outer_into,
)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))


def test_both_ops_are_the_kronecker_product() -> None:
    left, right, x, dy = draw(3, 7), draw(4, 9), draw(2, 5, 9), draw(2, 5, 7)
    gradient = dy.transpose(1, 2) @ x
    want = 0.5 * gradient.reshape(2, 63) @ torch.from_numpy(np.kron(left.numpy(), right.numpy())).T
    flat, token = torch.zeros(2, 12, dtype=torch.float64), torch.zeros(2, 12, dtype=torch.float64)
    kronecker_into(flat, gradient, left, right, scale=0.5)
    kronecker_outer_into(token, x, dy, left, right, scale=0.5)
    torch.testing.assert_close(flat, want)
    torch.testing.assert_close(token, want)


def test_sizes_beyond_every_block(level: str) -> None:
    """Ragged tokens, rows, columns and factors past the kernel's panels, chunks and tasks; bitwise for any threads."""
    for n, t, o, i, ko, ki in (
        (1, 1, 1, 1, 1, 1),
        (2, 300, 9, 530, 7, 3),
        (3, 20, 600, 5, 17, 40),
        (2, 513, 30, 70, 3, 33),
    ):
        left, right, x, dy = draw(ko, o).float(), draw(ki, i).float(), draw(n, t, i), draw(n, t, o)
        lengths = torch.tensor([t, 0, t // 2 + 1][:n])
        kept = (torch.arange(t) < lengths[:, None]).double()
        gradient = torch.einsum("nt,nto,nti->noi", kept, dy, x)
        want = torch.einsum("po,noi,qi->npq", left.double(), gradient, right.double()).reshape(n, -1)
        size = max(float(want.norm()), 1e-30)
        flat, token = torch.zeros(n, ko * ki), torch.zeros(n, ko * ki)
        kronecker_into(flat, gradient.float(), left, right, impl="cpp")
        kronecker_outer_into(token, x.float(), dy.float(), left, right, lengths=lengths, impl="cpp")
        for route, z in (("materialized", flat), ("factorized", token)):
            error = float((z.double() - want).norm()) / size
            assert error < 2e-6, f"{level} {route} {(n, t, o, i, ko, ki)}: relative error {error:.1e}"


def test_samples_far_apart_in_memory() -> None:
    stride = 2**32 + 3
    far = torch.empty(stride + 200, dtype=torch.bfloat16).as_strided((2, 10, 20), (stride, 20, 1))
    far.copy_(draw(2, 10, 20))
    left, right = draw(3, 10).float(), draw(4, 20).float()
    z, want = torch.zeros(2, 12), torch.zeros(2, 12)
    kronecker_into(z, far, left, right, impl="cpp")
    kronecker_into(want, far.clone(), left, right, impl="cpp")
    assert torch.equal(z, want)


def test_rank_one_gradient_keeps_both_of_its_sides() -> None:
    """z of y x^T is (A y)(B x)^T: of rank one again, as a rows x columns matrix."""
    projector = mk.Projector(mk.ProjectionSpec("kronecker", 24, 0, {"rows": 4}), {"w": (7, 9)})
    z = projector.project({"w": draw(1, 7)[0][:, None].float() * draw(1, 9).float()[None]})
    assert np.linalg.matrix_rank(z.reshape(4, 6).numpy(), tol=1e-5) == 1


def test_torch_library_contract() -> None:
    z, left, right = torch.zeros(2, 12), torch.randn(3, 7), torch.randn(4, 9)
    torch.library.opcheck(_kronecker_into, (z, torch.randn(2, 7, 9), left, right, 0.5, None))
    tokens = (torch.randn(2, 5, 9), torch.randn(2, 5, 7))
    for lengths in (None, torch.tensor([5, 2])):
        torch.library.opcheck(_kronecker_outer_into, (z.clone(), *tokens, left, right, lengths, 0.5, None))


def test_arguments_are_checked() -> None:
    z, grad, left, right = torch.zeros(2, 12), torch.zeros(2, 7, 9), torch.zeros(3, 7), torch.zeros(4, 9)
    with pytest.raises(ValueError, match=r"left must be \[ko, 7\]"):
        kronecker_into(z, grad, left[:, :6], right)
    with pytest.raises(ValueError, match=r"right must be \[ki, 9\]"):
        kronecker_into(z, grad, left, right[:, :6])
    with pytest.raises(ValueError, match=r"z must be \[n, ko \* ki = 9\]"):
        kronecker_into(z, grad, left, right[:3])
    with pytest.raises(ValueError, match=r"lengths must be in 0 \.\. 5"):
        kronecker_outer_into(z, torch.zeros(2, 5, 9), torch.zeros(2, 5, 7), left, right, lengths=torch.tensor([6, 1]))
    with pytest.raises(RuntimeError, match="impl must be able to run float64"):
        kronecker_into(z.double(), grad.double(), left, right, impl="cpp")
