"""Targets on a GPU, the rows that show them, and the prediction for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import counted, predictions
from benchmarks.harness.predictions import WAN_1_3B, Card
from benchmarks.harness.rows import Record

Rows = Sequence[Record]
FULL, PREVIEW = 32760, 1950
"""Tokens of a clip of 81 frames of 480 x 832, and of 17 frames of 240 x 416."""

BATCH = 16
"""Clips of a pass at preview size, in the targets."""

CARD_BYTES = 80e9
SMALL = "wan2.1-1.3b"


@dataclass(frozen=True)
class Target:
    """One promise.

    Attributes:
        title: what is measured.
        bound: the figure to reach.
        at_most: whether less is better.
        unit: of the figure.
        found: the figure among the rows, or None.
        expected: the figure that a card's ceilings let expect, or None.
    """

    title: str
    bound: float
    at_most: bool
    unit: str
    found: Callable[[Rows], float | None]
    expected: Callable[[Card], float] | None = None

    def promise(self) -> str:
        """The bound for people."""
        return f"{'<=' if self.at_most else '>='} {number(self.bound)} {self.unit}".strip()

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


def number(value: float) -> str:
    """Three digits that count."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def matching(rows: Rows, **wanted: Any) -> list[Record]:
    """Rows with these values; a value may be a predicate."""
    return [
        row
        for row in rows
        if all(test(row.get(key)) if callable(test) else row.get(key) == test for key, test in wanted.items())
    ]


def best(values: Iterable[float | None], least: bool) -> float | None:
    """The best of those that are there."""
    there = [value for value in values if value is not None]
    return (min if least else max)(there) if there else None


def _figure(key: str, least: bool, scale: float = 1.0, **wanted: Any) -> Callable[[Rows], float | None]:
    """The best figure of the matching rows."""

    def found(rows: Rows) -> float | None:
        values = (row.get(key) for row in matching(rows, **wanted))
        return best((None if value is None else scale * value for value in values), least)

    return found


def _is_ours(impl: object) -> bool:
    return isinstance(impl, str) and impl.startswith(("cuda", "triton"))


def _captured(shape: str, key: str, least: bool, scale: float = 1.0, **more: Any) -> Callable[[Rows], float | None]:
    """A figure of ours of a gradient pass of the 1.3B model."""
    is_ours = {"impl": lambda impl: isinstance(impl, str) and impl.startswith("ours")}
    return _figure(key, least, scale, op="gradients", model=SMALL, clip=shape, **is_ours, **more)


_FLAT = {"op": "tensor_sketch_into, whole model", "impl": _is_ours}
_TOKEN = {"op": "outer_sketch_into, whole model", "impl": _is_ours}
_INT8 = {"op": "topk_dot", "dtype": "int8", "impl": _is_ours}


def _ratio(tokens: int, recomputed: float = 0.0) -> Callable[[Card], float]:
    return lambda card: (
        predictions.pass_ms(card, WAN_1_3B, tokens, False, recomputed)
        / predictions.pass_ms(card, WAN_1_3B, tokens, True, recomputed)
    )


def _share(op: str) -> Callable[[Card], float]:
    """Share of the read ceiling that a kernel of one pass reaches by its counts."""
    work = {"weighted_loss": counted.weighted_loss, "motion_weights": counted.motion_weights}[op]
    return lambda card: work().memory_ms(card.read) / work().ms(card.read)


RECOMPUTED = 0.5
"""Share of the forward pass that is expected to run again so that a full-length clip fits 80 GB."""

TARGETS = (
    Target("materialized route, 1.419e9 bfloat16 parameters, one sample: share of the read ceiling", 0.85, False, "",
           _figure("fraction_of_ceiling", False, **_FLAT), predictions.flat_share),
    Target("the same: time", 0.7, True, "ms", _figure("ms_median", True, **_FLAT), predictions.flat_ms),
    Target("factorized route, all blocks of Wan2.1-1.3B, 32,760 tokens: memory floors", 2, True, "floors",
           lambda rows: _inverse(_figure("fraction_of_ceiling", False, shape=[1, FULL], **_TOKEN)(rows)),
           lambda card: predictions.token_floors(card, FULL)),
    Target("the same, 1,950 tokens: relative to the weight-gradient products", 0.5, True, "x",
           _figure("ratio", True, shape=[1, PREVIEW], **_TOKEN),
           lambda card: predictions.token_ms(card, PREVIEW) / predictions.weight_gradient_ms(card, PREVIEW)),
    *(Target(f"{op}, 32 samples: share of the ceiling", 0.8, False, "",
             _figure("fraction_of_ceiling", False, op=op, impl=_is_ours, dtype="bfloat16"), _share(op))
      for op in ("weighted_loss", "motion_weights")),
    Target("gradients, 17 frames of 240 x 416, 16 clips: relative to a training step", 0.8, True, "x",
           _captured("preview", "ratio", True, batch=BATCH), _ratio(PREVIEW)),
    Target("the same, best batch: from cached latents to a store", 25, False, "clips/s",
           _figure("clips_per_second", False, op="end to end", clip="preview"),
           lambda card: 1e3 / predictions.pass_ms(card, WAN_1_3B, PREVIEW, False)),
    Target("gradients, 81 frames of 480 x 832: relative to a training step", 1.0, True, "x",
           _captured("full", "ratio", True), _ratio(FULL, RECOMPUTED)),
    Target("the same: time a clip (the paper: 54 s on an A100)", 2.5, True, "s",
           _captured("full", "ms_per_clip", True, 1e-3),
           lambda card: predictions.pass_ms(card, WAN_1_3B, FULL, False, RECOMPUTED) / 1e3),
    Target("the same: projection a clip, preview size (the paper: 1,970 ms)", 1.0, True, "ms",
           _figure("projection_ms_per_clip", True, op="stages", model=SMALL, clip="preview"),
           lambda card: predictions.token_ms(card, PREVIEW)),
    Target("peak memory relative to a training step, preview size", 0.9, True, "x",
           _captured("preview", "memory_ratio", True, batch=BATCH)),
    Target("peak memory, full length", CARD_BYTES / 1e9, True, "GB", _captured("full", "peak_bytes", True, 1e-9)),
    Target("search, 1,000,000 clips in int8, 50 queries, top 100", 0.5, True, "ms",
           _figure("ms_median", True, shape=[1_000_000, 512, 50, 100], **_INT8),
           lambda card: predictions.search_ms(card, 1_000_000)),
    Target("the same: share of the read ceiling", 0.8, False, "",
           _figure("fraction_of_ceiling", False, shape=[1_000_000, 512, 50, 100], **_INT8),
           lambda card: 1 / 1.01),
    Target("search, 100,000,000 clips in int8", 15, True, "ms",
           _figure("ms_median", True, shape=[100_000_000, 512, 50, 100], **_INT8),
           lambda card: predictions.search_ms(card, 100_000_000)),
)  # fmt: skip


def _inverse(value: float | None) -> float | None:
    return None if not value else 1 / value
