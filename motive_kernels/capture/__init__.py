"""Projected per-sample gradients of any nn.Module."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import Tensor, nn

from motive_kernels.capture.parameters import select_parameters
from motive_kernels.capture.stream import stream_gradients
from motive_kernels.capture.token import token_gradients
from motive_kernels.projection import Projector

__all__ = ["projected_gradients"]

ROUTES = {"stream": stream_gradients, "token": token_gradients}


def projected_gradients(
    model: nn.Module,
    compute_losses: Callable[[], Tensor],
    projector: Projector,
    *,
    route: str = "auto",
    parameters: Collection[str] | None = None,
    prefix: str = "",
    impl: str | None = None,
) -> Tensor:
    """Projected gradients of n per-sample losses over a model's parameters.

    The model comes back exactly as it was: flags, hooks and .grad fields.

    Args:
        model: any module; its parameters need not require gradients beforehand.
        compute_losses: runs one forward pass and returns n per-sample losses, float [n].
        projector: made from this model's parameter shapes.
        route: ``stream``: one backward pass a sample, any module. ``token``: one backward pass for all samples and no
            weight gradients; every layer's leading axis must hold the samples' rows, sample by sample, and every
            parameter must belong to a layer type with a rule. ``auto``: stream, which needs no promise.
        parameters: the projector's names to include; None for all that start with ``prefix``.
        prefix: what the projector's names have before the model's own.
        impl: projection implementation to force, or None.

    Returns:
        float32 [n, k]; a sample whose gradient is not finite has a row that is not finite.

    Raises:
        ValueError: a route or parameter that does not exist, or losses that are not [n].
    """
    if route != "auto" and route not in ROUTES:
        raise ValueError(
            f"projected_gradients: route must be auto or one of {', '.join(ROUTES)}, got {route!r}; choose one"
        )
    chosen = select_parameters(model, projector, parameters, prefix)

    def checked_losses() -> Tensor:
        losses = compute_losses()
        if not isinstance(losses, Tensor) or losses.ndim != 1 or not losses.requires_grad:
            got = list(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise ValueError(
                "projected_gradients: compute_losses must return a float tensor [n] that depends on the parameters, "
                f"got {got}; return one loss a sample"
            )
        return losses

    return ROUTES["stream" if route == "auto" else route](model, checked_losses, projector, chosen, impl)
