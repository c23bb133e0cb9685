"""One row a clip, from rows that each hold a segment of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.extras import require
from motive.store.ids import SEGMENT


def count_clips(row_ids: Any) -> int:
    """How many clips rows of segments are of.

    Args:
        row_ids: [n] pyarrow array of ids ``<clip id>#<segment>``.
    """
    return require("pyarrow.compute", "motive/store", extra="tables").count_distinct(_clips(row_ids)).as_py()


def _clips(row_ids: Any) -> Any:
    compute = require("pyarrow.compute", "motive/store", extra="tables")
    return compute.replace_substring_regex(row_ids, pattern=f"{SEGMENT}[^{SEGMENT}]*$", replacement="")


def by_clip(
    row_ids: Any, order: NDArray[np.int64], columns: Sequence[NDArray], how: str
) -> tuple[NDArray[np.int64], list[NDArray]]:
    """Bring rows of segments together to clips.

    Args:
        row_ids: [n] pyarrow array of ids ``<clip id>#<segment>``, sorted.
        order: [n] the rows, best first.
        columns: [n] each.
        how: ``best``, a clip has the values of its best row; ``sum``, of all its rows.

    Returns:
        rows: [c] the best row of each clip, clips in the order of their first rows.
        columns: [c] each.
    """
    compute = require("pyarrow.compute", "motive/store", extra="tables")
    clips = _clips(row_ids)
    number = compute.dictionary_encode(clips.combine_chunks() if hasattr(clips, "combine_chunks") else clips)
    number = number.indices.to_numpy()
    _, first = np.unique(number[order], return_index=True)
    rows = order[first]
    if how == "best":
        return rows, [column[rows] for column in columns]
    return rows, [np.bincount(number, weights=column, minlength=rows.size).astype(column.dtype) for column in columns]
