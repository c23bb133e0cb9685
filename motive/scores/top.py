"""The best rows of score columns that are read a batch at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from motive.scores.ranking import top_rows


class TopRows:
    """The best rows of each of several columns, kept while batches of rows go by.

    The result is what :func:`~motive.scores.ranking.top_rows` gives over the whole column, whatever the batches, and
    with its tie rule. Memory is columns x size.

    Args:
        columns: number of columns.
        size: rows kept for each column.
        largest: False keeps the smallest values instead, smallest first.
    """

    def __init__(self, columns: int, size: int, largest: bool = True) -> None:
        self._size = size
        self._sign = 1.0 if largest else -1.0
        self._rows = [np.empty(0, np.int64) for _ in range(columns)]
        self._values = [np.empty(0, np.float64) for _ in range(columns)]

    def update(self, rows: NDArray[np.int64], values: NDArray[np.floating]) -> None:
        """Take one batch.

        Args:
            rows: [b] ascending row numbers, all above those of earlier batches.
            values: [b, columns].
        """
        for column in range(len(self._rows)):
            signed = self._sign * values[:, column].astype(np.float64)
            fresh = np.sort(top_rows(signed, self._size))
            kept_rows = np.concatenate([self._rows[column], rows[fresh]])
            kept_values = np.concatenate([self._values[column], signed[fresh]])
            by_row = np.argsort(kept_rows)  # the tie rule is about rows, not about the order in which they came
            kept = by_row[top_rows(kept_values[by_row], self._size)]
            self._rows[column], self._values[column] = kept_rows[kept], kept_values[kept]

    def rows(self, column: int) -> NDArray[np.int64]:
        """Row numbers of one column, best first."""
        return self._rows[column]

    def values(self, column: int) -> NDArray[np.float64]:
        """The values of those rows, in the same order."""
        return self._sign * self._values[column]


def spearman(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Spearman's rank correlation, equal values sharing their mean rank; NaN if either side is constant.

    Args:
        a, b: [n] finite values.
    """
    if a.size < 2:
        return float("nan")
    x, y = _mean_ranks(a), _mean_ranks(b)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else float("nan")


def _mean_ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse]
