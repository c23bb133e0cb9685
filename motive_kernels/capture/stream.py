"""The universal route: a hook per parameter projects its gradient and frees it.

One backward pass a sample; at no time does more than one parameter's gradient exist. Works for every
module that autograd can differentiate. In a batch, a non-finite sample spoils its mates here (autograd sums
0 times not-a-number into every weight gradient); where inputs may be bad, give one sample at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from motive_kernels.capture.parameters import only_these_require_grad
from motive_kernels.projection import Projector


def stream_gradients(
    model: nn.Module,
    compute_losses: Callable[[], Tensor],
    projector: Projector,
    chosen: Mapping[str, nn.Parameter],
    impl: str | None = None,
) -> Tensor:
    """Projected gradient of each sample's loss: float32 [n, k].

    Args:
        model: left as found, also after an exception.
        compute_losses: runs one forward pass and returns the n per-sample losses; a sample's gradient is that of its
            own entry, so samples must not share anything but the parameters.
        projector: the map.
        chosen: parameters to differentiate by, by the projector's names.
        impl: projection implementation to force, or None.
    """
    with only_these_require_grad(model, list(chosen.values())), torch.enable_grad():
        losses = compute_losses()
        z = projector.zeros(len(losses), losses.device)
        for sample, loss in enumerate(losses.unbind()):
            row = z[sample : sample + 1]
            handles = [
                parameter.register_post_accumulate_grad_hook(_project_and_free(projector, row, name, impl))
                for name, parameter in chosen.items()
            ]
            try:
                loss.backward(retain_graph=sample + 1 < len(losses))
            finally:
                for handle in handles:
                    handle.remove()
    return z


def _project_and_free(projector: Projector, row: Tensor, name: str, impl: str | None) -> Callable[[Tensor], None]:
    """The hook of one parameter: row += P grad, then no grad."""

    def hook(parameter: Tensor) -> None:
        if parameter.grad is not None:
            grad, parameter.grad = parameter.grad, None
            with torch.no_grad():
                projector.project_into(row, name, grad.to(row.device)[None], impl=impl)

    return hook
