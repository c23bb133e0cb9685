"""The oracle: per-sample gradients by a plain loop of backward passes, whole and in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from motive_kernels.capture.parameters import only_these_require_grad


def per_sample_gradients(
    model: nn.Module, compute_losses: Callable[[], Tensor], chosen: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Gradients of each sample's loss, materialised: name -> [n, *shape]. For tests and small models.

    Args:
        model: left as found.
        compute_losses: runs one forward pass and returns the n per-sample losses.
        chosen: parameters to differentiate by; one that the losses do not depend on gets zeros.
    """
    with only_these_require_grad(model, list(chosen.values())), torch.enable_grad():
        losses = compute_losses()
        rows = [
            torch.autograd.grad(loss, list(chosen.values()), retain_graph=True, materialize_grads=True)
            for loss in losses.unbind()
        ]
    return {name: torch.stack([row[j] for row in rows]).detach() for j, name in enumerate(chosen)}
