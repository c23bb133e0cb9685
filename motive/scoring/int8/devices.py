"""The GPUs that scan bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from motive.errors import OptionError

_NAME = re.compile(r"cuda(?::(0|[1-9][0-9]*))?")


def require_devices(names: Sequence[str]) -> None:
    """Refuse devices that are not GPUs of this machine.

    Raises:
        OptionError: names the first that is not.
    """
    count = torch.cuda.device_count() if names and torch.cuda.is_available() else 0
    for name in names:
        found = _NAME.fullmatch(name)
        if found is None or int(found[1] or 0) >= count:
            there = ", ".join(f"cuda:{number}" for number in range(count)) or "none"
            raise OptionError(
                f"score: devices must be GPUs of this machine ({there}), got {name}; "
                "leave devices out to scan on the CPU"
            )
