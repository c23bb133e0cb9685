"""Effect of a clip's bucket on its rank: every clip in every bucket, ranked in random mixtures of them.

    python -m benchmarks.quality.buckets [--quick] [--clips 5] --out DIR

Development clips of the built-in model. Queries are in the first bucket. ``field`` is the noise of stores with buckets,
``flat`` that of one shape, in which two shapes share nothing; ``seed`` is the first bucket with another noise seed.
Levels are those of motive.scoring.levels over the clips in all buckets. docs/buckets.md quotes the rows.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import motive_kernels as mk
from benchmarks.harness.rows import append, commit
from motive.adapters import load_adapter
from motive.data.video.buckets import Bucket
from motive.data.video.clip_spec import apply_fit, fit_to
from motive.gradients.clips import ClipGradients, EncodedClip
from motive.gradients.draws import DrawConfig, NoiseOf, field_noise, shared_noise
from motive.masks import MaskConfig, motion_mask
from motive.scoring.levels import PRIOR_CLIPS
from motive.toy.pool import clip_seed
from motive.toy.render import FPS, MOTIONS, Rendered, render_clip

BUCKETS = ("64x64x9", "80x48x9", "48x80x9", "64x64x5", "64x64x17")
USED = ("bounce", "slide", "spin", "swing", "roll")
MIXTURES = 60
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moved:
    """How far ranks in a mixture of buckets are from those in one bucket.

    Attributes:
        spearman: rank correlation of the clips in random buckets with the same clips in the queries' bucket, mean over
            queries and mixtures.
        shifts: mean percentile of each bucket's clips in the mixtures, minus 50.
    """

    spearman: float
    shifts: tuple[float, ...]


def rendered(split: str, clips: int, motions: Sequence[str] = USED) -> list[Rendered]:
    """``clips`` of each motion."""
    return [
        render_clip(motion, clip_seed(split, 3, 100 * MOTIONS.index(motion) + number))
        for motion in motions
        for number in range(clips)
    ]


def vectors(clips: Sequence[Rendered], bucket: str, noise_of: NoiseOf, seed: int = 0) -> Floats:
    """[n, k] unit vectors of clips in a bucket, by the default draws."""
    adapter = load_adapter("toy", device="cpu")
    spec = Bucket.parse(bucket).spec(adapter.clip_spec)
    grid = adapter.latent_shape(spec)[1:]
    transformer = adapter.load_transformer(adapter.experts[0])
    shapes = {f"transformer.{name}": tuple(p.shape) for name, p in transformer.named_parameters()}
    gradients = ClipGradients(
        adapter, transformer, mk.Projector(mk.ProjectionSpec(), shapes), DrawConfig(seed=seed),
        micro_batch_draws=4, verify=False, noise_of=noise_of,
    )  # fmt: skip
    found = []
    with adapter.video_encoder() as encode, adapter.text_encoder() as embed:
        for clip in clips:
            shown = np.minimum((np.arange(spec.frames) / spec.fps * FPS).astype(int), len(clip.frames) - 1)
            frames = np.stack([apply_fit(clip.frames[j], fit_to(spec, *clip.frames[j].shape[:2]), spec) for j in shown])
            weights = torch.from_numpy(motion_mask(frames, spec.fps, grid, MaskConfig()).weights)
            (vector,) = gradients([EncodedClip(encode(torch.from_numpy(frames)), weights, embed([clip.caption])[0])])
            found.append(vector.vector.numpy().astype(np.float64))
    rows = np.stack(found)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def moved(scores: Mapping[str, Floats], level: bool) -> Moved:
    """Of scores [n, q] of the same clips in each bucket; the queries are in the first."""
    table = np.stack(list(scores.values()))  # [b, n, q]
    if level:
        count, mean = table.shape[1], table.mean(1, keepdims=True)
        table = table - count / (count + PRIOR_CLIPS) * (mean - table.mean((0, 1)))
    buckets, clips, _ = table.shape
    rng = np.random.default_rng(0)
    rhos, shifts = [], [[] for _ in range(buckets)]
    reference = ranks(table[0])
    for _ in range(MIXTURES):
        chosen = rng.integers(0, buckets, clips)
        place = ranks(table[chosen, np.arange(clips)])
        rhos.append(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(place.T, reference.T, strict=True)]))
        for bucket in range(buckets):
            shifts[bucket] += (
                [100 * place[chosen == bucket].mean() / (clips - 1) - 50] if (chosen == bucket).any() else []
            )
    return Moved(float(np.mean(rhos)), tuple(float(np.mean(each)) for each in shifts))


def ranks(scores: Floats) -> Floats:
    """Rank of each row in its column, 0 for the lowest score."""
    return np.argsort(np.argsort(scores, axis=0, kind="stable"), axis=0).astype(np.float64)


def measure(clips: int, queries: int, buckets: Sequence[str] = BUCKETS) -> dict[str, Moved]:
    """Way of drawing noise and scoring -> how far ranks move. Clips that do not move in some bucket are left out."""
    pool, asked = rendered("dev_pool", clips), rendered("dev_queries", queries)
    found: dict[str, Moved] = {}
    for name, noise_of in (("flat", shared_noise), ("field", field_noise)):
        every = {bucket: vectors(pool, bucket, noise_of) for bucket in buckets}
        own = vectors(asked, buckets[0], noise_of)
        moving = np.all([rows.any(axis=1) for rows in every.values()], axis=0)
        scores = {bucket: rows[moving] @ own[own.any(axis=1)].T for bucket, rows in every.items()}
        found |= {f"{name}, raw": moved(scores, False), f"{name}, levelled": moved(scores, True)}
    other = vectors(pool, buckets[0], field_noise, seed=1), vectors(asked, buckets[0], field_noise, seed=1)
    again = other[0][moving] @ other[1][own.any(axis=1)].T
    rhos = [np.corrcoef(a, b)[0, 1] for a, b in zip(ranks(again).T, ranks(scores[buckets[0]]).T, strict=True)]
    return {**found, "seed": Moved(float(np.mean(rhos)), (0.0,))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=5, help="of each of five motions")
    parser.add_argument("--quick", action="store_true", help="2 clips of each motion")
    parser.add_argument("--out", type=Path, required=True, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    clips = 2 if options.quick else options.clips
    for way, one in measure(clips, 1).items():
        low, high = min(one.shifts), max(one.shifts)
        print(f"{way:16} spearman {one.spearman:.2f}, percentile of a bucket shifted by {low:+.1f} to {high:+.1f}")
        row = {
            "suite": "quality",
            "op": "buckets",
            "impl": way,
            "device": f"cpu, {torch.get_num_threads()} threads",
            "commit": commit(),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "clips": clips * len(USED),
            "buckets": list(BUCKETS),
            "spearman": one.spearman,
            "shifts": list(one.shifts),
        }
        append(options.out, row)


if __name__ == "__main__":
    main()
