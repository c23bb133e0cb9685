"""From two vectors to a score: similarity and preconditioner put together for one set of queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motive.scoring.config import ScoreConfig
from motive.scoring.exact import FixedMatrix, Floats, Units, cosines, unit_rows
from motive.scoring.precondition import SecondMoment


@dataclass(frozen=True)
class Kernel:
    """Scores of any clip against fixed queries.

    Attributes:
        columns: [k, q] the queries' integer rows, as columns.
        sizes: [q] their norms.
        scale: [q] what each query's cosines are multiplied with.
        whitening: applied to the clips first; None leaves them.
        keep_length: multiply with the clip's own norm.
        effect: divide by the norm of this matrix times the unit clip, the size of the clip's own effect.
    """

    columns: Floats
    sizes: Floats
    scale: Floats
    whitening: FixedMatrix | None
    keep_length: bool
    effect: FixedMatrix | None = None

    @classmethod
    def of(cls, queries: NDArray[np.float32], config: ScoreConfig, moment: SecondMoment | None) -> Kernel:
        """For queries [q, k]; moment belongs to the clips and is needed unless the preconditioner is none."""
        units, dot = unit_rows(queries), config.similarity in ("dot", "trak")
        scale, whitening, effect = np.ones(len(queries)) if config.similarity == "cosine" else units.norms, None, None
        if moment is not None:
            whiten, damping = config.preconditioner == "whiten", config.applied_damping
            assert damping is not None
            matrix = FixedMatrix.of(moment.power(damping, -0.5 if whiten else -1.0))
            units = unit_rows(matrix.apply(units))
            if whiten:
                whitening = matrix
            else:
                scale = scale * units.norms
                effect = matrix if config.similarity == "relative" else None
        return cls(np.ascontiguousarray(units.rows.T), units.sizes, scale, whitening, dot, effect)

    @property
    def directions(self) -> Floats:
        """[q, k] vectors whose dot product with a unit clip is the score, but for the clip's norm with keep_length."""
        return self.columns.T / self.sizes[:, None] * self.scale[:, None]

    def prepare(self, vectors: NDArray[np.float32]) -> Units:
        """Clips [m, k] as score takes them; a zero vector keeps zeros."""
        units = unit_rows(vectors)
        return units if self.whitening is None else unit_rows(self.whitening.apply(units))

    def score(self, clips: Units, first: int, last: int) -> NDArray[np.float32]:
        """Scores [m, last - first] of prepared clips against queries first to last - 1."""
        scores = cosines(clips, self.columns[:, first:last], self.sizes[first:last]) * self.scale[first:last]
        if self.keep_length:
            scores *= clips.norms[:, None]
        if self.effect is not None:
            sizes = unit_rows(self.effect.apply(clips)).norms
            scores /= np.where(sizes > 0, sizes, 1.0)[:, None]
        with np.errstate(over="ignore"):  # the caller refuses infinity and names the clip
            return scores.astype(np.float32)
