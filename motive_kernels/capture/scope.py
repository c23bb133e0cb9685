"""The scope of a capture: a model, its parameters in groups, and how their gradients are projected."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor, nn

from motive_kernels.capture.choice import factorized_is_cheaper
from motive_kernels.capture.parameters import owners, select_parameters
from motive_kernels.projection.projector import Projector
from motive_kernels.runtime.checks import check_choice

Route = Literal["auto", "factorized", "stream"]


@dataclass(frozen=True)
class Scope:
    """The fixed side of a capture; what is learnt about the model is its Plan.

    Attributes:
        model: left as it was found by every pass.
        projector, impl: how to project.
        route: which routes are allowed.
        chosen: the projector's name -> parameter of the model.
        group_of: name -> number of the vector that it adds to.
        groups: number of vectors of a sample.
        grouped: whether results have an axis of groups.
    """

    model: nn.Module
    projector: Projector
    impl: str | None
    route: Route
    chosen: Mapping[str, nn.Parameter]
    group_of: Mapping[str, int]
    groups: int
    grouped: bool

    @classmethod
    def of(
        cls,
        model: nn.Module,
        projector: Projector,
        route: Route,
        parameters: Collection[str] | None,
        prefix: str,
        groups: Mapping[str, Collection[str]] | None,
        impl: str | None,
    ) -> Scope:
        """Check a capture's arguments; they are those of GradientCapture."""
        check_choice("projected_gradients", "route", route, Route)
        if groups is not None and parameters is None:
            parameters = [name for names in groups.values() for name in names]
        chosen = select_parameters(model, projector, parameters, prefix)
        numbers = _group_numbers(chosen, groups)
        count = max(numbers.values()) + 1
        return cls(model, projector, impl, route, chosen, numbers, count, groups is not None)

    @cached_property
    def owners(self) -> dict[nn.Module, dict[str, str]]:
        """Module -> {attribute: name} of the chosen parameters that it holds."""
        return owners(self.model, self.chosen)

    def factorizes(self, name: str, t: int, x: Tensor) -> bool:
        """Whether the gradient of a matrix parameter is projected without forming it, for t tokens of a sample's x."""
        if not self.projector.has_factorized_form(name):
            return False
        o, i, k = self.projector.shapes[name][0], x.shape[-1], self.projector.dim
        return self.route == "factorized" or factorized_is_cheaper(t, o, i, k, x.dtype, x.device.type)

    def sketched(self, name: str, x: Tensor) -> Tensor | None:
        """What to keep of a layer's inputs [..., i] instead of them, or None to keep them."""
        t = x[..., 0].numel()
        return self.projector.sketch_inputs(name, x, impl=self.impl) if self.factorizes(name, t, x) else None


def _group_numbers(chosen: Mapping[str, nn.Parameter], groups: Mapping[str, Collection[str]] | None) -> dict[str, int]:
    """Parameter name -> number of its vector."""
    if groups is None:
        return dict.fromkeys(chosen, 0)
    numbers: dict[str, int] = {}
    for number, (group, names) in enumerate(groups.items()):
        for name in names:
            if name not in chosen or name in numbers:
                raise ValueError(
                    f"projected_gradients: groups must hold included parameters, each once, got {name!r} in {group!r}; "
                    "remove it"
                )
            numbers[name] = number
    if len(numbers) < len(chosen):
        left = next(name for name in chosen if name not in numbers)
        raise ValueError(f"projected_gradients: groups must hold every parameter, and none holds {left!r}; add it")
    return numbers
