"""The tuning log's table: for each kernel what is predicted, from which floor, and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.harness import counted, predictions
from benchmarks.harness.counted import Work
from benchmarks.harness.predictions import WAN_1_3B, Card
from benchmarks.harness.rows import Record
from benchmarks.harness.targets import FULL, PREVIEW, best, matching

LAUNCH_MS = 0.004
"""From one kernel's end to the next one's data, in a graph."""

LAYER = 4 * 1536 * 8960
"""Numbers of four gradients of a large layer."""


@dataclass(frozen=True)
class Expected:
    """One kernel's prediction.

    Attributes:
        name: of the kernel, with its shape.
        why: what the prediction is made of.
        ms: from a card's ceilings.
        wanted: values of its rows.
    """

    name: str
    why: str
    ms: Callable[[Card], float]
    wanted: dict[str, object]

    def measured(self, rows: Sequence[Record]) -> Record | None:
        """The row of ours with the least time, or None."""
        found = [row for row in matching(rows, **self.wanted) if row.get("ms_median") and _ours(row)]
        least = best((row["ms_median"] for row in found), True)
        return next((row for row in found if row["ms_median"] == least), None)


def _ours(row: Record) -> bool:
    return str(row.get("impl")).startswith(("cuda", "triton", "ours", "motive_kernels"))


def _read(moved: float) -> Callable[[Card], float]:
    """Bytes at the read ceiling, and a launch."""
    return lambda card: moved / card.read + LAUNCH_MS


def _counted(work: Callable[[], Work], launches: int = 1) -> Callable[[Card], float]:
    """The larger of issue and memory, and launches."""
    return lambda card: work().ms(card.read) + launches * LAUNCH_MS


def _flat(o: int, i: int) -> Expected:
    return Expected(f"tensor_sketch_into [1, {o}, {i}] bfloat16", "instructions or bytes, a launch",
                    _counted(lambda: counted.flat(o, i)),
                    {"op": "tensor_sketch_into", "shape": [1, o, i], "dtype": "bfloat16"})  # fmt: skip


def _token(n: int, t: int) -> Expected:
    return Expected(f"outer_sketch_into, all blocks, {n} x {t:,} tokens", "instructions or bytes",
                    lambda card: predictions.token_ms(card, t, n),
                    {"op": "outer_sketch_into, whole model", "shape": [n, t]})  # fmt: skip


def _search(op: str, rows: int, dtype: str, item: int, passes: float) -> Expected:
    return Expected(f"{op}, {rows:,} in {dtype}, 50 queries", f"{passes} passes over the store's bytes",
                    lambda card: passes * predictions.search_ms(card, rows, item=item) / 1.01,
                    {"op": op, "shape": [rows, 512, 50, 100], "dtype": dtype})  # fmt: skip


EXPECTED = (
    Expected("tensor_sketch_into, 1.419e9 bfloat16, one list", "instructions or bytes",
             predictions.flat_ms, {"op": "tensor_sketch_into, whole model"}),
    _flat(1536, 1536), _flat(8960, 1536),
    _token(1, PREVIEW), _token(8, PREVIEW), _token(1, FULL),
    Expected("weighted_loss, 32 samples, bfloat16", "instructions or bytes: reads two, writes one",
             _counted(counted.weighted_loss, 2), {"op": "weighted_loss", "dtype": "bfloat16"}),
    Expected("noise_latents, 32 samples, bfloat16", "instructions or bytes: reads one, writes two",
             _counted(counted.noise_latents), {"op": "noise_latents", "dtype": "bfloat16"}),
    Expected("motion_weights, 32 flows, bfloat16", "instructions or bytes: reads the flow once; three launches",
             _counted(counted.motion_weights, 3), {"op": "motion_weights", "dtype": "bfloat16"}),
    Expected("sjlt, [4, 1536, 8960] bfloat16", "bytes; its loops depend on the data and are not counted",
             _read(2 * LAYER), {"op": "sjlt", "shape": [4, 1536, 8960]}),
    Expected("fastfood, the same", "instructions or bytes",
             _counted(lambda: counted.fastfood(*counted.LAYER)), {"op": "fastfood", "shape": [4, 1536, 8960]}),
    Expected("rademacher, the same", "instructions or bytes",
             _counted(lambda: counted.rademacher(*counted.LAYER)), {"op": "rademacher", "shape": [4, 1536, 8960]}),
    _search("topk_dot", 1_000_000, "int8", 1, 1.01), _search("topk_dot", 1_000_000, "float16", 2, 1.01),
    _search("vote", 1_000_000, "int8", 1, 1.05), _search("topk_dot", 100_000_000, "int8", 1, 1.01),
    Expected("gradients, 1.3B, 16 clips of 17 frames", "products at 0.8, attention at 0.6, 250 passes over activations",
             lambda card: 16 * predictions.pass_ms(card, WAN_1_3B, PREVIEW, False),
             {"op": "gradients", "model": "wan2.1-1.3b", "clip": "preview", "batch": 16}),
    Expected("gradients, 1.3B, one clip of 81 frames", "the same, half of the blocks recomputed",
             lambda card: predictions.pass_ms(card, WAN_1_3B, FULL, False, 0.5),
             {"op": "gradients", "model": "wan2.1-1.3b", "clip": "full", "batch": 1}),
)  # fmt: skip
