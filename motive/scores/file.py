"""Reading a scores file a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.errors import StoreError
from motive.extras import require
from motive.scores.format import QUERY_PREFIX, read_header


class ScoreFile:
    """The Parquet file that ``motive score`` writes: a row a clip, a column a query.

    Only the columns and rows asked for are in memory.

    Args:
        path: the file.
        where: the operation that reads it, for messages.

    Raises:
        OptionError: there is no such file.
        StoreError: the file is not a scores file.
    """

    def __init__(self, path: Path, where: str) -> None:
        parquet = require("pyarrow.parquet", where, extra="tables")
        arrow = require("pyarrow", where, extra="tables")
        self.path = Path(path)
        self.metadata: dict[str, Any] = read_header(self.path, where)
        try:
            self._file = parquet.ParquetFile(self.path)
        except (arrow.ArrowException, OSError) as error:
            raise StoreError(
                f"{where}: scores must be a file written by motive score, got {path} ({error}); run motive score again"
            ) from error
        names = self._file.schema_arrow.names
        self.query_ids = tuple(name[len(QUERY_PREFIX) :] for name in names if name.startswith(QUERY_PREFIX))
        self.rows = int(self._file.metadata.num_rows)
        if not self.query_ids:
            raise StoreError(
                f"{where}: scores must have a column {QUERY_PREFIX}..., got {', '.join(names[:8])} in {path}; "
                "run motive score again"
            )

    @property
    def top_k(self) -> int | None:
        """Clips whose scores the file holds for each query; None for all of them."""
        found = self.metadata.get("top_k")
        return None if found is None else int(found)

    def batches(self, columns: Sequence[str], rows: int = 65536) -> Iterator[tuple[int, Any]]:
        """Yield (number of the first row, pyarrow RecordBatch with the columns in that order)."""
        start = 0
        for batch in self._file.iter_batches(batch_size=rows, columns=list(columns)):
            yield start, batch.select(list(columns))
            start += batch.num_rows

    def scores(self, query_ids: Sequence[str], rows: int = 65536) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (number of the first row, scores [b, q]) for the given queries."""
        for start, batch in self.batches([QUERY_PREFIX + name for name in query_ids], rows):
            yield start, columns_to_matrix(batch)

    def column(self, name: str) -> Any:
        """One whole column as a pyarrow ChunkedArray."""
        return self._file.read(columns=[name]).column(name)


def columns_to_matrix(batch: Any) -> NDArray[np.float32]:
    """The columns of a pyarrow batch side by side, [b, columns] float32; null becomes NaN."""
    values = [np.asarray(column.to_numpy(zero_copy_only=False), np.float32) for column in batch.columns]
    return np.stack(values, axis=1) if values else np.empty((batch.num_rows, 0), np.float32)
