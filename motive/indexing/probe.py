"""Fidelity of the projection on the user's own clips: exact against projected cosines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import motive_kernels as mk
from motive.data import Clip
from motive.errors import ClipError, DatasetError, OptionError
from motive.indexing.setup import Setup
from motive.indexing.worker import Worker
from motive.scores.top import spearman

MEMORY_BYTES = 4 << 30
"""Exact gradients that are held at once. More parameters are taken group by group, with a pass for each group."""


@dataclass(frozen=True)
class ProbeResult:
    """Agreement of cosines over all pairs of the probed clips.

    Attributes:
        clips: probed.
        pairs: clips (clips - 1) / 2.
        spearman: rank correlation of projected with exact cosines.
        rmse: root mean square difference of the two.
        expected_rmse: 1 / sqrt(width of a vector), what a dense random matrix would give for unrelated gradients.
    """

    clips: int
    pairs: int
    spearman: float
    rmse: float
    expected_rmse: float


def check_probe(setup: Setup, count: int) -> None:
    """Refuse a count that cannot be probed.

    Raises:
        OptionError: fewer than 3 clips, or more than fit into memory with a single parameter's gradients.
    """
    largest = max(math.prod(shape) for shape in setup.projector.shapes.values())
    most = MEMORY_BYTES // (4 * largest * len(setup.config.draws.sigmas()))
    if not 3 <= count <= most:
        raise OptionError(
            f"index: probe must be 3 to {most} clips for parameters of up to {largest:,} numbers, got {count}; "
            "choose a number in between"
        )


def probe(setup: Setup, worker: Worker, clips: Sequence[Clip], count: int) -> ProbeResult:
    """Compare exact with projected cosines on ``count`` clips of a dataset.

    Raises:
        OptionError: as check_probe.
        DatasetError: fewer than 3 of the clips could be used.
    """
    check_probe(setup, count)
    encoded = []
    for item in worker.prepare(clips[:count]):
        with suppress(ClipError):  # left out, as indexing leaves it out
            encoded.append(worker.load(item))
    if len(encoded) < 3:
        raise DatasetError(f"index: probe must find 3 clips that can be used, got {len(encoded)}; see failed.parquet")
    draws = setup.config.draws
    gram = np.zeros((len(encoded) * len(draws.sigmas()),) * 2)
    for shapes in parameter_groups(setup.projector.shapes, len(gram)):
        size = sum(math.prod(shape) for shape in shapes.values())
        gradients = worker.gradients(mk.Projector(mk.ProjectionSpec("identity", dim=size), shapes))
        exact = np.concatenate([gradients.each_draw([clip])[0].numpy() for clip in encoded])
        gram += exact @ exact.T
    gradients = worker.gradients()
    projected = np.stack([gradients([clip])[0].vector.numpy() for clip in encoded]).astype(np.float64)
    one, other = _cosines(combined(gram, len(encoded), draws.combine)), _cosines(projected @ projected.T)
    return ProbeResult(
        clips=len(encoded),
        pairs=len(one),
        spearman=spearman(one, other),
        rmse=float(np.sqrt(np.mean((one - other) ** 2))),
        expected_rmse=1 / math.sqrt(setup.width),
    )


def parameter_groups(
    shapes: Mapping[str, tuple[int, ...]], rows: int, memory_bytes: int = MEMORY_BYTES
) -> list[dict[str, tuple[int, ...]]]:
    """The parameters in runs whose gradients of ``rows`` (clip, draw) pairs fit into memory."""
    groups: list[dict[str, tuple[int, ...]]] = [{}]
    held = 0
    for name, shape in shapes.items():
        needed = 4 * rows * math.prod(shape)
        if groups[-1] and held + needed > memory_bytes:
            groups.append({})
            held = 0
        groups[-1][name] = shape
        held += needed
    return groups


def combined(gram: NDArray[np.float64], clips: int, combine: str) -> NDArray[np.float64]:
    """Inner products [n, n] of clips' vectors from those of their draws [n draws, n draws], as DrawConfig.combine says."""
    if combine != "mean":
        norms = np.sqrt(np.diag(gram))
        gram = gram / np.maximum(np.outer(norms, norms), np.finfo(np.float64).tiny)
    blocks = gram.reshape(clips, -1, clips, gram.shape[1] // clips)
    return np.einsum("idjd->ij", blocks) if combine == "concat" else blocks.sum((1, 3))


def _cosines(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine of every pair i < j, of inner products [n, n]."""
    norms = np.sqrt(np.diag(gram))
    return (gram / np.maximum(np.outer(norms, norms), np.finfo(np.float64).tiny))[np.triu_indices(len(gram), 1)]
