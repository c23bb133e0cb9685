"""Finding the plan of a model: try, reroute what does not fit, prove the rest."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from motive_kernels.capture.plan import STREAM, Misfit, Plan
from motive_kernels.capture.proof import Proof, coarsest, offloaded, prove
from motive_kernels.capture.replay import Snapshot
from motive_kernels.capture.scope import Scope
from motive_kernels.capture.trial import Trial, trial

logger = logging.getLogger("motive_kernels")


def probe(scope: Scope, plan: Plan, compute_losses: Callable[[], Tensor], *, verify: bool = True) -> Plan:
    """The plan that fits this batch, starting from one that may not.

    Args:
        scope: what is captured.
        plan: where to start, Plan.first(scope) or the plan of an earlier batch.
        compute_losses: runs one forward pass of the batch; called several times, with the same random numbers.
        verify: whether to prove the plan by an ordinary backward pass.

    Raises:
        ValueError: losses that do not fit, a parameter that the scope's route does not allow for, or gradients that
            stay wrong.
    """
    start, doubted = Snapshot(scope.model), False
    dtypes = {parameter.dtype for parameter in scope.chosen.values()}
    try:
        while plan.hooked or doubted:
            start.restore()
            seen = trial(scope, plan, compute_losses) if plan.hooked else Trial({})
            dtypes |= seen.dtypes
            if seen.misfits:
                plan = _rerouted(scope, plan, seen.misfits)
                continue
            plan = replace(plan, alone=seen.alone, checked=max(plan.checked, seen.n))
            if not verify:
                break
            proof = prove(scope, plan, compute_losses, start, coarsest(dtypes))
            if not proof.wrong:
                plan = _proved(scope, plan, proof)
                break
            plan, doubted = _rerouted(scope, plan, _refuted(plan, proof)), True
    finally:
        start.restore()
    _log(scope, plan)
    return plan


def _log(scope: Scope, plan: Plan) -> None:
    """One line for a plan: where it runs, how, and whether it was proved."""
    ways = Counter(plan.served.values())
    devices = sorted({str(p.device) for p in scope.chosen.values()})
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in scope.chosen.values()})
    proof = f"proved with {plan.proved} samples" if plan.proved else "not proved"
    logger.info(
        "capture: %d parameters (%s) on %s in %s, projection by %s, %s",
        len(plan.served), ", ".join(f"{way}: {count}" for way, count in ways.items()), ", ".join(devices),
        ", ".join(dtypes), scope.impl or "the first implementation that fits", proof,
    )  # fmt: skip


def _proved(scope: Scope, plan: Plan, proof: Proof) -> Plan:
    unproved = offloaded(scope)
    if unproved:
        logger.info("%d offloaded parameters have no ordinary gradient to compare with", len(unproved))
    return replace(plan, proved=max(plan.proved, proof.n), unproved=unproved)


def _refuted(plan: Plan, proof: Proof) -> dict[str, Misfit]:
    """Parameters whose gradients differ from ordinary ones.

    Raises:
        ValueError: one of them is streamed already.
    """
    streamed = [name for name in proof.wrong if plan.served[name] == STREAM]
    if streamed:
        raise ValueError(
            f"projected_gradients: per-sample gradients must add up to the ordinary gradient, got a difference of "
            f"{proof.wrong[streamed[0]]:.1e} for {streamed[0]} and {len(streamed) - 1} others, a backward pass a sample "
            "included; a function in the model has a backward that is not linear, or changes with each call"
        )
    return {
        name: Misfit(STREAM, f"its gradients differ from ordinary ones by {difference:.1e}")
        for name, difference in proof.wrong.items()
    }


def _rerouted(scope: Scope, plan: Plan, misfits: Mapping[str, Misfit]) -> Plan:
    for name, misfit in misfits.items():
        logger.info("%s: %s does not fit: %s; next: %s", name, plan.served[name], misfit.reason, misfit.to)
    return plan.rerouted(misfits, scope)
