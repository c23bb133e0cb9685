"""Choice of the parameters to attribute; restores the model afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from motive_kernels.projection.projector import Projector, canonical_name


def select_parameters(
    model: nn.Module, projector: Projector, parameters: Collection[str] | None = None, prefix: str = ""
) -> dict[str, nn.Parameter]:
    """The model's parameters that the projector maps, by the projector's names.

    Args:
        model: any module; names are those of its state dict without wrapper prefixes.
        projector: its names are ``prefix`` + the model's canonical names.
        parameters: the projector's names to keep; None for all.
        prefix: component of the model in a larger pipeline, e.g. ``transformer.``.

    Raises:
        ValueError: a name is in the projector and not in the model, or its shape differs.
    """
    own = {prefix + canonical_name(name): parameter for name, parameter in model.named_parameters()}
    wanted = [name for name in projector.shapes if name.startswith(prefix)] if parameters is None else parameters
    chosen = {}
    for name in wanted:
        if name not in own or name not in projector.shapes:
            where = "the model" if name not in own else "the projector"
            raise ValueError(
                f"projected_gradients: parameters must be in both the model and the projector, got {name!r}, which is "
                f"not in {where}; make the projector from this model's named_parameters()"
            )
        shape = tuple(own[name].shape) or (1,)
        if shape != projector.shapes[name]:
            raise ValueError(
                f"projected_gradients: {name} must be {list(projector.shapes[name])}, got {list(shape)}; "
                "make the projector from this model's named_parameters()"
            )
        chosen[name] = own[name]
    if not chosen:
        raise ValueError(f"projected_gradients: no parameter's name starts with {prefix!r}; check the prefix")
    return chosen


def owners(model: nn.Module, chosen: Mapping[str, nn.Parameter]) -> dict[nn.Module, dict[str, str]]:
    """Modules that hold chosen parameters: module -> {attribute: the projector's name}."""
    names = {id(parameter): name for name, parameter in chosen.items()}
    found: dict[nn.Module, dict[str, str]] = {}
    for module in model.modules():
        own = {
            attribute: names[id(parameter)]
            for attribute, parameter in module._parameters.items()
            if parameter is not None and id(parameter) in names
        }
        if own:
            found[module] = own
    return found


@contextmanager
def only_these_require_grad(model: nn.Module, chosen: Collection[nn.Parameter]) -> Iterator[None]:
    """Inside, exactly ``chosen`` require gradients and no .grad is set; afterwards the model is as it was."""
    kept = {id(parameter) for parameter in chosen}
    before = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        for parameter, _, _ in before:
            parameter.grad = None
            parameter.requires_grad_(id(parameter) in kept)
        yield
    finally:
        for parameter, required, grad in before:
            parameter.requires_grad_(required)
            parameter.grad = grad
