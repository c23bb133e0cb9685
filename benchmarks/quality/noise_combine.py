"""Precision@10 of same-motion clips for each way to combine a clip's noise levels (--noise-combine).

    python -m benchmarks.quality.noise_combine [--quick] [--clips 24] [--seed 2] [--dim 512] --out DIR

Development clips only (no clip of the demo's pool or queries): `clips` of each of the ten motion types, each clip asked
against all the others. Ridge is the preconditioner (C + damping mean eigenvalue I)^-1 of the scores, C from unit vectors.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

import motive_kernels as mk
from benchmarks.harness.rows import append, commit
from motive.adapters import load_adapter
from motive.gradients.clips import ClipGradients, EncodedClip
from motive.gradients.draws import DrawConfig
from motive.masks import MaskConfig, motion_mask
from motive.toy.pool import clip_seed
from motive.toy.render import FPS, MOTIONS, render_clip

TOP = 10
DAMPING = 3.0
DRAWS = DrawConfig("uniform", count=4)


def encoded_clips(seed: int, clips: int) -> tuple[list[EncodedClip], list[EncodedClip], np.ndarray]:
    """The clips with motion weights, the same with weights of one, and their motion types."""
    adapter = load_adapter("toy", device="cpu")
    clip_spec = adapter.clip_spec
    shape, step, count = adapter.latent_shape(clip_spec), round(FPS / clip_spec.fps), clip_spec.frames
    rendered = [render_clip(MOTIONS[i // clips], clip_seed("dev_pool", seed, i)) for i in range(clips * len(MOTIONS))]
    size = (clip_spec.width, clip_spec.height)
    frames = [
        np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in clip.frames[::step][:count]])
        for clip in rendered
    ]
    with adapter.video_encoder() as encode:
        latents = [encode(torch.from_numpy(one)) for one in frames]
    with adapter.text_encoder() as encode:
        texts = encode([clip.caption for clip in rendered])
    weights = [torch.from_numpy(motion_mask(one, clip_spec.fps, shape[1:], MaskConfig()).weights) for one in frames]
    moving = [EncodedClip(*parts) for parts in zip(latents, weights, texts, strict=True)]
    plain = [EncodedClip(one.latents, torch.ones_like(one.weights), one.conditioning) for one in moving]
    return moving, plain, np.array([clip.motion for clip in rendered])


def draw_vectors(clips: list[EncodedClip], k: int) -> Tensor:
    """[draws, n, k], one projected gradient for every clip and noise level, not normalized."""
    adapter = load_adapter("toy", device="cpu")
    transformer = adapter.load_transformer(adapter.experts[0])
    shapes = {f"transformer.{name}": tuple(p.shape) for name, p in transformer.named_parameters()}
    projector = mk.Projector(mk.ProjectionSpec(dim=k), shapes)
    found = []
    for j, sigma in enumerate(DRAWS.sigmas()):
        one = DrawConfig("single", sigma=sigma, seed=j, combine="mean")
        gradients = ClipGradients(adapter, transformer, projector, one)
        found.append(torch.stack([v.vector for i in range(0, len(clips), 8) for v in gradients(clips[i : i + 8])]))
    return torch.stack(found)


def unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-30)


def ridge(vectors: Tensor) -> Tensor:
    """Preconditioned similarities [n, n], by the singular values of the unit vectors."""
    left, values, _ = torch.linalg.svd(unit(vectors).double(), full_matrices=False)
    energy = values.square() / len(vectors)
    return (left * (values.square() / (energy + DAMPING * energy.sum() / vectors.shape[1]))) @ left.T


def lift(similarity: Tensor, labels: np.ndarray) -> float:
    """Precision@TOP of the clip's own motion, over chance."""
    best = similarity.clone().fill_diagonal_(-torch.inf).topk(TOP, 1).indices.numpy()
    chance = (np.count_nonzero(labels[:, None] == labels[None], axis=1) - 1).mean() / (len(labels) - 1)
    return float((labels[best] == labels[:, None]).mean() / chance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24, help="of each motion type")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--dim", type=int, default=512, help="numbers of one draw's vector")
    parser.add_argument("--quick", action="store_true", help="6 clips of each type")
    parser.add_argument("--out", type=Path, required=True, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    began = time.time()
    moving, plain, labels = encoded_clips(options.seed, 6 if options.quick else options.clips)
    print(
        f"{len(labels)} clips, top {TOP}, noise levels {DRAWS.sigmas()}; precision@10 of same-motion clips over chance"
    )
    print(f"{'weights':8} {'combine':22} {'cosine':>7} {'ridge':>7}")
    for weights, clips in (("motion", moving), ("uniform", plain)):
        draws = draw_vectors(clips, options.dim)
        ways = {
            "mean": draws.mean(0),
            "normalized-mean": unit(draws).mean(0),
            "concat": unit(draws).transpose(0, 1).flatten(1),
            **{f"sigma {sigma} alone": one for sigma, one in zip(DRAWS.sigmas(), draws, strict=True)},
        }
        for way, vectors in ways.items():
            row = {"cosine": lift(unit(vectors) @ unit(vectors).T, labels), "ridge": lift(ridge(vectors), labels)}
            print(f"{weights:8} {way:22} {row['cosine']:7.2f} {row['ridge']:7.2f}", flush=True)
            append(
                options.out,
                {
                    "suite": "quality",
                    "op": "noise_combine",
                    "impl": f"{weights}, {way}",
                    "device": f"cpu, {torch.get_num_threads()} threads",
                    "commit": commit(),
                    "versions": {"python": platform.python_version(), "torch": torch.__version__},
                    "weights": weights,
                    "combine": way,
                    "clips": len(labels),
                    "dim": options.dim,
                    "seed": options.seed,
                    "damping": DAMPING,
                    **row,
                },
            )
    print(f"{time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
