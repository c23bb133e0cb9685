"""Projected per-sample gradients of any nn.Module."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import Tensor, nn

from motive_kernels.capture.capture import GradientCapture
from motive_kernels.capture.scope import Route
from motive_kernels.projection.projector import Projector

__all__ = ["GradientCapture", "projected_gradients"]


def projected_gradients(
    model: nn.Module,
    compute_losses: Callable[[], Tensor],
    projector: Projector,
    *,
    route: Route = "auto",
    parameters: Collection[str] | None = None,
    prefix: str = "",
    verify: bool = True,
    impl: str | None = None,
) -> Tensor:
    """Projected gradients of n per-sample losses over a model's parameters.

    The model comes back exactly as it was. For many batches make one GradientCapture, whose arguments these are: it
    probes the model and proves its plan once (about three more passes), this function each time.

    Args:
        compute_losses: runs one forward pass and returns n per-sample losses, float [n], or p of each sample, [n, p].
            It is run several times, each with the same random numbers.

    Returns:
        float32 [n, k] or [n, p, k]; a sample whose gradient is not finite has a row that is not finite.

    Raises:
        ValueError: a route or parameter that does not exist, or losses that are neither [n] nor [n, p].
    """
    capture = GradientCapture(
        model, projector, route=route, parameters=parameters, prefix=prefix, verify=verify, impl=impl
    )
    return capture(compute_losses)
