"""Running a forward pass several times as if each were the first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

COPIED_BYTES = 1 << 26
"""Larger buffers of modules in eval mode are not copied: a quantized model keeps its weights in them."""


class Snapshot:
    """torch's random generators and the model's buffers, as they were.

    Dropout then drops the same, and running statistics, counters and caches count a batch once, however often its
    forward pass is run.

    Args:
        model: its parameters' devices say which generators matter.
    """

    def __init__(self, model: nn.Module) -> None:
        devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
        self._cpu = torch.get_rng_state()
        self._cuda = {device: torch.cuda.get_rng_state(device) for device in devices}
        self._buffers = [
            (module, name, buffer, _copy(module, buffer), _version(buffer))
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None and not buffer.is_meta
        ]

    def restore(self) -> None:
        """Put everything back.

        Raises:
            ValueError: the forward pass wrote into a buffer that was not copied.
        """
        torch.set_rng_state(self._cpu)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)
        with torch.no_grad():
            for module, name, buffer, value, version in self._buffers:
                module._buffers[name] = buffer
                if value is None:
                    if _version(buffer) != version:
                        raise ValueError(_written(module, name))
                elif not torch.equal(buffer, value):
                    buffer.copy_(value)


def _copy(module: nn.Module, buffer: Tensor) -> Tensor | None:
    """The buffer's values; None where it is too large or cannot be written."""
    if buffer.is_inference() or not (module.training or buffer.nbytes <= COPIED_BYTES):
        return None
    return buffer.detach().clone()


def _version(buffer: Tensor) -> int:
    """A number that changes when the buffer is written in place."""
    return 0 if buffer.is_inference() else buffer._version


def _written(module: nn.Module, name: str) -> str:
    return (
        f"projected_gradients: the forward pass must not write into large buffers in eval mode, got a change of {name} "
        f"of a {type(module).__name__}; the first batch is run several times, each time from the same state"
    )
