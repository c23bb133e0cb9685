"""Capturing projected per-sample gradients around forward and backward passes of any module."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from motive_kernels.capture.costs import CostModel
from motive_kernels.capture.operands import CannotTap, Operand
from motive_kernels.capture.parameters import only_these_require_grad, owners, select_parameters
from motive_kernels.capture.rules import LinearRule, Rule, agrees, is_plain, rule_for
from motive_kernels.capture.stream import stream_into
from motive_kernels.capture.taps import CHECK, SKIP, TAKE, Taps
from motive_kernels.projection.projector import Projector

ROUTES = ("auto", "token", "stream")

LAYER, OPERAND, LATE, STREAM = "layer", "operand", "late operand", "stream"
"""How a parameter is served: by its layer's rule, by taps where operations use it (at once, or where it meets data that
requires gradients), by its own autograd gradient. One that does not fit goes on to the next."""


class Rerouted(ValueError):
    """Parameters turned out not to be what their route takes them for; they have another route from now on."""


class Inputs:
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


class GradientCapture:
    """Projected per-sample gradients of one module, pass after pass.

    Inside ``with capture:``, run forward passes and hand their losses to ``backward``; or call the capture with a
    function that runs one. The module comes back exactly as it was: flags, hooks, parameters and .grad fields, also
    after an exception.

    On the token route weights are frozen, so autograd computes input gradients only; each layer's input and output
    gradient give its projected per-sample parameter gradients. The first backward pass checks what that rests on: that
    every layer's leading axis holds the samples' rows, sample by sample; that no parameter is used outside its layer;
    that classes derived from a known layer compute what it does. A parameter that fails takes another route. Modules
    compiled by torch.compile run uncompiled inside.

    Args:
        model: any module; its parameters need not require gradients beforehand.
        projector: made from this model's parameter shapes.
        route: ``token``: one backward pass for all samples, no weight gradients; every parameter must fit. ``stream``:
            one backward pass a sample. ``auto``: token, and stream for the parameters that do not fit.
        parameters: the projector's names to include; None for all that start with ``prefix``.
        prefix: what the projector's names have before the model's own.
        groups: name of a group -> the projector's names in it, for a vector of each group; with ``parameters`` None,
            the groups' parameters are the ones included.
        costs: speeds that decide between forms of a layer in ``auto``; None for the built-in ones.
        impl: projection implementation to force, or None.

    Attributes:
        routes: parameter name -> ``token``, ``flat`` (per-sample gradient formed and projected), ``closed`` (closed
            form), ``operand`` or ``stream``; complete after the first backward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        projector: Projector,
        *,
        route: str = "auto",
        parameters: Collection[str] | None = None,
        prefix: str = "",
        groups: Mapping[str, Collection[str]] | None = None,
        costs: CostModel | None = None,
        impl: str | None = None,
    ) -> None:
        if route not in ROUTES:
            raise ValueError(
                f"projected_gradients: route must be one of {', '.join(ROUTES)}, got {route!r}; choose one"
            )
        if groups is not None and parameters is None:
            parameters = [name for names in groups.values() for name in names]
        self._model = model
        self._route = route
        self._chosen = select_parameters(model, projector, parameters, prefix)
        self._grouped = groups is not None
        chosen_costs = (costs or CostModel()) if route == "auto" else None
        self._taps = Taps(projector, impl, _group_numbers(self._chosen, groups), chosen_costs)
        self._owners = owners(model, self._chosen)
        self._served = self._plan()
        self._uses_checked = False
        self._rows_checked = False
        self._inputs = Inputs()
        self._dry = False
        self._stack: ExitStack | None = None

    @property
    def routes(self) -> dict[str, str]:
        """Parameter name -> how its gradients were taken, as far as is known."""
        found = {}
        for name, served in self._served.items():
            form = self._taps.forms.get(name, "closed" if self._taps.projector.shapes[name][1:] == () else "token")
            found[name] = {LAYER: form, LATE: OPERAND}.get(served, served)
        return found

    def __call__(self, compute_losses: Callable[[], Tensor]) -> Tensor:
        """``backward`` of the losses that ``compute_losses`` returns; it is run again where a route did not fit."""
        while True:
            try:
                with self:
                    if not self._uses_checked and self._tapped():
                        self._check(compute_losses)
                        continue
                    return self.backward(compute_losses())
            except Rerouted:
                continue

    def __enter__(self) -> GradientCapture:
        if self._stack is not None:
            raise RuntimeError("projected_gradients: a capture must be entered once, got a second time; leave it first")
        with ExitStack() as stack:
            streamed = [p for name, p in self._chosen.items() if self._served[name] == STREAM]
            free = streamed if self._uses_checked else list(self._chosen.values())
            stack.enter_context(only_these_require_grad(self._model, free))
            stack.enter_context(_uncompiled())
            stack.enter_context(torch.enable_grad())
            for module, own in self._owners.items():
                self._attach(stack, module, own)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()
        if isinstance(error, CannotTap):
            self._reroute(dict.fromkeys(error.names, str(error)), STREAM)
            raise self._error from error

    def backward(self, losses: Tensor) -> Tensor:
        """Projected gradients of the losses of one forward pass that ran inside this capture.

        Args:
            losses: float [n], one a sample; or [n, p], several of each sample, which share the forward pass and take a
                backward pass each.

        Returns:
            float32 [n, k], or [n, groups, k] with ``groups``; of losses [n, p] one of these for each, [n, p, k] or
            [n, p, groups, k]. A sample whose gradient is not finite has a row that is not finite.

        Raises:
            ValueError: losses that are neither [n] nor [n, p], or a parameter that does not fit its route. With route
                ``auto`` it has another route from then on: run the forward pass again.
        """
        if self._stack is None:
            raise RuntimeError("projected_gradients: backward must run inside 'with capture:', got outside; enter it")
        losses = _checked(losses)
        columns = (losses if losses.ndim == 2 else losses[:, None]).unbind(1)
        n, taps = len(losses), self._taps
        taps.clear()
        tapped = self._tapped()
        try:
            if tapped and n > 1 and not self._rows_checked:
                whole = _whole(losses)
                self._look_at(whole, _finite(whole), [taps.anchor], keep_graph=True, watched={})
            found = [self._project(column, j + 1 < len(columns)) for j, column in enumerate(columns)]
        finally:
            taps.begin(SKIP)
            taps.clear()
        z = torch.stack(found, 1).permute(2, 1, 0, 3)  # [n, p, groups, k]
        z = z if self._grouped else z[:, :, 0]
        return (z if losses.ndim == 2 else z[:, 0]).contiguous()

    def _project(self, losses: Tensor, keep_graph: bool) -> Tensor:
        """The backward pass of one loss a sample: [groups, n, k]."""
        taps, tapped = self._taps, self._tapped()
        streamed = {name: p for name, p in self._chosen.items() if self._served[name] == STREAM}
        taps.clear()
        if streamed:
            taps.begin(SKIP, len(losses))
            stream_into(taps, losses, streamed, keep_graph=tapped or keep_graph)
        if tapped:
            taps.begin(TAKE, len(losses))
            self._take(losses, keep_graph)
        return taps.result(losses.device)

    def _plan(self) -> dict[str, str]:
        """Name -> LAYER, OPERAND or STREAM, before anything was seen."""
        served = {}
        for module, own in self._owners.items():
            rule = rule_for(module)
            for attribute, name in own.items():
                fits = rule is not None and attribute in rule.attributes
                # A parameter that two modules own is served alike in both.
                served[name] = LAYER if fits and served.get(name, LAYER) == LAYER else OPERAND
        return dict.fromkeys(served, STREAM) if self._route == "stream" else served

    def _attach(self, stack: ExitStack, module: nn.Module, own: Mapping[str, str]) -> None:
        for attribute, name in own.items():
            if self._served[name] in (OPERAND, LATE):
                late = self._served[name] == LATE
                module.__dict__[attribute] = Operand.of(self._taps, name, self._chosen[name], late)
                stack.callback(module.__dict__.pop, attribute, None)
        served = {attribute: name for attribute, name in own.items() if self._served[name] == LAYER}
        rule = rule_for(module)
        if not served or rule is None:
            return
        if not self._uses_checked:
            _freeze_inside(stack, module, [self._chosen[name] for name in served.values()])
        handle = module.register_forward_hook(self._tap(rule, served), with_kwargs=True, prepend=True)
        stack.callback(handle.remove)

    def _tap(self, rule: Rule, own: Mapping[str, str]) -> Callable[..., Tensor]:
        """The forward hook of a layer."""
        taps = self._taps

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
            x = args[0] if args else next(iter(kwargs.values()))
            if isinstance(x, Operand):
                raise CannotTap(x.leaves, "a layer takes a function of it")
            x = x.detach()
            x = x if x.device == output.device else x.to(output.device)
            if not self._uses_checked:
                self._inputs.note(args[0] if args else next(iter(kwargs.values())), own.get("weight"))
                if not is_plain(module) and not agrees(rule, module, x, output):
                    why = f"its layer ({type(module).__name__}) does not compute what it is named for"
                    self._reroute(dict.fromkeys(own.values(), why))
                    raise self._error
                if self._dry:
                    return taps.apply(output, own, _nothing)
            elif isinstance(rule, LinearRule) and own.get("weight") in self._inputs.alone:
                linear, kept = rule, taps.sketched(own["weight"], x)
                if kept is not None:
                    return taps.apply(output, own, lambda dy, kept: linear.take_sketched(taps, own, kept, dy), kept)
            return taps.apply(output, own, lambda dy, x: rule.take(taps, module, own, x, dy), x)

        return hook

    def _tapped(self) -> bool:
        return any(served != STREAM for served in self._served.values())

    def _watched(self) -> dict[str, nn.Parameter]:
        """Parameters whose layers are tapped, and that so far may be used elsewhere too."""
        if self._uses_checked:
            return {}
        return {name: p for name, p in self._chosen.items() if self._served[name] == LAYER}

    def _check(self, compute_losses: Callable[[], Tensor]) -> None:
        """A forward and backward pass of which nothing is kept, for all the checks."""
        self._dry = True
        self._inputs = Inputs()
        try:
            losses, watched = _whole(_checked(compute_losses())), self._watched()
            sample = _finite(losses)
            self._look_at(losses, sample, [self._taps.anchor, *watched.values()], keep_graph=False, watched=watched)
        finally:
            self._dry = False
        self._uses_checked = True

    def _look_at(
        self,
        losses: Tensor,
        sample: int,
        inputs: list[Tensor],
        *,
        keep_graph: bool,
        watched: Mapping[str, nn.Parameter],
    ) -> None:
        """A backward pass of one sample's loss, to see where its gradients arrive."""
        taps, n = self._taps, len(losses)
        taps.wrong, taps.seen = {}, False
        taps.begin(CHECK if n > 1 else SKIP, n, sample)
        found = torch.autograd.grad(losses[sample], inputs, retain_graph=keep_graph, allow_unused=True)
        self._refuse_direct(watched, found[1:])
        early = {name: why for name, why in taps.wrong.items() if self._served[name] == OPERAND}
        if taps.wrong:
            self._reroute(early or taps.wrong, LATE if early else STREAM)
            raise self._error
        self._rows_checked = taps.seen

    def _refuse_direct(self, watched: Mapping[str, nn.Parameter], found: Sequence[Tensor | None]) -> None:
        direct = [name for name, grad in zip(watched, found, strict=True) if grad is not None]
        if direct:
            self._reroute(dict.fromkeys(direct, "it is used outside its layer"))
            raise self._error

    def _take(self, losses: Tensor, keep_graph: bool) -> None:
        """The backward pass in which taps project; the first one also looks for uses outside the layers."""
        watched = self._watched()
        inputs = [self._taps.anchor, *watched.values()]
        found = torch.autograd.grad(losses.sum(), inputs, retain_graph=keep_graph, allow_unused=True)
        self._refuse_direct(watched, found[1:])
        self._uses_checked = True

    def _reroute(self, wrong: Mapping[str, str], to: str = OPERAND) -> None:
        """Give parameters the next route, from the next forward pass on."""
        self._uses_checked = self._rows_checked = False
        name, reason = next(iter(wrong.items()))
        if self._route == "token" and to == STREAM:
            raise ValueError(
                f"projected_gradients: parameters must fit the token route, got {name!r} ({reason}) and "
                f"{len(wrong) - 1} others; use route='auto' or 'stream', or leave them out with parameters="
            )
        for name in wrong:
            self._served[name] = to
        self._error = Rerouted(
            f"projected_gradients: {name} must fit its route, got otherwise ({reason}); it has route {to} now, "
            "run the forward pass again"
        )


