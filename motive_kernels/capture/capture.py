"""Projected per-sample gradients of one module, batch after batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor, nn

from motive_kernels.capture.passes import Pass, checked
from motive_kernels.capture.plan import LATE, LAYER, OPERAND, Plan
from motive_kernels.capture.probe import probe
from motive_kernels.capture.replay import Snapshot
from motive_kernels.capture.scope import Route, Scope
from motive_kernels.projection.projector import Projector

_ACTIVE = "projected_gradients: this capture is already active; leave it first"


class GradientCapture:
    """Projected per-sample gradients of one module, pass after pass.

    Call it with a function that runs a forward pass. The module comes back exactly as it was: flags, hooks, parameters
    and .grad fields, also after an exception.

    On the factorized route weights are frozen, so autograd computes input gradients only; each layer's input and output
    gradient give its projected per-sample parameter gradients. The first batch is probed: do every layer's rows belong
    to the samples, is no parameter used outside its layer, do classes derived from a known layer compute what it does?
    A parameter that fails takes another route. Then the plan is proved: weighted sums of the projected gradients must
    equal the projected ordinary gradient, parameter by parameter. Modules compiled by torch.compile run uncompiled
    inside.

    Args:
        model: any module; its parameters need not require gradients beforehand.
        projector: made from this model's parameter shapes.
        route: ``factorized``: one backward pass for all samples, no weight gradients; every parameter must fit.
            ``stream``: one backward pass a sample. ``auto``: the first for the parameters that fit, in the cheaper of
            its forms, and stream for the rest.
        parameters: the projector's names to include; None for all that start with ``prefix``.
        prefix: what the projector's names have before the model's own.
        groups: name of a group -> the projector's names in it, for a vector of each group; with ``parameters`` None,
            the groups' parameters are the ones included.
        verify: whether to prove the plan. It takes the memory of a training step without its optimizer, once.
        impl: projection implementation to force, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        projector: Projector,
        *,
        route: Route = "auto",
        parameters: Collection[str] | None = None,
        prefix: str = "",
        groups: Mapping[str, Collection[str]] | None = None,
        verify: bool = True,
        impl: str | None = None,
    ) -> None:
        self._scope = Scope.of(model, projector, route, parameters, prefix, groups, impl)
        self._verify = verify
        self._plan = Plan.first(self._scope)
        self._forms: dict[str, str] = {}
        self._pass: Pass | None = None

    @property
    def plan(self) -> Plan:
        """How each parameter is served, as far as is known."""
        return self._plan

    @property
    def routes(self) -> dict[str, str]:
        """Parameter name -> route: ``factorized``, ``materialized`` (per-sample gradient formed and projected),
        ``closed`` (closed form), ``operand`` or ``stream``; complete after the first batch."""
        routes = {}
        for name, served in self._plan.served.items():
            vector = self._scope.projector.shapes[name][1:] == ()
            form = self._forms.get(name, "closed" if vector else "factorized")
            routes[name] = {LAYER: form, LATE: OPERAND}.get(served, served)
        return routes

    def probe(self, compute_losses: Callable[[], Tensor]) -> Plan:
        """Find and prove the plan that fits one batch, and return it; a call with the first batch does it too.

        Raises:
            ValueError: a parameter that does not fit the route, or losses that are neither [n] nor [n, p].
        """
        self._plan = probe(self._scope, self._plan, compute_losses, verify=self._verify)
        return self._plan

    def __call__(self, compute_losses: Callable[[], Tensor]) -> Tensor:
        """``backward`` of the losses that ``compute_losses`` returns.

        Args:
            compute_losses: runs one forward pass; the first batch, and the first of several samples, run it several
                times, each with the same random numbers.
        """
        if self._pass is not None:
            raise RuntimeError(_ACTIVE)
        if self._plan.fits(1, self._verify):
            start = None if self._plan.fits(2, self._verify) else Snapshot(self._scope.model)
            with Pass(self._scope, self._plan) as run:
                losses = checked(compute_losses())
                if self._plan.fits(len(losses), self._verify):
                    return self._taken(run, losses)
                del losses  # and with it the graph, before the batch is probed
            if start is not None:
                start.restore()
        self.probe(compute_losses)
        with Pass(self._scope, self._plan) as run:
            return self._taken(run, compute_losses())

    def __enter__(self) -> GradientCapture:
        if self._pass is not None:
            raise RuntimeError(_ACTIVE)
        if not self._plan.fits(1, self._verify):
            raise RuntimeError(
                "projected_gradients: this capture has no plan yet; call capture.probe(compute_losses) with the first "
                "batch before entering it"
            )
        self._pass = Pass(self._scope, self._plan)
        self._pass.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        run, self._pass = self._pass, None
        if run is not None:
            run.__exit__(kind, error, trace)

    def backward(self, losses: Tensor) -> Tensor:
        """Projected gradients of the losses of one forward pass that ran inside this capture.

        Args:
            losses: float [n], one a sample; or [n, p], several of each sample, which share the forward pass and take a
                backward pass each.

        Returns:
            float32 [n, k], or [n, groups, k] with ``groups``; of losses [n, p] one of these for each, [n, p, k] or
            [n, p, groups, k]. A sample whose gradient is not finite has a row that is not finite.

        Raises:
            ValueError: losses that are neither [n] nor [n, p].
            RuntimeError: outside of the capture, or the plan was proved for one sample only.
        """
        if self._pass is None:
            raise RuntimeError("projected_gradients: backward must run inside 'with capture:', got outside; enter it")
        losses = checked(losses)
        if not self._plan.fits(len(losses), self._verify):
            raise RuntimeError(
                f"projected_gradients: the plan of this capture was proved with one sample, not with {len(losses)}; "
                "call capture.probe(compute_losses) with such a batch"
            )
        return self._taken(self._pass, losses)

    def _taken(self, run: Pass, losses: Tensor) -> Tensor:
        z = run.backward(losses)  # [n, groups, k] or [n, p, groups, k]
        self._forms |= run.forms
        return (z if self._scope.grouped else z[..., 0, :]).contiguous()
