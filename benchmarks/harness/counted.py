"""Warp instructions of the CUDA kernels from the counts of their loops, and times from those and from bytes.

The counts are of the shipped machine code (machine_code.py, benchmarks/results/compiled/counts.json); how often a loop
runs follows from the shapes, as in csrc/cuda/*_plan.h. A kernel takes at least the time to issue its instructions, four
a cycle and multiprocessor, and at least the time to move its bytes. What keeps a warp waiting is in neither, so these
are the least times that a measurement can show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from benchmarks.harness import machine_code
from benchmarks.kernels import wan

MULTIPROCESSORS, ISSUE = 132, 4
"""Of an H100 or H200: multiprocessors, and warp instructions that each issues a cycle."""

CYCLES = 1.755e9 / 1e3
"""A millisecond's, at the clock that both hold under load."""

DIM, LANES, WARPS, LANE_ELEMENTS = 512, 4, 8, 8
"""Numbers of a sketch; row buckets of a step, warps of a block, elements of a 16-byte load of 16-bit numbers."""

COLUMNS = 2048
"""Columns in the gather buffer at a time."""

BLOCK_TOKENS, STEP_TOKENS = 32, 8
STAGE, SAMPLES, BLOCK_ROWS = 128, 4, 256
"""Dense projection: columns at a time, samples and matrix rows of a block."""

TILE, TILE_PASSES = 16384, 5


@dataclass(frozen=True)
class Work:
    """One call's.

    Attributes:
        instructions: of all warps.
        bytes: that it must read and write.
        blocks: of its largest launch; fewer than multiprocessors leave some idle.
    """

    instructions: float
    bytes: float
    blocks: float = float("inf")

    def issue_ms(self) -> float:
        """To issue its instructions."""
        busy = min(1.0, self.blocks / MULTIPROCESSORS)
        return self.instructions / (MULTIPROCESSORS * ISSUE * CYCLES * busy)

    def memory_ms(self, read: float) -> float:
        """To move its bytes, at this many a millisecond."""
        return self.bytes / read

    def ms(self, read: float) -> float:
        """The larger of both."""
        return max(self.issue_ms(), self.memory_ms(read))

    def __add__(self, other: Work) -> Work:
        return Work(self.instructions + other.instructions, self.bytes + other.bytes, min(self.blocks, other.blocks))


def _chunks(columns: int) -> list[int]:
    """Columns of each chunk."""
    return [min(COLUMNS, columns - first) for first in range(0, columns, COLUMNS)]


def _active(columns: int) -> int:
    """Warps that load this many columns of a chunk."""
    return ceil(columns / (32 * LANE_ELEMENTS))


def flat(rows: int, columns: int) -> Work:
    """Materialized route of one bfloat16 gradient [rows, columns] to 512 numbers."""
    part = machine_code.committed()["flat"]
    steps, runs = ceil(min(rows, DIM) / LANES), ceil(rows / DIM)
    fill = part["few"] if rows < DIM else part["fill"] + ceil(runs / 2) * part["rows"]
    item = WARPS * (part["item"] + part["gather"])
    instructions = steps * sum(item + _active(c) * fill for c in _chunks(columns))
    return Work(instructions, 2.0 * rows * columns)


def flat_model() -> Work:
    """Materialized route of every parameter of Wan2.1-1.3B, one sample, in one list."""
    total = Work(0, 0)
    for shape in wan.parameters().values():
        rows, columns = (1, shape[0]) if len(shape) == 1 else (shape[0], _product(shape[1:]))
        total += flat(rows, columns)
    return total


def _product(lengths: tuple[int, ...]) -> int:
    result = 1
    for length in lengths:
        result *= length
    return result


