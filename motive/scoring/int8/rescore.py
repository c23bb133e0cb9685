"""The float32 vectors behind a store's int8 ones: exact scores of the clips that a top-k needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

import motive_kernels as mk
from motive.scoring.blocks import refuse_clip, require_finite
from motive.scoring.int8.cache import Cached, Int8Store
from motive.scoring.int8.topk import Fetch
from motive.scoring.joint import Exact, Joint
from motive.scoring.similarity import Kernel
from motive.scoring.view import View


class Record:
    """Checkpoints of the same clips, with the scoring functions of their queries.

    Args:
        views: whole views, one a checkpoint.
        kernels: of each.
        unit: the similarity compares directions.
        where: the operation, for messages.
    """

    def __init__(self, views: Sequence[View], kernels: Sequence[Kernel], unit: bool, where: str) -> None:
        self.exact, self._where = Exact(tuple(kernels)), where
        self._views, self._joint = tuple(views), Joint(views, unit)

    @property
    def source(self) -> Cached:
        """What is quantized."""
        return self._views[0] if len(self._views) == 1 else self._joint

    def fetch(self, stored: Int8Store) -> Fetch:
        """Vectors of some rows, each checked against its int8 vector, so that shards need not be hashed for a few rows.

        Raises:
            StoreError: a vector is not the one that was quantized.
        """

        def fetch(rows: NDArray[np.int64]) -> list[NDArray[np.float32]]:
            parts = [view.vectors_at(rows, check=False) for view in self._views]
            for view, part in zip(self._views, parts, strict=True):
                require_finite(view, rows, part, self._where)
            joint = parts[0] if len(parts) == 1 else self._joint.side_by_side(parts)
            values, scales = mk.quantize_rows(torch.from_numpy(joint))
            wrong = (values.numpy() != stored.values[rows]).any(axis=1) | (scales.numpy() != stored.scales[rows])
            if wrong.any():
                row = int(rows[int(wrong.argmax())])
                reason = "its vector is not the one that the int8 cache was made of"
                refuse_clip(self._views[0], row, self._where, reason, "run motive verify, and delete the cache")
            return parts

        return fetch
