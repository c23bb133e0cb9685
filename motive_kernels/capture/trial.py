"""A forward and backward pass that looks at a model: does every parameter fit the way that is planned for it?"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from motive_kernels.capture.attach import LayerHook, attached
from motive_kernels.capture.hooks import CannotFollow, Channel, Take
from motive_kernels.capture.operands import Operand
from motive_kernels.capture.passes import checked
from motive_kernels.capture.plan import LATE, LAYER, OPERAND, STREAM, Misfit, Plan
from motive_kernels.capture.rules import Rule, agrees, is_plain
from motive_kernels.capture.scope import Scope


@dataclass(frozen=True)
class Trial:
    """What one pass showed.

    Attributes:
        misfits: parameters that need another way.
        alone: weights whose layer's input no other layer sees.
        n: samples for which rows were checked; 0 where no gradient arrived that is finite and not zero.
        dtypes: of the hooked outputs.
    """

    misfits: Mapping[str, Misfit]
    alone: frozenset[str] = frozenset()
    n: int = 0
    dtypes: frozenset[torch.dtype] = frozenset()


def trial(scope: Scope, plan: Plan, compute_losses: Callable[[], Tensor]) -> Trial:
    """Run one forward pass, and a backward pass of one sample's loss.

    Raises:
        ValueError: losses that do not fit, or reentrant checkpointing.
    """
    channel, layers = _TrialChannel(), _Layers()
    watched = {name: p for name, p in scope.chosen.items() if plan.served[name] != STREAM}
    free = list(scope.chosen.values())

    def layer_hook(rule: Rule, own: Mapping[str, str]) -> LayerHook:
        return layers.hook(channel, rule, own)

    try:
        with attached(scope, plan, channel, layer_hook, free, freeze_inside=True):
            losses = compute_losses()
            losses = checked(losses.value if isinstance(losses, Operand) else losses)
            _refuse_reentrant(losses)
            losses = losses if losses.ndim == 1 else losses.sum(1)
            arrivals = _Arrivals(len(losses), _telling(losses))
            with channel.to(arrivals):
                inputs = [channel.anchor, *watched.values()]
                grads = torch.autograd.grad(losses[arrivals.sample], inputs, allow_unused=True)[1:]
    except CannotFollow as error:
        return Trial(dict.fromkeys(error.names, Misfit(STREAM, str(error))))
    direct = [name for name, grad in zip(watched, grads, strict=True) if grad is not None]
    return Trial(
        _misfits(plan, watched, layers.disagree, direct, arrivals),
        frozenset(layers.inputs.alone),
        len(losses) if arrivals.seen else 0,
        frozenset(arrivals.dtypes),
    )


class _TrialChannel(Channel):
    """Refuses operations that cannot be done again: they draw random numbers, or change running statistics."""

    @contextmanager
    def operation(self, names: Iterable[str], data: Sequence[Tensor]) -> Iterator[None]:
        random, values = _random_state(), [value.clone() for value in data]
        yield
        if not _same(random, _random_state()):
            raise CannotFollow(names, "it is used in an operation that draws random numbers")
        if not _same(values, data):
            raise CannotFollow(names, "it is used in an operation that changes data in place")


def _random_state() -> list[Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())]


def _same(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    """Whether all numbers are the same, not-a-number included."""
    return all(bool(((a == b) | (a != a)).all()) for a, b in zip(before, after, strict=True))


def _misfits(
    plan: Plan, watched: Mapping[str, Any], disagree: Mapping[str, str], direct: list[str], arrivals: _Arrivals
) -> dict[str, Misfit]:
    """The parameters to reroute, the surest signs first: later ones may only follow from these."""
    if disagree:
        return {name: Misfit(OPERAND, reason) for name, reason in disagree.items()}
    if direct:
        layers = [name for name in direct if plan.served[name] == LAYER]
        if layers:
            return dict.fromkeys(layers, Misfit(OPERAND, "it is used outside its layer"))
        return dict.fromkeys(direct, Misfit(STREAM, "it is used where no stand-in can be seen"))
    early = {name: why for name, why in arrivals.wrong.items() if plan.served[name] == OPERAND}
    if early:
        return {name: Misfit(LATE, why) for name, why in early.items()}
    if arrivals.wrong:
        return {name: Misfit(STREAM, why) for name, why in arrivals.wrong.items()}
    unreached = [name for name in watched if name not in arrivals.reached]
    return dict.fromkeys(unreached, Misfit(STREAM, "no gradient reached a hook of it"))


class _Layers:
    """What the hooks of layers see in the forward pass.

    Attributes:
        disagree: parameters of layers that do not compute what their rule takes them for, with the reason.
        inputs: which layers see an input alone.
    """

    def __init__(self) -> None:
        self.disagree: dict[str, str] = {}
        self.inputs = _Inputs()

    def hook(self, channel: Channel, rule: Rule, own: Mapping[str, str]) -> LayerHook:
        def hook(module: nn.Module, x: Tensor, output: Tensor) -> Tensor:
            self.inputs.note(x, own.get("weight"))
            if not is_plain(module) and not agrees(rule, module, x.detach().to(output.device), output):
                reason = f"its layer ({type(module).__name__}) does not compute what it is named for"
                self.disagree.update(dict.fromkeys(own.values(), reason))
            return channel.hook(output, own, _take_nothing)

        return hook


class _Inputs:
    """Which layers see an input that no other layer sees, so that it may be kept in a shorter form.

    Attributes:
        alone: names of their weights.
    """

    def __init__(self) -> None:
        self.alone: set[str] = set()
        self._seen: dict[int, tuple[weakref.ref[Tensor], str | None]] = {}

    def note(self, x: Tensor, name: str | None) -> None:
        """A layer with this weight, or none that is wanted, has seen x."""
        before = self._seen.get(id(x))
        if before is not None and before[0]() is x:
            self.alone.discard(before[1] or "")
            return
        self._seen[id(x)] = (weakref.ref(x), name)
        if name is not None:
            self.alone.add(name)


class _Arrivals:
    """Receiver of one sample's gradient: it must lie in that sample's rows and nowhere else.

    Attributes:
        wrong: parameters whose hooks saw otherwise, with what they saw.
        reached: parameters that any hook reported.
        seen: whether any gradient was finite and not zero.
        dtypes: of the gradients.
    """

    def __init__(self, n: int, sample: int) -> None:
        self.n, self.sample = n, sample
        self.wrong: dict[str, str] = {}
        self.reached: set[str] = set()
        self.seen = False
        self.dtypes: set[torch.dtype] = set()

    def receive(self, names: Mapping[str, str], dy: Tensor, take: Take, saved: tuple[Tensor, ...]) -> None:
        self.reached.update(names.values())
        self.dtypes.add(dy.dtype)
        # 0 times a non-finite number of another sample is not a sign of anything.
        self.seen = self.seen or bool(_nonzero(dy))
        rows = dy.shape[0] if dy.ndim else 0
        if rows and rows % self.n == 0:
            first = self.sample * (rows // self.n)
            if not _nonzero(dy[:first]) and not _nonzero(dy[first + rows // self.n :]):
                return
        reason = f"of the {self.n} samples, one alone must own a block of rows, got {list(dy.shape)}"
        self.wrong.update(dict.fromkeys(names.values(), reason))


def _nonzero(part: Tensor) -> bool:
    return bool((part.isfinite() & (part != 0)).any())


def _take_nothing(*_: Any) -> None:
    """A trial adds no gradients up."""


def _telling(losses: Tensor) -> int:
    """A sample whose loss is finite, if possible not zero, from the middle of the batch."""
    finite = losses.detach().isfinite()
    for candidates in (finite & (losses.detach() != 0), finite):
        indices = candidates.nonzero()
        if len(indices):
            return int(indices[len(indices) // 2])
    return 0


def _refuse_reentrant(losses: Tensor) -> None:
    """Reentrant checkpointing runs a backward pass inside the backward pass, which hooks cannot take part in."""
    seen, nodes = set(), [losses.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == "CheckpointFunctionBackward":
            raise ValueError(
                "projected_gradients: activation checkpointing must be non-reentrant, got use_reentrant=True; "
                "call checkpoint(..., use_reentrant=False), or "
                "gradient_checkpointing_enable(gradient_checkpointing_kwargs={'use_reentrant': False})"
            )
        nodes.extend(parent for parent, _ in node.next_functions)
