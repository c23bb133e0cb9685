"""Projected gradients added up during a backward pass, in total or parameter by parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from motive_kernels.capture.hooks import Take
from motive_kernels.runtime.precision import outer_products

# Suffixes name axes: n sample, t token, o layer output, i layer input, k sketch.

if TYPE_CHECKING:
    from motive_kernels.capture.scope import Scope


class Sums:
    """The projected gradients of n samples, one vector a group.

    Args:
        scope: what is captured and how it is projected.
        n: samples.

    Attributes:
        forms: matrix parameter -> ``factorized`` or ``materialized``, as chosen for the shapes that were seen.
    """

    def __init__(self, scope: Scope, n: int) -> None:
        self.scope = scope
        self.n = n
        self.forms: dict[str, str] = {}
        self._z: dict[torch.device, Tensor] = {}

    def receive(self, names: Mapping[str, str], dy: Tensor, take: Take, saved: tuple[Tensor, ...]) -> None:
        """Add the parameter gradients of one hooked output."""
        take(self, dy, *saved)

    def result(self, device: torch.device) -> Tensor:
        """The vectors: float32 [groups, n, k]."""
        total = self._on(device)
        for place, part in self._z.items():
            if place != device:
                total += part.to(device)
        return total

    def samples(self, name: str, value: Tensor) -> Tensor:
        """value [n m, ...] as [n, m, ...]: sample s owns rows s m to (s + 1) m.

        Raises:
            ValueError: the leading axis cannot be split into the samples.
        """
        if value.ndim < 1 or value.shape[0] % self.n:
            raise ValueError(
                f"projected_gradients: the layer of {name} must see a leading axis that is a multiple of the {self.n} "
                f"samples, got {list(value.shape)}; use route='stream', or leave it out with parameters="
            )
        return value.reshape(self.n, value.shape[0] // self.n, *value.shape[1:])

    def add(self, name: str, grad: Tensor) -> None:
        """Add per-sample gradients [n, *shape] of one parameter."""
        with self._target(name, grad.device) as z:
            self.scope.projector.project_into(z, name, grad, impl=self.scope.impl)

    def add_sample(self, name: str, sample: int, grad: Tensor) -> None:
        """Add the gradient [*shape] of one parameter and sample."""
        with self._target(name, grad.device) as z:
            self.scope.projector.project_into(z[sample : sample + 1], name, grad[None], impl=self.scope.impl)

    def add_outer(self, name: str, x_nti: Tensor, dy_nto: Tensor) -> None:
        """Add sum_t dy_t x_t^T of one matrix parameter."""
        scope = self.scope
        if scope.factorizes(name, x_nti.shape[1], x_nti):
            self.forms[name] = "factorized"
            with self._target(name, x_nti.device) as z:
                scope.projector.project_outer_into(z, name, x_nti, dy_nto, impl=scope.impl)
        else:
            self.forms[name] = "materialized"
            self.add(name, outer_products(x_nti, dy_nto).reshape(self.n, *scope.projector.shapes[name]))

    def add_sketched(self, name: str, sketched_ntk: Tensor, dy_nto: Tensor) -> None:
        """As add_outer, with Scope.sketched of the inputs instead of them."""
        self.forms[name] = "factorized"
        with self._target(name, dy_nto.device) as z:
            self.scope.projector.project_sketched_into(z, name, sketched_ntk, dy_nto, impl=self.scope.impl)

    @contextmanager
    def _target(self, name: str, device: torch.device) -> Iterator[Tensor]:
        """Where the gradients of one parameter are added: float32 [n, k]."""
        yield self._on(device)[self.scope.group_of[name]]

    def _on(self, device: torch.device) -> Tensor:
        if device not in self._z:
            self._z[device] = torch.zeros(self.scope.groups, self.n, self.scope.projector.dim, device=device)
        return self._z[device]


class WeightedSums(Sums):
    """The sum over samples of weight times projected gradient, for each parameter by itself.

    Args:
        weights: [n].

    Attributes:
        of: parameter -> float64 [k] on the host; absent for a parameter that nothing was added to.
    """

    def __init__(self, scope: Scope, weights: Tensor) -> None:
        super().__init__(scope, len(weights))
        self.of: dict[str, Tensor] = {}
        self._weights = weights.detach().cpu().double()

    @contextmanager
    def _target(self, name: str, device: torch.device) -> Iterator[Tensor]:
        z = torch.zeros(self.n, self.scope.projector.dim, device=device)
        yield z
        total = self._weights @ z.cpu().double()
        self.of[name] = self.of[name] + total if name in self.of else total
