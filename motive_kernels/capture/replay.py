"""Running a forward pass several times as if each were the first."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Snapshot:
    """torch's random generators and the buffers of modules in training mode, as they were.

    Dropout then drops the same, and running statistics count a batch once, however often its forward pass is run.

    Args:
        model: its parameters' devices say which generators matter.
    """

    def __init__(self, model: nn.Module) -> None:
        devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
        self._cpu = torch.get_rng_state()
        self._cuda = {device: torch.cuda.get_rng_state(device) for device in devices}
        self._buffers: list[tuple[nn.Module, str, Tensor, Tensor]] = [
            (module, name, buffer, buffer.detach().clone())
            for module in model.modules()
            if module.training
            for name, buffer in module._buffers.items()
            if buffer is not None and not buffer.is_meta
        ]

    def restore(self) -> None:
        """Put everything back."""
        torch.set_rng_state(self._cpu)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)
        with torch.no_grad():
            for module, name, buffer, value in self._buffers:
                module._buffers[name] = buffer
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
