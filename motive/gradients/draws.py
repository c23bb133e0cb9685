"""The shared (sigma, noise) draws at which every clip's gradient is taken (paper, section 4.2).

Every clip and query of a store sees the same draws (common random numbers), so differences between
vectors come from the clips alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import torch
from torch import Tensor

import motive_kernels as mk
from motive.config import check_choices
from motive.errors import ConfigError


@dataclass(frozen=True)
class DrawConfig:
    """Which noise levels, and which noise.

    Attributes:
        strategy: ``single`` takes one draw at ``sigma`` (the paper's choice); ``uniform`` takes ``count`` noise levels
            at the midpoints of equal slices of (0, 1); ``logit_normal`` takes the midpoint quantiles of a
            logit-normal distribution (mean 0, standard deviation 1), the usual training density; ``model`` takes
            that of the two, and that shift, which the model was trained with (docs/models.md).
        count: draws of every strategy but single.
        shift: of the flow's time, as the model was trained: the levels u of uniform and logit_normal become
            shift u / (1 + (shift - 1) u). Wan's trainers take 3 or 5; 1 leaves them.
        low, high: take the levels from this part of the distribution alone, 0 <= low < high <= 1: the range of one of
            a model's experts.
        sigma: noise level of ``single``, 0 < sigma < 1. The paper's timestep 751 of 1000 is sigma 0.751.
        seed: of the noise; draw j uses the key (seed, j).
        combine: how the projected gradients of a clip's draws become its vector. ``concat``: side by side, each at
            length 1 / sqrt(draws), so that the cosine of two clips is the mean of their draws' cosines; the vector is
            as many times longer. ``normalized-mean``: the mean of them, each at length 1. ``mean``: their mean, in
            which noise levels with long gradients weigh most.
    """

    strategy: Literal["single", "uniform", "logit_normal", "model"] = "uniform"
    count: int = 4
    sigma: float = 0.751
    seed: int = 0
    combine: Literal["concat", "mean", "normalized-mean"] = "concat"
    shift: float = 1.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_choices(self)
        if not 1 <= self.count <= 1000:
            raise ConfigError("DrawConfig", f"{{count}} must be 1 to 1000, got {self.count}; 4 is the default")
        if not 0 < self.sigma < 1:
            raise ConfigError(
                "DrawConfig", f"{{sigma}} must be between 0 and 1, got {self.sigma}; divide a timestep label by 1000"
            )
        if self.strategy != "single" and self.sigma != type(self).sigma:
            raise ConfigError(
                "DrawConfig",
                f"{{sigma}} must be left out unless {{strategy}} is single, got {self.sigma}; "
                "give one of the two ({strategy} single, or no {sigma})",
            )
        if self.strategy == "single" and self.count != type(self).count:
            raise ConfigError(
                "DrawConfig",
                f"{{count}} must be left out with {{strategy}} single, which takes one draw, got {self.count}; "
                "choose another {strategy}, or no {count}",
            )
        if self.seed < 0:
            raise ConfigError("DrawConfig", f"{{seed}} must not be negative, got {self.seed}; give 0 or more")
        if not 0 < self.shift <= 1000:
            raise ConfigError(
                "DrawConfig", f"{{shift}} must be more than 0 and at most 1000, got {self.shift}; 1 is none"
            )
        if self.shift != 1 and self.strategy == "model":
            raise ConfigError(
                "DrawConfig",
                f"{{shift}} must be left out with {{strategy}} model, which has the model's own, got {self.shift}; "
                "choose another {strategy}, or no {shift}",
            )
        if not 0 <= self.low < self.high <= 1 or (self.strategy == "single" and (self.low, self.high) != (0, 1)):
            raise ConfigError(
                "DrawConfig",
                f"{{low}} and {{high}} must be 0 <= {{low}} < {{high}} <= 1, and left out with {{strategy}} single, got "
                f"{self.low} and {self.high} with {self.strategy}; give the part of the noise levels to draw from",
            )

    @property
    def parts(self) -> int:
        """Projected gradients side by side in one clip's vector."""
        return self.number if self.combine == "concat" else 1

    @property
    def number(self) -> int:
        """How many draws there are."""
        return 1 if self.strategy == "single" else self.count

    def sigmas(self) -> tuple[float, ...]:
        """The noise level of each draw, in increasing order."""
        if self.strategy == "single":
            return (self.sigma,)
        if self.strategy == "model":
            raise ConfigError(
                "DrawConfig", "{strategy} must be resolved by a model's set-up, got model; see motive.indexing"
            )
        low, high = self._share_below(self.low), self._share_below(self.high)
        midpoints = [low + (j + 0.5) / self.count * (high - low) for j in range(self.count)]
        if self.strategy == "logit_normal":
            midpoints = [1 / (1 + math.exp(-NormalDist().inv_cdf(p))) for p in midpoints]
        return tuple(self.shift * u / (1 + (self.shift - 1) * u) for u in midpoints)

    def _share_below(self, sigma: float) -> float:
        """Probability that the distribution gives less noise."""
        u = sigma / (self.shift - (self.shift - 1) * sigma)
        if self.strategy == "uniform" or u in (0, 1):
            return u
        return NormalDist().cdf(math.log(u / (1 - u)))


NoiseOf = Callable[[int, int, tuple[int, ...]], Tensor]
"""(seed, draw, latent shape) -> noise of that shape."""


def shared_noise(seed: int, draw: int, shape: tuple[int, ...]) -> Tensor:
    """The noise of one draw, equal on every device: float32 of this shape, standard normal.

    Element j of the flattened noise is element j of keyed_normal under the key "motive/1/noise/{seed}/{draw}".
    """
    return torch.from_numpy(mk.keyed_normal("noise", seed, str(draw), math.prod(shape)).reshape(shape))


def field_noise(seed: int, draw: int, shape: tuple[int, ...]) -> Tensor:
    """The noise of one draw in a store with buckets: every latent shape sees the same field from its first frame and
    upper left corner on, equal on every device; float32 [c, F, h, w], standard normal.

    Element (c, f, y, x) is element x C + c of keyed_normal under the key "motive/1/noise/{seed}/{draw}/{f}/{y}", C the
    number of channels.
    """
    channels, frames, height, width = shape
    rows = [
        mk.keyed_normal("noise", seed, f"{draw}/{frame}/{y}", width * channels)
        for frame in range(frames)
        for y in range(height)
    ]
    field = np.stack(rows).reshape(frames, height, width, channels)
    return torch.from_numpy(np.ascontiguousarray(field.transpose(3, 0, 1, 2)))


class NoiseField:
    """field_noise that keeps each draw's largest field and cuts smaller shapes out of it."""

    def __init__(self) -> None:
        self._fields: dict[tuple[int, int], Tensor] = {}

    def __call__(self, seed: int, draw: int, shape: tuple[int, ...]) -> Tensor:
        """As field_noise."""
        held = self._fields.get((seed, draw))
        if held is None or any(need > there for need, there in zip(shape, held.shape, strict=True)):
            extent = shape if held is None else tuple(map(max, shape, held.shape))
            held = self._fields[seed, draw] = field_noise(seed, draw, extent)
        _, frames, height, width = shape
        return held[:, :frames, :height, :width].contiguous()