def _nothing(*_: Tensor) -> None:
    """What a tap does in a pass that only checks."""


def _whole(losses: Tensor) -> Tensor:
    """One loss a sample, from one or several."""
    return losses if losses.ndim == 1 else losses.sum(1)


def _finite(losses: Tensor) -> int:
    """A sample whose loss is finite, from the middle of the batch; any sample if there is none."""
    finite = losses.detach().isfinite().nonzero()
    return int(finite[len(finite) // 2]) if len(finite) else 0


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
        raise ValueError(f"projected_gradients: groups must hold every parameter, got none with {left!r}; add it")
    return numbers


def _checked(losses: Tensor) -> Tensor:
    if not isinstance(losses, Tensor) or losses.ndim not in (1, 2) or not losses.numel() or not losses.requires_grad:
        got = list(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(
            "projected_gradients: compute_losses must return a float tensor [n] or [n, p] that depends on the "
            f"parameters, got {got}; return one loss a sample, or several"
        )
    return losses


def _freeze_inside(stack: ExitStack, module: nn.Module, parameters: Collection[nn.Parameter]) -> None:
    """While the module runs, its parameters need no gradients; a use anywhere else still shows in the graph."""

    def before(*_: Any) -> None:
        for parameter in parameters:
            parameter.requires_grad_(False)

    def after(*_: Any) -> None:
        for parameter in parameters:
            parameter.requires_grad_(True)

    stack.callback(module.register_forward_pre_hook(before).remove)
    stack.callback(module.register_forward_hook(after, always_call=True).remove)


def _uncompiled() -> AbstractContextManager[Any]:
    """Compiled code does not run hooks that came after it, so inside it runs as it was written."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    return torch.compiler.set_stance("force_eager")
