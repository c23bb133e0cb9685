"""Every op, found by its folder: nothing else lists them."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import torch

from motive_kernels.runtime import dispatch


@functools.cache
def names() -> tuple[str, ...]:
    """The folders of motive_kernels/ops, sorted."""
    return tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/api.py")))


def load() -> Mapping[str, dispatch.Op]:
    """Every op by its name; a folder may define several."""
    for name in names():
        importlib.import_module(f"{__package__}.{name}.api")
    return dispatch.OPS


def cases(name: str) -> ModuleType:
    """The module cases.py of an op's folder, with the functions ``small`` and ``large`` (see ops/cases.py)."""
    load()
    return importlib.import_module(f"{__package__}.{name}.cases")


def implementations() -> dict[str, dict[str, str | None]]:
    """For each op and implementation: None if it can run here, else the reason why not."""
    return {
        name: {impl: op.why_not(impl, "", torch.float32) if impl in op.absent else dispatch.unavailable(impl)
               for impl in dispatch.NAMES}
        for name, op in sorted(load().items())
    }  # fmt: skip
