"""Speed of motion masks at the size of the Wan models, against other dense flow that needs no weights.

    python -m benchmarks.pipeline.masks [--quick] [--out DIR]

One core. A row's time is for one pair of frames. The target is 30 pairs a second for flow and mask together with
the default preset.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.harness.rows import Record, append, commit
from motive.masks import MaskConfig, mask_from_field, motion_mask, motion_source, remove_camera

HEIGHT, WIDTH = 480, 832
BASELINE = "farneback"
TARGET_PAIRS_PER_S = 30.0


@dataclass(frozen=True)
class Row:
    """One measured implementation.

    Attributes:
        op: ``flow``, ``camera``, ``weights`` or ``mask`` (flow and weights).
        impl: what runs.
        wall_ms: a pair, one number a repetition.
        cpu_ms: the same in CPU time of this process, which other work on the machine disturbs less.
    """

    op: str
    impl: str
    wall_ms: list[float]
    cpu_ms: list[float]


def panning_clip(count: int) -> np.ndarray:
    """[count, 480, 832, 3]: a textured picture that pans, with a box that moves the other way."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (HEIGHT, WIDTH + 4 * count, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    picture = cv2.normalize(blurred, np.empty_like(blurred), 0, 255, cv2.NORM_MINMAX)
    frames = np.stack([picture[:, 3 * t : 3 * t + WIDTH] for t in range(count)])
    box = np.ascontiguousarray(picture[::-1][:120, :160])
    for t in range(count):
        left = 40 + 5 * t
        frames[t, 180:300, left : left + 160] = box[:, : max(0, WIDTH - left)]
    return frames


def farneback(frames: np.ndarray) -> None:
    """Farneback flow with the settings that data filters use."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    for before, after in pairwise(grey):
        cv2.calcOpticalFlowFarneback(before, after, np.empty((0, 0), np.float32), 0.5, 3, 15, 3, 5, 1.2, 0)


def measure(op: str, impl: str, run: Callable[[], Any], pairs: int, repeats: int) -> Row:
    """Time one implementation, after one run that is not counted."""
    run()
    wall, cpu = [], []
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        run()
        wall.append((time.perf_counter() - start) / pairs * 1e3)
        cpu.append((time.process_time() - cpu_start) / pairs * 1e3)
    return Row(op, impl, wall, cpu)


def rows(count: int, repeats: int) -> list[Row]:
    """All rows of the table for a clip of that many frames."""
    frames = panning_clip(count)
    grid = ((count - 1) // 4 + 1, HEIGHT // 8, WIDTH // 8)
    field = motion_source("dis").estimate(frames, 16)
    spare = np.empty_like(field.flow)
    config = MaskConfig()

    def flow(preset: str) -> Callable[[], Any]:
        return lambda: motion_source("dis", preset).estimate(frames, 16)

    def mask(**options: Any) -> Callable[[], Any]:
        return lambda: motion_mask(frames, 16, grid, MaskConfig(**options))

    work: list[tuple[str, str, Callable[[], Any]]] = [
        ("flow", BASELINE, lambda: farneback(frames)),
        ("flow", "dis ultrafast", flow("ultrafast")),
        ("flow", "dis fast", flow("fast")),
        ("flow", "dis medium", flow("medium")),
        ("camera", "magsac", lambda: remove_camera(field, out=spare)),
        ("weights", "default", lambda: mask_from_field(field, grid, config)),
        ("mask", "dis fast", mask()),
        ("mask", "dis fast, camera removed", mask(camera="remove")),
        ("mask", "dis medium", mask(preset="medium")),
    ]
    return [measure(op, impl, run, count - 1, repeats) for op, impl, run in work]


def records(table: list[Row], count: int) -> list[Record]:
    """The table as rows; ratio is the row's time divided by the baseline's."""
    base = median(next(row for row in table if row.impl == BASELINE).cpu_ms)
    versions = {"python": platform.python_version(), "opencv": cv2.__version__, "torch": torch.__version__}
    return [
        {
            "suite": "pipeline",
            "op": row.op,
            "impl": row.impl,
            "device": "cpu, 1 thread",
            "shape": [count, HEIGHT, WIDTH],
            "ms_median": median(row.wall_ms),
            "ms_min": min(row.wall_ms),
            "ms_max": max(row.wall_ms),
            "cpu_ms_median": median(row.cpu_ms),
            "pairs_per_s": 1e3 / median(row.cpu_ms),
            "ratio": median(row.cpu_ms) / base,
            "baseline": BASELINE,
            "commit": commit(),
            "versions": versions,
        }
        for row in table
    ]


def show(results: list[Record]) -> None:
    """Print the table."""
    print(f"motion masks, {HEIGHT} x {WIDTH}, one core, milliseconds a pair of frames")
    print(f"{'op':8} {'implementation':26} {'wall':>8} {'cpu':>8} {'pairs/s':>8} {'x ' + BASELINE:>12}")
    for r in results:
        print(
            f"{r['op']:8} {r['impl']:26} {r['ms_median']:8.1f} {r['cpu_ms_median']:8.1f} {r['pairs_per_s']:8.1f} "
            f"{r['ratio']:12.2f}"
        )
    reached = next(r["pairs_per_s"] for r in results if (r["op"], r["impl"]) == ("mask", "dis fast"))
    print(f"target {TARGET_PAIRS_PER_S:g} pairs/s with dis fast and mask: {reached:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a shorter clip and fewer repetitions")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    count, repeats = (9, 3) if options.quick else (21, 5)
    results = records(rows(count, repeats), count)
    show(results)
    for result in results:
        append(options.out, result)


if __name__ == "__main__":
    main()
