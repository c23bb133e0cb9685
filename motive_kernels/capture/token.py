"""The token route: one backward pass for all samples, no weight gradient.

Weights are frozen, so autograd computes input gradients only. Each layer that owns chosen parameters is
tapped: its output passes through an identity whose backward receives the output gradient, and the layer's
rule (rules.py) turns the kept input and that gradient into projected per-sample parameter gradients.
Parameters that a module uses directly (modulation tables of shape [1, ...]) are expanded to one copy a
sample, whose gradients then arrive sample by sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from motive_kernels.capture.parameters import only_these_require_grad
from motive_kernels.capture.rules import rule_for
from motive_kernels.projection import Projector


class Capture:
    """What the taps of one pass share.

    Attributes:
        projector, impl: how to project.
        z: float32 [n, k], set once the losses are known and before the backward pass.
        anchor: a scalar that requires a gradient, so that every tap takes part in the backward pass.
    """

    def __init__(self, projector: Projector, impl: str | None) -> None:
        self.projector = projector
        self.impl = impl
        self.z = torch.empty(0)
        self.anchor = torch.zeros((), requires_grad=True)

    def samples(self, name: str, value: Tensor) -> Tensor:
        """value [n m, ...] as [n, m, ...]: sample s owns rows s m to (s + 1) m.

        Raises:
            ValueError: the leading axis cannot be split into the samples.
        """
        n = len(self.z)
        if value.ndim < 1 or value.shape[0] % n:
            raise ValueError(
                f"projected_gradients: the layer of {name} must see a leading axis that is a multiple of the {n} "
                f"samples, got {list(value.shape)}; use route='stream', or leave it out with parameters="
            )
        return value.reshape(n, value.shape[0] // n, *value.shape[1:])

    def add(self, name: str, grad: Tensor) -> None:
        """Add per-sample gradients [n, *shape] of one parameter."""
        self.projector.project_into(self.z, name, grad, impl=self.impl)

    def add_outer(self, name: str, x: Tensor, dy: Tensor) -> None:
        """Add sum_t dy_t x_t^T of one parameter, x [n, t, i], dy [n, t, o]."""
        self.projector.project_outer_into(self.z, name, x, dy, impl=self.impl)


class _Tap(torch.autograd.Function):
    """The identity on a layer's output; its backward hands (input, output gradient) to the layer's rule."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, anchor: Tensor, x: Tensor, take: Callable[[Tensor, Tensor], None]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.take = take
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            ctx.take(x, grads[0])
        return grads[0], None, None, None


class _Expand(torch.autograd.Function):
    """A parameter [1, ...] as one copy for each row of a batch; its backward receives each copy's gradient."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, anchor: Tensor, rows: int, take: Callable[[Tensor], None]) -> Tensor:
        ctx.take = take
        return parameter.expand(rows, *parameter.shape[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            ctx.take(grads[0])
        return None, None, None, None


def token_gradients(
    model: nn.Module,
    compute_losses: Callable[[], Tensor],
    projector: Projector,
    chosen: Mapping[str, nn.Parameter],
    impl: str | None = None,
) -> Tensor:
    """Projected gradients of all samples' losses from one backward pass: float32 [n, k].

    Args:
        model: left as found, also after an exception. Samples must be rows of every layer's leading axis.
        compute_losses: runs one forward pass and returns the n per-sample losses.
        projector: the map.
        chosen: parameters to differentiate by, by the projector's names.
        impl: projection implementation to force, or None.

    Raises:
        ValueError: a parameter that has no rule (see ``uncovered``), or a layer whose rows are not samples.
    """
    missing = uncovered(model, chosen)
    if missing:
        raise ValueError(
            f"projected_gradients: parameters must have a token rule, got {missing[0]!r} and {len(missing) - 1} others "
            "without; use route='stream', or leave them out with parameters="
        )
    capture = Capture(projector, impl)
    with ExitStack() as stack:
        stack.enter_context(only_these_require_grad(model, []))
        for module, own in owners(model, chosen).items():
            _tap(stack, capture, module, own)
        stack.enter_context(torch.enable_grad())
        losses = compute_losses()
        capture.z = projector.zeros(len(losses), losses.device)
        losses.sum().backward(inputs=[capture.anchor])
    return capture.z


def owners(model: nn.Module, chosen: Mapping[str, nn.Parameter]) -> dict[nn.Module, dict[str, str]]:
    """Modules that hold chosen parameters: module -> {attribute: the projector's name}."""
    names = {id(parameter): name for name, parameter in chosen.items()}
    found: dict[nn.Module, dict[str, str]] = {}
    for module in model.modules():
        own = {
            attribute: names[id(parameter)]
            for attribute, parameter in module.named_parameters(recurse=False)
            if id(parameter) in names
        }
        if own:
            found[module] = own
    return found


def uncovered(model: nn.Module, chosen: Mapping[str, nn.Parameter]) -> list[str]:
    """Names of chosen parameters that the token route has no rule for, or that two modules share."""
    missing, seen = [], set()
    for module, own in owners(model, chosen).items():
        rule = rule_for(module)
        for attribute, name in own.items():
            parameter = getattr(module, attribute)
            covered = attribute in rule.attributes if rule else parameter.ndim > 1 and parameter.shape[0] == 1
            if not covered or name in seen:
                missing.append(name)
            seen.add(name)
    return missing


def _tap(stack: ExitStack, capture: Capture, module: nn.Module, own: Mapping[str, str]) -> None:
    rule = rule_for(module)
    if rule is None:
        _expand_tables(stack, capture, module, own)
        return

    def take(x: Tensor, dy: Tensor) -> None:
        rule.take(capture, module, own, x, dy)

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return _Tap.apply(output, capture.anchor, inputs[0].detach(), take)  # type: ignore[return-value]

    stack.callback(module.register_forward_hook(hook).remove)


def _expand_tables(stack: ExitStack, capture: Capture, module: nn.Module, own: Mapping[str, str]) -> None:
    """While the module runs, its tables are tensors [rows, ...] instead of parameters [1, ...]."""

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rows = next(v.shape[0] for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.ndim > 1)
        for attribute, name in own.items():
            parameter = module._parameters.pop(attribute)
            assert parameter is not None
            put_back[attribute] = parameter

            def take(grad: Tensor, name: str = name) -> None:
                per_sample = capture.samples(name, grad).sum(1, dtype=torch.float32)
                capture.add(name, per_sample[:, None])

            module.__dict__[attribute] = _Expand.apply(parameter, capture.anchor, rows, take)

    def after(*_: Any) -> None:
        for attribute, parameter in list(put_back.items()):
            module.__dict__.pop(attribute, None)
            module._parameters[attribute] = parameter
            del put_back[attribute]

    put_back: dict[str, nn.Parameter] = {}
    handles = (
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after, always_call=True),
    )
    for handle in handles:
        stack.callback(handle.remove)
    stack.callback(after)
