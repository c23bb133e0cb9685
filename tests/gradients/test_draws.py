"""Shared draws: the right noise levels, and noise that depends on (seed, draw) alone."""

from __future__ import annotations

import pytest
import torch

from motive.errors import OptionError
from motive.gradients.draws import DrawConfig, NoiseField, field_noise, shared_noise


def test_the_papers_choice() -> None:
    assert DrawConfig("single").sigmas() == (0.751,)


@pytest.mark.parametrize("strategy", ["uniform", "logit_normal"])
@pytest.mark.parametrize("count", [1, 4, 7])
def test_levels_are_increasing_symmetric_and_inside(strategy: str, count: int) -> None:
    sigmas = DrawConfig(strategy, count=count).sigmas()  # type: ignore[arg-type]
    assert len(sigmas) == count
    assert list(sigmas) == sorted(set(sigmas))
    assert all(0 < s < 1 for s in sigmas)
    assert sum(sigmas) == pytest.approx(count / 2)


def test_uniform_levels_are_midpoints() -> None:
    assert DrawConfig("uniform", count=4).sigmas() == (0.125, 0.375, 0.625, 0.875)


@pytest.mark.parametrize("strategy", ["uniform", "logit_normal"])
def test_shifted_levels_are_those_of_the_shifted_distribution(strategy: str) -> None:
    """A shifted draw has odds of noise against data that are the shift times the unshifted ones."""
    plain = DrawConfig(strategy, count=5).sigmas()  # type: ignore[arg-type]
    shifted = DrawConfig(strategy, count=5, shift=3.0).sigmas()  # type: ignore[arg-type]
    for before, after in zip(plain, shifted, strict=True):
        assert after / (1 - after) == pytest.approx(3 * before / (1 - before))


@pytest.mark.parametrize("strategy", ["uniform", "logit_normal"])
@pytest.mark.parametrize(("low", "high"), [(0.0, 0.875), (0.875, 1.0), (0.3, 0.4)])
def test_levels_of_a_part_are_quantiles_of_the_part(strategy: str, low: float, high: float) -> None:
    """The draws inside a part of the distribution are every tenth of those among many of the whole, up to a grid."""
    levels = DrawConfig(strategy, count=10, shift=3.0, low=low, high=high).sigmas()  # type: ignore[arg-type]
    assert all(low < level < high for level in levels)
    many = DrawConfig(strategy, count=1000, shift=3.0).sigmas()  # type: ignore[arg-type]
    inside = [level for level in many if low < level < high]
    for j, level in enumerate(levels):
        assert sum(one < level for one in inside) == pytest.approx((j + 0.5) / 10 * len(inside), abs=1.1)


def test_the_models_own_distribution_is_known_once_the_model_is() -> None:
    with pytest.raises(OptionError, match="resolved by a model"):
        DrawConfig("model").sigmas()
    assert DrawConfig("model", count=3).parts == 3


def test_noise_is_standard_normal_and_keyed() -> None:
    noise = shared_noise(0, 0, (64, 64, 16))
    assert noise.shape == (64, 64, 16)
    assert noise.dtype == torch.float32
    standard_error = noise.numel() ** -0.5
    assert abs(noise.mean()) < 4 * standard_error
    assert abs(noise.std() - 1) < 4 * standard_error
    assert torch.equal(noise, shared_noise(0, 0, (64, 64, 16)))
    for other in (shared_noise(0, 1, (64, 64, 16)), shared_noise(1, 0, (64, 64, 16))):
        correlation = (noise * other).mean()
        assert abs(correlation) < 4 * standard_error, f"draws are correlated: {correlation}"


def test_noise_is_a_prefix_of_longer_noise() -> None:
    assert torch.equal(shared_noise(3, 2, (5,)), shared_noise(3, 2, (9,))[:5])


def test_first_noise_values_never_change() -> None:
    """Stored vectors depend on these bits; a change needs a new format version, not new numbers here."""
    values = shared_noise(0, 0, (4,)).tolist()
    assert values == pytest.approx(GOLDEN, rel=1e-7)


@pytest.mark.parametrize("shape", [(3, 1, 7, 2), (3, 4, 2, 9), (3, 4, 7, 9)])
def test_every_shape_sees_one_field_of_noise(shape: tuple[int, ...]) -> None:
    _, frames, height, width = shape
    whole = field_noise(5, 1, (3, 4, 7, 9))
    assert torch.equal(field_noise(5, 1, shape), whole[:, :frames, :height, :width])
    field = NoiseField()
    for asked in ((3, 2, 3, 3), shape, (3, 4, 7, 9), shape):
        assert torch.equal(field(5, 1, asked), field_noise(5, 1, asked))
    assert not torch.equal(field(5, 2, shape), field(5, 1, shape))


def test_the_field_is_standard_normal_and_keyed() -> None:
    shape = (16, 6, 24, 24)
    noise = field_noise(0, 0, shape)
    standard_error = noise.numel() ** -0.5
    assert abs(noise.mean()) < 4 * standard_error
    assert abs(noise.std() - 1) < 4 * standard_error
    for other in (field_noise(0, 1, shape), field_noise(1, 0, shape), noise.roll(1, 1), noise.roll(1, 2)):
        assert abs((noise * other).mean()) < 4 * standard_error


def test_first_values_of_the_field_never_change() -> None:
    """Stored vectors of stores with buckets depend on these bits."""
    noise = field_noise(7, 1, (3, 2, 4, 5))
    values = [float(noise[place]) for place in ((0, 0, 0, 0), (2, 1, 3, 4), (1, 0, 2, 3))]
    assert values == pytest.approx([0.20937129855155945, 1.1289383172988892, -0.5319202542304993], rel=1e-7)


GOLDEN = [-0.0682993233203888, -0.8618688583374023, 0.02745192125439644, -0.5508575439453125]


@pytest.mark.parametrize(
    "bad",
    [
        {"strategy": "every"},
        {"count": 0},
        {"sigma": 0.0},
        {"sigma": 751.0},
        {"seed": -1},
        {"combine": "max"},
        {"shift": 0.0},
        {"shift": 3.0, "strategy": "model"},
        {"low": 0.5, "high": 0.5},
        {"low": 0.5, "strategy": "single"},
    ],
)
def test_bad_settings_are_named(bad: dict) -> None:
    with pytest.raises(OptionError, match=next(iter(bad))):
        DrawConfig(**bad)
