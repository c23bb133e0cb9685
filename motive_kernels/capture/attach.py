"""Hooks on a model's layers and stand-ins for its other parameters, for the length of a pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from motive_kernels.capture.hooks import CannotFollow, Channel
from motive_kernels.capture.operands import Operand
from motive_kernels.capture.parameters import only_these_require_grad
from motive_kernels.capture.plan import LATE, LAYER, OPERAND, Plan
from motive_kernels.capture.rules import Rule, rule_for
from motive_kernels.capture.scope import Scope

LayerHook = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Called with a layer, its input and its output; returns the hooked output."""


@contextmanager
def attached(
    scope: Scope,
    plan: Plan,
    channel: Channel,
    layer_hook: Callable[[Rule, Mapping[str, str]], LayerHook],
    free: Collection[nn.Parameter],
    *,
    freeze_inside: bool = False,
) -> Iterator[None]:
    """Inside, forward passes run with hooks as planned; afterwards the model is as it was.

    Args:
        scope, plan: what to hook and how.
        channel: what the hooks report to.
        layer_hook: makes the hook of a layer from its rule and its parameters (attribute -> name).
        free: the parameters that require gradients.
        freeze_inside: whether those that a layer's rule serves require none while their layer runs, so that a gradient
            that reaches them shows a use outside of it.
    """
    with ExitStack() as stack:
        stack.enter_context(only_these_require_grad(scope.model, free))
        stack.enter_context(uncompiled())
        stack.enter_context(torch.enable_grad())
        for module, own in scope.owners.items():
            for attribute, name in own.items():
                if plan.served[name] in (OPERAND, LATE):
                    late = plan.served[name] == LATE
                    module.__dict__[attribute] = Operand.of(channel, name, scope.chosen[name], late)
                    stack.callback(module.__dict__.pop, attribute, None)
            served = {attribute: name for attribute, name in own.items() if plan.served[name] == LAYER}
            rule = rule_for(module)
            if served and rule is not None:
                if freeze_inside:
                    _freeze_inside(stack, module, [scope.chosen[name] for name in served.values()])
                hook = _forward_hook(layer_hook(rule, served))
                stack.callback(module.register_forward_hook(hook, with_kwargs=True, prepend=True).remove)
        yield


def _forward_hook(hook: LayerHook) -> Callable[..., Tensor]:
    def forward_hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        x = args[0] if args else next(iter(kwargs.values()))
        if isinstance(x, Operand):
            raise CannotFollow(x.leaves, "a layer takes a function of it")
        return hook(module, x, output)

    return forward_hook


def _freeze_inside(stack: ExitStack, module: nn.Module, parameters: Collection[nn.Parameter]) -> None:
    def before(*_: Any) -> None:
        for parameter in parameters:
            parameter.requires_grad_(False)

    def after(*_: Any) -> None:
        for parameter in parameters:
            parameter.requires_grad_(True)

    stack.callback(module.register_forward_pre_hook(before).remove)
    stack.callback(module.register_forward_hook(after, always_call=True).remove)


def uncompiled() -> AbstractContextManager[Any]:
    """Compiled code does not run hooks that came after it, so inside it runs as it was written."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    return torch.compiler.set_stance("force_eager")
