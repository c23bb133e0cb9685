"""What a pass shares, and the identity function through which it sees output gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from motive_kernels.capture.costs import CostModel
from motive_kernels.projection.projector import Projector

SKIP, CHECK, TAKE = "skip", "check", "take"
"""What taps do in a backward pass: nothing; look whether the leading axis holds the samples; project."""


class Taps:
    """The state that all taps of a model share.

    Args:
        projector, impl: how to project.
        groups: parameter name -> number of the vector that it adds to.
        costs: decides between the forms of a matrix parameter, or None for the token form always.

    Attributes:
        mode: one of SKIP, CHECK, TAKE; set before a backward pass.
        anchor: a scalar that requires a gradient, so that every tap takes part in every backward pass.
        wrong: names whose layers were seen, in a CHECK pass, not to keep the samples apart, with what was seen.
        seen: whether any gradient that is not zero reached a tap in a CHECK pass.
        forms: name -> token or flat, as chosen in the last TAKE pass.
    """

    def __init__(self, projector: Projector, impl: str | None, groups: Mapping[str, int], costs: CostModel | None):
        self.projector = projector
        self.impl = impl
        self.costs = costs
        self.mode = SKIP
        self.anchor = torch.zeros((), requires_grad=True)
        self.wrong: dict[str, str] = {}
        self.seen = False
        self.forms: dict[str, str] = {}
        self.n = 0
        self._sample = 0
        self._groups = groups
        self._count = max(groups.values()) + 1
        self._z: dict[torch.device, Tensor] = {}

    def begin(self, mode: str, n: int = 0, sample: int = 0) -> None:
        """Set what the next backward pass is for: of n samples, or a CHECK of one of them."""
        self.mode = mode
        self.n = n
        self._sample = sample

    def clear(self) -> None:
        """Forget what has been added up."""
        self._z.clear()

    def result(self, device: torch.device) -> Tensor:
        """What has been added up: float32 [groups, n, k]."""
        total = self._on(device)
        for place, part in self._z.items():
            if place != device:
                total += part.to(device)
        return total

    def apply(self, output: Tensor, names: Mapping[str, str], take: Callable[..., None], *saved: Tensor) -> Tensor:
        """``output``, whose gradient will be handed to ``take`` with the saved tensors.

        Args:
            output: of a layer or an operation.
            names: attribute -> parameter name, of those that take serves.
            take: called as take(dy, *saved) in a TAKE pass.
            saved: kept until then.
        """
        return _Tap.apply(output, self.anchor, self, names, take, *saved)  # type: ignore[return-value]

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

    def row(self, name: str, sample: int, device: torch.device) -> Tensor:
        """The vector [1, k] of one sample that a parameter adds to."""
        return self._on(device)[self._groups[name], sample : sample + 1]

    def add(self, name: str, grad: Tensor) -> None:
        """Add per-sample gradients [n, *shape] of one parameter."""
        self.projector.project_into(self._on(grad.device)[self._groups[name]], name, grad, impl=self.impl)

    def add_outer(self, name: str, x: Tensor, dy: Tensor) -> None:
        """Add sum_t dy_t x_t^T of one parameter for x [n, t, i], dy [n, t, o]."""
        z = self._on(x.device)[self._groups[name]]
        o, i = dy.shape[2], x.shape[2]
        short = self.costs is not None and not self.costs.token_is_cheaper(x.shape[1], o, i, self.projector.dim)
        if short or not self.projector.has_token_form(name):
            self.forms[name] = "flat"
            grad = torch.bmm(dy.transpose(1, 2).float(), x.float()).reshape(self.n, *self.projector.shapes[name])
            self.projector.project_into(z, name, grad, impl=self.impl)
        else:
            self.forms[name] = "token"
            self.projector.project_outer_into(z, name, x, dy, impl=self.impl)

    def sketched(self, name: str, x: Tensor) -> Tensor | None:
        """What to keep of a layer's inputs [..., i] instead of them, or None to keep them."""
        t, (o, i) = x[..., 0].numel(), (self.projector.shapes[name][0], x.shape[-1])
        if self.costs is not None and not self.costs.token_is_cheaper(t, o, i, self.projector.dim):
            return None
        return self.projector.sketch_inputs(name, x, impl=self.impl)

    def add_sketched(self, name: str, sketched: Tensor, dy: Tensor) -> None:
        """As add_outer, with what ``sketched`` gave instead of x."""
        self.forms[name] = "token"
        z = self._on(dy.device)[self._groups[name]]
        self.projector.project_sketched_into(z, name, sketched, dy, impl=self.impl)

    def look(self, names: Mapping[str, str], dy: Tensor) -> None:
        """In a CHECK pass: the gradient of one sample's loss must lie in that sample's rows and nowhere else."""
        self.seen = self.seen or bool((dy.isfinite() & (dy != 0)).any())
        rows = dy.shape[0] if dy.ndim else 0
        size = rows // self.n
        if rows and rows % self.n == 0:
            first = self._sample * size
            # 0 times a non-finite number of another sample is not a sign of anything.
            others = [part.isfinite() & (part != 0) for part in (dy[:first], dy[first + size :])]
            if not any(bool(part.any()) for part in others):
                return
        for name in names.values():
            self.wrong[name] = f"of the {self.n} samples, one alone must own a block of rows, got {list(dy.shape)}"

    def _on(self, device: torch.device) -> Tensor:
        if device not in self._z:
            self._z[device] = torch.zeros(self._count, self.n, self.projector.dim, device=device)
        return self._z[device]


class _Tap(torch.autograd.Function):
    """The identity; its backward hands the gradient to the taps' owner.

    The output shares memory with the input but is no view of it, so that what follows may change it in place. What
    is saved goes through autograd, so that activation checkpointing drops it and makes it again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        anchor: Tensor,
        taps: Taps,
        names: Mapping[str, str],
        take: Callable[..., None],
        *saved: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(*saved)
        ctx.taps, ctx.names, ctx.take = taps, names, take
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            if ctx.taps.mode == TAKE:
                ctx.take(grads[0], *ctx.saved_tensors)
            elif ctx.taps.mode == CHECK:
                ctx.taps.look(ctx.names, grads[0])
        return grads[0], *(None,) * (len(ctx.needs_input_grad) - 1)
