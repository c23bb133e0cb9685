"""Statistics of the balanced tensor sketch over its seeds: no bias, and the variance of its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import motive_kernels as mk

SEEDS, DIM, ROWS, COLUMNS = 1000, 16, 24, 40


def cases() -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((ROWS, COLUMNS))
    spiky = noise.copy()
    spiky[:, ::11] *= 30
    duplicated = noise.copy()
    duplicated[:, 20:] = duplicated[:, :20]
    diagonal = np.zeros((ROWS, COLUMNS))
    np.fill_diagonal(diagonal, rng.standard_normal(ROWS))
    shifted = np.eye(ROWS, COLUMNS, 16)
    return {
        "noise": noise,
        "spiky channels": spiky,
        "rank 1": np.outer(rng.standard_normal(ROWS), rng.standard_normal(COLUMNS)),
        "duplicated columns": duplicated,
        "diagonal": diagonal,
        "one run apart": shifted,
    }


def vectors(gradients: NDArray[np.float64]) -> NDArray[np.float64]:
    """[SEEDS, n, DIM], by the default implementation."""
    tensor = torch.from_numpy(gradients).float()
    shape = {"w": tensor.shape[1:]}
    found = [
        mk.Projector(mk.ProjectionSpec("tensor_sketch", DIM, seed), shape).project({"w": tensor})
        for seed in range(SEEDS)
    ]
    return torch.stack(found).double().numpy()


def predicted_variance(g: NDArray[np.float64]) -> float:
    """Var(|Pg|^2 / |g|^2) of the balanced tables."""
    run_o, run_i = np.arange(g.shape[0]) // DIM, np.arange(g.shape[1]) // DIM
    across_columns = ((g.T @ g) ** 2)[run_i[:, None] != run_i[None, :]].sum()
    across_rows = ((g @ g.T) ** 2)[run_o[:, None] != run_o[None, :]].sum()
    total = (g**2).sum()
    rest = total**2 - ((g**2).sum(1) ** 2).sum() - ((g**2).sum(0) ** 2).sum() + (g**4).sum()
    return 2 / DIM * (across_columns + across_rows + rest) / total**2


def test_unbiased_with_the_predicted_variance() -> None:
    names, gradients = list(cases()), np.stack(list(cases().values()))
    ratio = (vectors(gradients) ** 2).sum(2) / (gradients**2).sum((1, 2))
    for name, values, g in zip(names, ratio.T, gradients, strict=True):
        predicted = predicted_variance(g)
        standard_error = values.std(ddof=1) / np.sqrt(SEEDS)
        assert abs(values.mean() - 1) < 4 * standard_error, f"{name}: mean {values.mean():.4f} +- {standard_error:.4f}"
        assert values.var(ddof=1) == pytest.approx(predicted, rel=0.25), name


def test_a_matrix_and_its_transpose_are_not_confused() -> None:
    """The seed mean of <P G, P G^T> is <G, G^T>: rows and columns have separate tables."""
    rng = np.random.default_rng(1)
    for g in (rng.standard_normal((24, 24)), np.triu(rng.standard_normal((24, 24)), 1)):
        z = vectors(np.stack([g, g.T]))
        products = (z[:, 0] * z[:, 1]).sum(1)
        wanted = (g * g.T).sum()
        assert abs(products.mean() - wanted) < 4 * products.std(ddof=1) / np.sqrt(SEEDS)


def test_terms_reduce_the_variance_of_a_rank_one_gradient() -> None:
    rng = np.random.default_rng(2)
    g = torch.from_numpy(np.outer(rng.standard_normal(ROWS), rng.standard_normal(COLUMNS))).float()[None]
    variance = []
    for terms in (1, 4):
        ratios = [
            (
                mk.Projector(mk.ProjectionSpec("tensor_sketch", DIM, seed, {"terms": terms}), {"w": g.shape[1:]})
                .project({"w": g})
                .double()
                .square()
                .sum()
                / g.double().square().sum()
            ).item()
            for seed in range(500)
        ]
        variance.append(np.var(ratios))
        assert abs(np.mean(ratios) - 1) < 4 * np.std(ratios) / np.sqrt(500)
    assert variance[1] < 0.75 * variance[0]
