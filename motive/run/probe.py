"""How faithful the projection is on the user's own clips: exact against projected cosines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import motive_kernels as mk
from motive.capture.gradients import ClipGradients
from motive.data import Clip
from motive.errors import DatasetError, OptionError
from motive.evaluate.ranking import spearman
from motive.run.setup import Setup
from motive.run.worker import Worker

MEMORY_BYTES = 8 << 30
"""Exact gradients that may be held at once; asking for more is refused with the amount."""


@dataclass(frozen=True)
class ProbeResult:
    """Agreement of cosines over all pairs of the probed clips.

    Attributes:
        clips: probed.
        pairs: clips (clips - 1) / 2.
        spearman: rank correlation of projected with exact cosines.
        rmse: root mean square difference of the two.
        expected_rmse: 1 / sqrt(k), what a dense random matrix would give for unrelated gradients.
    """

    clips: int
    pairs: int
    spearman: float
    rmse: float
    expected_rmse: float


def probe(setup: Setup, worker: Worker, clips: Sequence[Clip], count: int) -> ProbeResult:
    """Compare exact with projected cosines on ``count`` clips of a dataset.

    Raises:
        OptionError: fewer than 3 clips, or their exact gradients do not fit into memory.
        DatasetError: fewer than 3 of the clips could be used.
    """
    size = sum(math.prod(shape) for shape in setup.projector.shapes.values())
    needed = 4 * size * count
    if count < 3 or needed > MEMORY_BYTES:
        raise OptionError(
            f"index: probe must be at least 3 and at most {MEMORY_BYTES // (4 * size)} clips for {size:,} parameters "
            f"({MEMORY_BYTES / 1e9:.1f} GB of exact gradients), got {count}; choose a number in between, or fewer "
            "parameters"
        )
    prepared = worker.prepare(clips[:count])
    if len(prepared) < 3:
        raise DatasetError(f"index: probe must find 3 clips that can be used, got {len(prepared)}; see failed.parquet")
    encoded = [worker.load(item) for item in prepared]
    exact_projector = mk.Projector(mk.ProjectionSpec("identity", dim=size), setup.projector.shapes)
    exact = _cosines(_vectors(worker.gradients(exact_projector), encoded))
    projected = _cosines(_vectors(worker.gradients(), encoded))
    return ProbeResult(
        clips=len(prepared),
        pairs=len(exact),
        spearman=spearman(exact, projected),
        rmse=float(np.sqrt(np.mean((exact - projected) ** 2))),
        expected_rmse=1 / math.sqrt(setup.projector.dim),
    )


def _vectors(gradients: ClipGradients, encoded: Sequence) -> NDArray[np.float32]:
    return np.stack([gradients([clip])[0].vector.numpy() for clip in encoded])


def _cosines(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of every pair i < j."""
    norms = np.sqrt(np.einsum("nk,nk->n", vectors, vectors, dtype=np.float64))
    gram = (vectors @ vectors.T).astype(np.float64) / np.maximum(np.outer(norms, norms), np.finfo(np.float64).tiny)
    return gram[np.triu_indices(len(vectors), 1)]