def token(tokens: int, outputs: int, inputs: int, samples: int = 1) -> Work:
    """Factorized route of a linear layer, bfloat16, to 512 numbers."""
    part = machine_code.committed()["token"]
    step = part["step"]
    for columns in (inputs, outputs):
        step += part["side"]
        for c in _chunks(columns):
            gathers = ceil(ceil(c / DIM) / 4)
            step += part["chunk"] + part["fill"] * _active(c) / WARPS + part["gather"] * gathers
    blocks = samples * ceil(tokens / BLOCK_TOKENS)
    steps = blocks * BLOCK_TOKENS / STEP_TOKENS
    return Work(steps * step * WARPS, 2.0 * samples * tokens * (outputs + inputs), blocks)


def token_model(tokens: int, samples: int = 1) -> list[tuple[int, Work]]:
    """How many layers of the blocks of Wan2.1-1.3B run on all tokens, and the work of each."""
    return [(count, token(tokens, o, i, samples)) for (o, i), count in wan.factorized_layers().items()]


def rademacher(samples: int, columns: int) -> Work:
    """Dense projection of bfloat16 gradients to 512 numbers."""
    part = machine_code.committed()["rademacher"]
    stage = part["stage"] + STAGE * SAMPLES / BLOCK_ROWS * part["load"] + 4 * part["columns"]
    stages = ceil(columns / STAGE) * ceil(DIM / BLOCK_ROWS) * ceil(samples / SAMPLES)
    return Work(stages * WARPS * stage, 2.0 * samples * columns * ceil(DIM / BLOCK_ROWS))


def fastfood(samples: int, columns: int) -> Work:
    """Tiled Fastfood of bfloat16 gradients, tiles of 16,384."""
    part = machine_code.committed()["fastfood"]
    tile = TILE / 32 * part["load"] + TILE_PASSES * TILE / 8 / 32 * part["radix 8"] + TILE / 4 / 32 * part["factors"]
    return Work(samples * ceil(columns / TILE) * tile, 2.0 * samples * columns)


def elementwise(name: str, elements: float, moved: float) -> Work:
    """A kernel of one pass over this many 16-bit numbers, `moved` bytes in all."""
    part = machine_code.committed()[name]
    arrays = 1 if name == "motion_weights" else 2  # that a pass loads side by side
    return Work(part["pass"] * elements * arrays / (part["loads"] * 32 * LANE_ELEMENTS), moved)


LATENTS, FLOW = 32 * 16 * 5 * 60 * 104, 32 * 17 * 240 * 416 * 2
"""Numbers: 32 samples of latents, and 32 flows of 17 frames."""

LAYER = (4, 1536 * 8960)
"""Four gradients of a large layer."""


def weighted_loss() -> Work:
    """Of 32 samples: reads prediction and target, writes the gradient."""
    return elementwise("weighted_loss", LATENTS, 6 * LATENTS + 4 * LATENTS / 16)


def noise_latents() -> Work:
    """Of 32 samples with one draw: reads latents, writes noisy and target."""
    return elementwise("noise_latents", LATENTS, 6 * LATENTS)


def motion_weights() -> Work:
    """Of 32 flows."""
    return elementwise("motion_weights", FLOW, 2 * FLOW)


CASES: tuple[tuple[str, Callable[[], Work]], ...] = (
    ("tensor_sketch, 1.419e9 bfloat16, one list", flat_model),
    ("tensor_sketch, [1536, 1536]", lambda: flat(1536, 1536)),
    ("outer_sketch, 1536 x 1536, 32,760 tokens", lambda: token(32760, 1536, 1536)),
    ("outer_sketch, 8960 x 1536, 32,760 tokens", lambda: token(32760, 8960, 1536)),
    ("outer_sketch, 1536 x 1536, 1,950 tokens", lambda: token(1950, 1536, 1536)),
    ("weighted_loss, 32 samples", weighted_loss),
    ("noise_latents, 32 samples", noise_latents),
    ("motion_weights, 32 flows", motion_weights),
    ("rademacher, [4, 1536, 8960]", lambda: rademacher(*LAYER)),
    ("fastfood, the same", lambda: fastfood(*LAYER)),
)
"""Kernels at the shapes of the targets."""
