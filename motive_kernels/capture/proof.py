"""The proof of a plan: projected per-sample gradients against ordinary gradients.

For weights a_s, the sum of a_s z_s over samples must be the projection of the gradient of the sum of a_s L_s, for each
parameter. An unweighted sum would not notice samples that are mixed up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from motive_kernels.capture.attach import uncompiled
from motive_kernels.capture.parameters import only_these_require_grad
from motive_kernels.capture.passes import Pass, checked
from motive_kernels.capture.plan import Plan
from motive_kernels.capture.replay import Snapshot
from motive_kernels.capture.scope import Scope
from motive_kernels.capture.stream import stream_into
from motive_kernels.capture.sums import WeightedSums

TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 2e-2}
"""Allowed difference of one parameter's vectors, relative to their length. Sketches are float32 for every dtype; 16-bit
gradients are rounded once, to 0.2 % (bfloat16) of each number."""

FLOOR = {torch.float64: 1e-6, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 1e-3}
"""Gradients below this share of their vector's length are rounding: that of a key's bias is zero in real numbers."""


@dataclass(frozen=True)
class Proof:
    """The outcome.

    Attributes:
        n: samples compared; 0 where nothing could be, because losses or gradients are not finite or all zero.
        wrong: parameters that differ -> relative difference.
    """

    n: int
    wrong: Mapping[str, float]


def prove(scope: Scope, plan: Plan, compute_losses: Callable[[], Tensor], start: Snapshot, dtype: torch.dtype) -> Proof:
    """Take one batch by the plan and by an ordinary backward pass, and compare.

    Args:
        scope, plan: what to prove.
        compute_losses: runs the forward pass.
        start: restored before each forward pass.
        dtype: coarsest of the computation, which decides the tolerance.

    Raises:
        ValueError: the two forward passes give different losses.
    """
    start.restore()
    with Pass(scope, plan) as run:
        losses = checked(compute_losses())
        weights = proof_weights(losses)
        if not losses.isfinite().all():
            return Proof(0, {})
        got = run.weighted(losses, weights)
    start.restore()
    chosen = {name: p for name, p in scope.chosen.items() if name not in offloaded(scope)}
    if not chosen:
        return Proof(len(losses), {})
    with only_these_require_grad(scope.model, list(chosen.values())), uncompiled(), torch.enable_grad():
        again = checked(compute_losses())
        _same_losses(losses, again, TOLERANCE[dtype])
        ordinary = WeightedSums(scope, torch.ones(1))
        stream_into(ordinary, (again * weights).sum()[None], chosen, keep_graph=False)
    want = ordinary.of
    if not any(v.any() for v in want.values()) or not all(v.isfinite().all() for v in want.values()):
        return Proof(0, {})
    return Proof(len(losses), _differences(scope, got, {name: want.get(name) for name in chosen}, dtype))


def offloaded(scope: Scope) -> frozenset[str]:
    """Parameters that hooks bring in for each call of their layer: there is no gradient where they are kept."""
    return frozenset(name for name, p in scope.chosen.items() if p.is_meta)


def proof_weights(losses: Tensor) -> Tensor:
    """Weights that are random in sign and size, different for any eight samples in a row; of the shape of the losses.

    Powers of two scale a linear backward pass without rounding, so that the comparison can be sharp in 16 bits.
    """
    values = torch.tensor([sign * 2.0**-power for power in range(4) for sign in (1, -1)])
    generator = torch.Generator().manual_seed(0)
    blocks = [values[torch.randperm(8, generator=generator)] for _ in range(losses.numel() // 8 + 1)]
    return torch.cat(blocks)[: losses.numel()].reshape(losses.shape).to(losses.device, losses.dtype)


def _differences(
    scope: Scope, got: Mapping[str, Tensor], want: Mapping[str, Tensor | None], dtype: torch.dtype
) -> dict[str, float]:
    """Parameters whose vectors are further apart than rounding explains."""
    zero = torch.zeros(scope.projector.dim, dtype=torch.float64)
    length = [0.0] * scope.groups
    for name, value in want.items():
        length[scope.group_of[name]] += 0.0 if value is None else float(value.square().sum())
    wrong = {}
    for name, value in want.items():
        value = zero if value is None else value
        difference = float((got.get(name, zero) - value).norm())
        floor = FLOOR[dtype] * length[scope.group_of[name]] ** 0.5
        if not difference <= TOLERANCE[dtype] * float(value.norm()) + floor:
            wrong[name] = difference / max(float(value.norm()), 1e-300)
    return wrong


def _same_losses(first: Tensor, second: Tensor, tolerance: float) -> None:
    with torch.no_grad():
        same = first.shape == second.shape and bool(((first - second).abs() <= tolerance * first.abs().max()).all())
    if not same:
        raise ValueError(
            "projected_gradients: compute_losses must give the same losses each time it is called, got different "
            "ones; draw data and noise outside of it, or set verify=False"
        )


def coarsest(dtypes: Collection[torch.dtype]) -> torch.dtype:
    """The floating dtype with the largest rounding error."""
    return max((dtype for dtype in dtypes if dtype.is_floating_point), key=lambda dtype: torch.finfo(dtype).eps)
