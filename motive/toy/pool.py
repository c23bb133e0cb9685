"""The demo's clips as real video files: a pool to attribute over and held-out queries."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from motive.data import write_video
from motive.errors import OptionError
from motive.toy.render import CONTROLS, FPS, MOTIONS, Rendered, render_clip

SPLITS = {"train": 1, "dev_pool": 2, "dev_queries": 3, "demo_pool": 4, "demo_queries": 5}
"""What clips are drawn for: training the model, choosing settings, and the results that are reported."""

_BITS = 24

COLUMNS = ("file_name", "text", "motion", "seed")
"""Columns of metadata.csv. Only file_name and text are input; motion and seed are for checking results."""


def clip_seed(split: str, seed: int, index: int) -> int:
    """The seed of one clip; no two (split, seed, index) share one, so no clip appears in two splits.

    Args:
        split: one of SPLITS.
        seed, index: 0 to 2**24 - 1.
    """
    if split not in SPLITS:
        raise OptionError(f"clip_seed: split must be one of {', '.join(SPLITS)}, got {split!r}; choose one")
    for name, value in (("seed", seed), ("index", index)):
        if not 0 <= value < 1 << _BITS:
            raise OptionError(f"clip_seed: {name} must be 0 to {(1 << _BITS) - 1}, got {value}; give a smaller one")
    return SPLITS[split] << 2 * _BITS | seed << _BITS | index


def write_pool(
    out: str | Path,
    *,
    clips_per_motion: int = 19,
    seed: int = 0,
    split: str = "demo_pool",
    motions: Sequence[str] = MOTIONS + CONTROLS,
) -> Path:
    """Render a pool into a folder of H.264 files with metadata.csv (HF VideoFolder layout).

    Files are numbered in an order that is random with respect to the motion, so that neither a file's
    name nor a tie broken by name can favour a motion type.

    Args:
        out: folder to write into; made if absent.
        clips_per_motion: clips of each of `motions`; the default makes 13 x 19 = 247 clips.
        seed: variant of the pool.
        split: one of SPLITS.
        motions: which types.

    Returns:
        The folder.

    Raises:
        OptionError: no clips asked for, or an unknown motion.
    """
    return _write(Path(out), "clip", motions, clips_per_motion, seed, split)


def write_queries(out: str | Path, *, clips_per_motion: int = 3, seed: int = 0, split: str = "demo_queries") -> Path:
    """Render held-out queries of the ten motion types; arguments and layout as in write_pool."""
    return _write(Path(out), "query", MOTIONS, clips_per_motion, seed, split)


def _write(out: Path, stem: str, motions: Sequence[str], clips_per_motion: int, seed: int, split: str) -> Path:
    if clips_per_motion < 1:
        raise OptionError(f"write_pool: clips_per_motion must be at least 1, got {clips_per_motion}; give more")
    plan = [motion for motion in motions for _ in range(clips_per_motion)]
    order = np.random.default_rng([SPLITS.get(split, 0), seed]).permutation(len(plan))
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for number, index in enumerate(order):
            clip = render_clip(plan[index], clip_seed(split, seed, int(index)))
            name = f"{stem}_{number:04d}.mp4"
            write_video(out / name, clip.frames, FPS)
            rows.writerow((name, clip.caption, clip.motion, clip.seed))
    return out


def training_clips(
    count: int, seed: int, motions: Sequence[str], *, size: int, frames: int, fps: float
) -> Iterable[Rendered]:
    """Clips of the training split, the motions in turn, at the size and rate that training uses."""
    for index in range(count):
        motion = motions[index % len(motions)]
        yield render_clip(motion, clip_seed("train", seed, index), size=size, frames=frames, fps=fps)
