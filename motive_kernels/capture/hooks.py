"""Identity functions on layer outputs, through which output gradients reach whoever collects them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

Take = Callable[..., None]
"""Turns an output gradient into parameter gradients: take(sums, dy, *saved) adds them to sums."""


class CannotFollow(Exception):
    """A stand-in is used in a way that no hook can follow."""

    def __init__(self, names: Iterable[str], reason: str) -> None:
        super().__init__(reason)
        self.names = tuple(names)


class Receiver(Protocol):
    """Collects output gradients during one backward pass."""

    def receive(self, names: Mapping[str, str], dy: Tensor, take: Take, saved: tuple[Tensor, ...]) -> None:
        """Handle the gradient dy of one hooked output; names: attribute -> parameter name."""


class Channel:
    """Connects the hooks of one forward pass with the receiver of each backward pass over its graph.

    Attributes:
        anchor: a scalar that requires a gradient, so that every hook takes part in every backward pass.
    """

    def __init__(self) -> None:
        self.anchor = torch.zeros((), requires_grad=True)
        self._receiver: Receiver | None = None

    @contextmanager
    def to(self, receiver: Receiver) -> Iterator[None]:
        """Inside, hooks hand their gradients to this receiver; outside, they do nothing."""
        self._receiver = receiver
        try:
            yield
        finally:
            self._receiver = None

    def hook(self, output: Tensor, names: Mapping[str, str], take: Take, *saved: Tensor) -> Tensor:
        """``output``, whose gradient goes to the receiver together with the saved tensors.

        Args:
            output: of a layer or an operation.
            names: attribute -> parameter name, of the parameters that take serves.
            take: called as take(sums, dy, *saved) by receivers that add gradients up.
            saved: kept until the backward pass.
        """
        return _Hook.apply(output, self.anchor, self, names, take, *saved)  # type: ignore[return-value]

    def operation(self, names: Iterable[str], data: Sequence[Tensor]) -> AbstractContextManager[None]:
        """Entered around an operation that joins these parameters with data, and is done again in the backward pass."""
        return nullcontext()

    def deliver(self, names: Mapping[str, str], dy: Tensor, take: Take, saved: tuple[Tensor, ...]) -> None:
        """Hand one gradient to the receiver, if there is one."""
        if self._receiver is not None:
            self._receiver.receive(names, dy, take, saved)


class _Hook(torch.autograd.Function):
    """The identity; its backward hands the gradient to the channel.

    The output shares memory with the input but is no view of it, so that what follows may change it in place. What
    is saved goes through autograd, so that activation checkpointing drops it and makes it again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        anchor: Tensor,
        channel: Channel,
        names: Mapping[str, str],
        take: Take,
        *saved: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(*saved)
        ctx.channel, ctx.names, ctx.take = channel, names, take
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            ctx.channel.deliver(ctx.names, grads[0], ctx.take, ctx.saved_tensors)
        return grads[0], *(None,) * (len(ctx.needs_input_grad) - 1)
