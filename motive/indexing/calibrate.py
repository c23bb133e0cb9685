"""This machine's speeds, by which a layer's gradients take one form or another: measured once, kept for the user."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

import motive_kernels as mk
from motive.errors import OptionError

_ROWS, _COLUMNS, _TOKENS, _DIM = 1024, 4096, 1024, 512
"""A layer like those of the models: outputs, inputs, tokens; and the sketch's width."""


def costs_path() -> Path:
    """Where the measured speeds of this user's machine are kept."""
    return Path.home() / ".cache" / "motive" / "costs.json"


def load_costs(device: str, path: Path | None = None) -> mk.CostModel | None:
    """The speeds measured for a kind of device, or None where there are none: the built-in ones then count.

    Args:
        device: ``cpu`` or ``cuda``.
        path: of the file; None for the user's.

    Raises:
        OptionError: the file is damaged.
    """
    path = path or costs_path()
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get(device)
        return None if found is None else mk.CostModel(**found)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise OptionError(
            f"calibrate: {path} must hold speeds of each device, got {error}; measure again with "
            "motive doctor --calibrate"
        ) from error


def calibrate(device: str, path: Path | None = None) -> mk.CostModel:
    """Measure the speeds of a kind of device, a second or two, and keep them.

    Args:
        device: ``cpu`` or ``cuda``.
        path: of the file; None for the user's. What it holds for other devices stays.
    """
    costs = measure_costs(torch.device(device))
    path = path or costs_path()
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps({**known, device: dataclasses.asdict(costs)}, indent=2, sort_keys=True)
    temporary.write_text(text + "\n", encoding="utf-8")
    os.replace(temporary, path)  # readers see the old file or the new one
    return costs


def measure_costs(device: torch.device, repeats: int = 5) -> mk.CostModel:
    """The best of a few runs of each step of the two forms."""
    x, dy = torch.randn(1, _TOKENS, _COLUMNS, device=device), torch.randn(1, _TOKENS, _ROWS, device=device)
    short_x, short_dy = x[..., :_DIM].contiguous(), dy[..., :_DIM].contiguous()
    shapes = {"wide": (_ROWS, _COLUMNS), "square": (_DIM, _DIM)}
    projector = mk.Projector(mk.ProjectionSpec(dim=_DIM), shapes)
    z, grad = projector.zeros(1, device), torch.randn(1, _ROWS, _COLUMNS, device=device)

    def best(run: Callable[[], object]) -> float:
        """Nanoseconds."""
        times = []
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - begin)
        return 1e9 * min(times[1:])

    product_ns = best(lambda: torch.bmm(dy.transpose(1, 2), x))
    flat_ns = best(lambda: projector.project_into(z, "wide", grad))
    square_ns = best(lambda: projector.project_outer_into(z, "square", short_x, short_dy))
    wide_ns = best(lambda: projector.project_outer_into(z, "wide", x, dy))
    # Both layers take the same transforms; what the wide one takes more is sketching more numbers.
    more = _TOKENS * (_ROWS + _COLUMNS - 2 * _DIM)
    sketch = more / max(wide_ns - square_ns, 0.05 * wide_ns)
    terms_ns = max(square_ns - _TOKENS * 2 * _DIM / sketch, 0.05 * square_ns)
    return mk.CostModel(
        matmul=_TOKENS * _ROWS * _COLUMNS / product_ns,
        product=_TOKENS * 10 * _DIM * math.log2(_DIM) / terms_ns,
        sketch=sketch,
        flat=_ROWS * _COLUMNS / flat_ns,
    )
