"""The tuning log's table: for each kernel what is predicted, from which floor, and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.harness import predictions
from benchmarks.harness.predictions import WAN_1_3B, Card
from benchmarks.harness.rows import Record
from benchmarks.harness.targets import FULL, PREVIEW, best, matching

LAUNCH_MS = 0.004
"""From one kernel's end to the next one's data, in a graph."""

ADDS = 3.3e13 / 1e3
"""Float32 additions a millisecond of a Hopper card's ordinary cores."""

LATENTS, FLOW = 32 * 16 * 5 * 60 * 104, 32 * 17 * 240 * 416 * 2
LAYER = 4 * 1536 * 8960
"""Numbers: 32 samples of latents, 32 flows of 17 frames, four gradients of a large layer."""


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


def _read(moved: float, share: float) -> Callable[[Card], float]:
    """Bytes over a share of the read ceiling, and a launch."""
    return lambda card: moved / card.read / share + LAUNCH_MS


def _flat(n: int, o: int, i: int, dtype: str) -> Expected:
    moved = n * o * i * (4 if dtype == "float32" else 2)
    return Expected(f"tensor_sketch_into [{n}, {o}, {i}] {dtype}", "bytes at 0.87 of the read ceiling, a launch",
                    _read(moved, predictions.FLAT_SHARE),
                    {"op": "tensor_sketch_into", "shape": [n, o, i], "dtype": dtype})  # fmt: skip


def _token(n: int, t: int) -> Expected:
    return Expected(f"outer_sketch_into, all blocks, {n} x {t:,} tokens", "1.6 memory floors",
                    lambda card: n * predictions.token_ms(card, t),
                    {"op": "outer_sketch_into, whole model", "shape": [n, t]})  # fmt: skip


def _search(op: str, rows: int, dtype: str, item: int, passes: float) -> Expected:
    return Expected(f"{op}, {rows:,} in {dtype}, 50 queries", f"{passes} passes at 0.85 of the read ceiling",
                    lambda card: passes * predictions.search_ms(card, rows, item=item) / 1.01,
                    {"op": op, "shape": [rows, 512, 50, 100], "dtype": dtype})  # fmt: skip


EXPECTED = (
    Expected("tensor_sketch_into, 1.419e9 bfloat16, one list", "bytes at 0.87 of the read ceiling",
             predictions.flat_ms, {"op": "tensor_sketch_into, whole model"}),
    _flat(1, 1536, 1536, "bfloat16"), _flat(1, 8960, 1536, "bfloat16"), _flat(8, 8960, 1536, "float32"),
    _token(1, PREVIEW), _token(8, PREVIEW), _token(1, FULL),
    Expected("weighted_loss, 32 samples, bfloat16", "reads two, writes one, at 0.85 of the copy ceiling",
             _read(6 * LATENTS + 4 * LATENTS / 16, 0.85), {"op": "weighted_loss", "dtype": "bfloat16"}),
    Expected("noise_latents, 32 samples, bfloat16", "reads one, writes two, at 0.85 of the copy ceiling",
             _read(6 * LATENTS, 0.85), {"op": "noise_latents", "dtype": "bfloat16"}),
    Expected("motion_weights, 32 flows, bfloat16", "reads the flow once at 0.85, two launches",
             lambda card: _read(2 * FLOW, 0.85)(card) + LAUNCH_MS, {"op": "motion_weights", "dtype": "bfloat16"}),
    Expected("sjlt, [4, 1536, 8960] bfloat16", "bytes at 0.5: buckets taken in turns",
             _read(2 * LAYER, 0.5), {"op": "sjlt", "shape": [4, 1536, 8960]}),
    Expected("fastfood, the same", "bytes at 0.25: two transforms of 14 levels in shared memory",
             _read(2 * LAYER, 0.25), {"op": "fastfood", "shape": [4, 1536, 8960]}),
    Expected("rademacher, the same", "512 additions a number at half of the cores' rate",
             lambda card: 512 * LAYER / ADDS / 0.5, {"op": "rademacher", "shape": [4, 1536, 8960]}),
    _search("topk_dot", 1_000_000, "int8", 1, 1.01), _search("topk_dot", 1_000_000, "float16", 2, 1.01),
    _search("vote", 1_000_000, "int8", 1, 1.05), _search("topk_dot", 100_000_000, "int8", 1, 1.01),
    Expected("gradients, 1.3B, 16 clips of 17 frames", "products at 0.8, attention at 0.6, 250 passes over activations",
             lambda card: 16 * predictions.pass_ms(card, WAN_1_3B, PREVIEW, False),
             {"op": "gradients", "model": "wan2.1-1.3b", "clip": "preview", "batch": 16}),
    Expected("gradients, 1.3B, one clip of 81 frames", "the same, half of the blocks recomputed",
             lambda card: predictions.pass_ms(card, WAN_1_3B, FULL, False, 0.5),
             {"op": "gradients", "model": "wan2.1-1.3b", "clip": "full", "batch": 1}),
)  # fmt: skip
