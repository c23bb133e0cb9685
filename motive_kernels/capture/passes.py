"""One forward pass with hooks, and the backward passes over its graph."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from motive_kernels.capture.attach import LayerHook, attached
from motive_kernels.capture.hooks import CannotFollow, Channel
from motive_kernels.capture.plan import STREAM, Plan
from motive_kernels.capture.rules import LinearRule, Rule
from motive_kernels.capture.scope import Scope
from motive_kernels.capture.stream import stream_into
from motive_kernels.capture.sums import Sums, WeightedSums


class Pass:
    """Runs batches by a plan: inside ``with``, run forward passes and hand their losses to ``backward``.

    Attributes:
        forms: matrix parameter -> the form that the last backward pass chose for it.
    """

    def __init__(self, scope: Scope, plan: Plan) -> None:
        self._scope = scope
        self._plan = plan
        self._streamed = {name: p for name, p in scope.chosen.items() if plan.served[name] == STREAM}
        self._channel = Channel()
        self._stack = ExitStack()
        self.forms: Mapping[str, str] = {}

    def __enter__(self) -> Pass:
        free = list(self._streamed.values())
        self._stack.enter_context(attached(self._scope, self._plan, self._channel, self._layer_hook, free))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._stack.close()
        if isinstance(error, CannotFollow):
            raise ValueError(
                f"projected_gradients: {error.names[0]} is used in another way than in the batch that was probed "
                f"({error}); probe the capture again"
            ) from error

    def backward(self, losses: Tensor) -> Tensor:
        """Projected gradients of losses [n] or [n, p]: float32 [n, groups, k] or [n, p, groups, k]."""
        losses = checked(losses)
        sums = [Sums(self._scope, len(losses)) for _ in columns(losses)]
        self._run(losses, sums)
        z = torch.stack([each.result(losses.device) for each in sums], 1).permute(2, 1, 0, 3)  # [n, p, groups, k]
        return z if losses.ndim == 2 else z[:, 0]

    def weighted(self, losses: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Of each parameter, the sum over losses of weight times projected gradient: name -> float64 [k].

        Args:
            losses, weights: [n] or [n, p].
        """
        sums = [WeightedSums(self._scope, column) for column in columns(weights)]
        self._run(losses, sums)
        totals: dict[str, Tensor] = {}
        for each in sums:
            for name, value in each.of.items():
                totals[name] = totals[name] + value if name in totals else value
        return totals

    def _run(self, losses: Tensor, sums: list[Any]) -> None:
        """A backward pass of each column of losses."""
        for j, column in enumerate(columns(losses)):
            keep_graph = j + 1 < len(sums)
            if self._streamed:
                stream_into(sums[j], column, self._streamed, keep_graph=self._plan.hooked or keep_graph)
            if self._plan.hooked:
                with self._channel.to(sums[j]):
                    torch.autograd.grad(
                        column.sum(), [self._channel.anchor], retain_graph=keep_graph, allow_unused=True
                    )
        self.forms = {name: form for each in sums for name, form in each.forms.items()}

    def _layer_hook(self, rule: Rule, own: Mapping[str, str]) -> LayerHook:
        scope, channel, weight = self._scope, self._channel, own.get("weight")

        def hook(module: nn.Module, x: Tensor, output: Tensor) -> Tensor:
            x = x.detach().to(output.device)
            if isinstance(rule, LinearRule) and weight in self._plan.alone:
                linear, kept = rule, scope.sketched(weight, x)
                if kept is not None:
                    return channel.hook(output, own, lambda sums, dy, x: linear.take_sketched(sums, own, x, dy), kept)
            return channel.hook(output, own, lambda sums, dy, x: rule.take(sums, module, own, x, dy), x)

        return hook


def columns(losses: Tensor) -> tuple[Tensor, ...]:
    """The losses [n] of each part of [n, p], or of [n] itself."""
    return (losses if losses.ndim == 2 else losses[:, None]).unbind(1)


def checked(losses: Tensor) -> Tensor:
    """Losses that a capture can take.

    Raises:
        ValueError: they are not [n] or [n, p], or do not depend on the parameters.
    """
    if not isinstance(losses, Tensor) or losses.ndim not in (1, 2) or not losses.numel() or not losses.requires_grad:
        got = list(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(
            "projected_gradients: compute_losses must return a float tensor [n] or [n, p] that depends on the "
            f"parameters, got {got}; return one loss a sample, or several, not detached by no_grad or by a checkpoint "
            "without use_reentrant=False"
        )
    return losses
