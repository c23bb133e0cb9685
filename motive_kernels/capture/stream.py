"""The universal route: a hook per parameter projects its gradient and frees it.

One backward pass a sample; at no time does more than one parameter's gradient exist. Works for every
module that autograd can differentiate. In a batch, a non-finite sample spoils its mates here (autograd sums
0 times not-a-number into every weight gradient); where inputs may be bad, give one sample at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from motive_kernels.capture.sums import Sums


def stream_into(sums: Sums, losses: Tensor, chosen: Mapping[str, nn.Parameter], keep_graph: bool) -> None:
    """Add the projected gradients of each sample's loss by some parameters.

    Args:
        sums: where to add.
        losses: [n]; a sample's gradient is that of its entry, so samples must not share anything but parameters.
        chosen: parameters to differentiate by, by the projector's names; all of them require gradients.
        keep_graph: whether the graph is needed afterwards.
    """
    last = len(losses) - 1
    for sample, loss in enumerate(losses.unbind()):
        handles = [
            parameter.register_post_accumulate_grad_hook(_project_and_free(sums, name, sample))
            for name, parameter in chosen.items()
        ]
        try:
            loss.backward(retain_graph=keep_graph or sample < last, inputs=list(chosen.values()))
        finally:
            for handle in handles:
                handle.remove()


def _project_and_free(sums: Sums, name: str, sample: int) -> Callable[[Tensor], None]:
    """The hook of one parameter: the sample's vector += P grad, then no grad."""

    def hook(parameter: Tensor) -> None:
        if parameter.grad is not None:
            grad, parameter.grad = parameter.grad.to_dense(), None
            with torch.no_grad():
                sums.add_sample(name, sample, grad)

    return hook
