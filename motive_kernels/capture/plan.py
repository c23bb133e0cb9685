"""The route of each parameter's gradients, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from motive_kernels.capture.rules import rule_for
from motive_kernels.capture.scope import Scope

LAYER, OPERAND, LATE, STREAM = "layer", "operand", "late operand", "stream"
"""The ways to serve a parameter, in the order in which they are tried: its layer's rule; hooks where operations use it,
at once or where it meets data that requires gradients; its own autograd gradient, a backward pass a sample."""


@dataclass(frozen=True)
class Misfit:
    """A parameter that cannot be served as planned.

    Attributes:
        to: the way to try next.
        reason: what was seen.
    """

    to: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """Which way serves each parameter. Immutable: a parameter that does not fit makes a new plan.

    Attributes:
        served: name -> LAYER, OPERAND, LATE or STREAM.
        reasons: name -> why it is not served by the way that was tried before.
        alone: weights whose layer's input no other layer sees, so that it may be kept as its sketch.
        checked: samples in the largest batch in which every hook's rows were seen to belong to their sample; 0: none.
        proved: samples in the largest batch whose gradients were compared with ordinary ones; 0: none.
        unproved: parameters without an ordinary gradient to compare with, because their weights are offloaded.
    """

    served: Mapping[str, str]
    reasons: Mapping[str, str] = field(default_factory=dict)
    alone: frozenset[str] = frozenset()
    checked: int = 0
    proved: int = 0
    unproved: frozenset[str] = frozenset()

    @classmethod
    def first(cls, scope: Scope) -> Plan:
        """The plan before anything is known: by type of layer."""
        served: dict[str, str] = {}
        for module, own in scope.owners.items():
            rule = rule_for(module)
            for attribute, name in own.items():
                fits = rule is not None and attribute in rule.attributes
                # A parameter that two modules own is served alike in both.
                served[name] = LAYER if fits and served.get(name, LAYER) == LAYER else OPERAND
        if scope.route == STREAM:
            return cls(dict.fromkeys(served, STREAM), dict.fromkeys(served, "route='stream'"))
        return cls(served)

    @property
    def hooked(self) -> bool:
        """Whether any parameter needs hooks; the rest needs no check."""
        return any(way != STREAM for way in self.served.values())

    def fits(self, n: int, verify: bool) -> bool:
        """Whether a batch of n samples may run by this plan without another look."""
        known = min(self.checked, self.proved) if verify else self.checked
        return not self.hooked or known >= min(n, 2)

    def rerouted(self, misfits: Mapping[str, Misfit], scope: Scope) -> Plan:
        """The plan in which these parameters are served by their next way, unchecked.

        Raises:
            ValueError: the scope's route does not allow it.
        """
        refused = {name: misfit.reason for name, misfit in misfits.items() if misfit.to == STREAM}
        if scope.route == "factorized" and refused:
            name, reason = next(iter(refused.items()))
            raise ValueError(
                f"projected_gradients: parameters must fit the factorized route, got {name!r} ({reason}) and "
                f"{len(refused) - 1} others; use route='auto' or 'stream', or leave them out with parameters="
            )
        served = {**self.served, **{name: misfit.to for name, misfit in misfits.items()}}
        reasons = {**self.reasons, **{name: misfit.reason for name, misfit in misfits.items()}}
        return replace(self, served=served, reasons=reasons, alone=frozenset(), checked=0, proved=0)
