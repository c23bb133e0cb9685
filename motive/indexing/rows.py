"""A clip's result as rows of a store."""

from __future__ import annotations

import json

import numpy as np

from motive.errors import ClipError
from motive.gradients.clips import ClipVector
from motive.indexing.encode import Prepared
from motive.store import StoreRow
from motive.store.ids import segment_id


def store_rows(prepared: Prepared, result: ClipVector) -> list[StoreRow]:
    """The row of one clip, or one for each of its segments that has a gradient.

    Raises:
        ClipError: the vector is not finite, or is zero and so has no direction.
    """
    if not np.isfinite(result.vector.numpy()).all():
        raise ClipError("nan_gradient", "the projected gradient is not finite; look at this clip's latents and caption")
    clip_id = prepared.clip.clip_id
    if not result.segments:
        rows = [_row(prepared, clip_id, result)]
    else:
        rows = [_row(prepared, segment_id(clip_id, name), part, segment=name) for name, part in result.segments.items()]
    rows = [row for row in rows if row.vector.any()]
    if not rows:
        raise ClipError("zero_gradient", "the projected gradient is zero, so it has no cosine")
    return rows


def _row(prepared: Prepared, row_id: str, result: ClipVector, **more: str) -> StoreRow:
    clip = prepared.clip
    columns = {
        "path": str(clip.path),
        "caption": clip.caption,
        "columns": json.dumps(dict(clip.columns), ensure_ascii=False, sort_keys=True),
        **prepared.facts,
        "gradient_norm": result.norm,
        "loss": result.loss,
        **more,
    }
    return StoreRow(row_id, result.vector.numpy(), columns)
