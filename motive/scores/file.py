"""The reader of scores files: columns whole or a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
        self.path, self._where = Path(path), where
        self.metadata: dict[str, Any] = read_header(self.path, where)
        try:
            self._file = parquet.ParquetFile(self.path, page_checksum_verification=True)
        except (arrow.ArrowException, OSError) as error:
            raise StoreError(
                f"{where}: scores must be a file written by motive score, got {path} ({error}); run motive score again"
            ) from error
        names = self._file.schema_arrow.names
        self.query_ids = tuple(name[len(QUERY_PREFIX) :] for name in names if name.startswith(QUERY_PREFIX))
        self.names = tuple(names)
        self.rows = int(self._file.metadata.num_rows)
        if self.rows != self.metadata.get("clips"):
            raise StoreError(
                f"{where}: scores must hold {self.metadata.get('clips')!r} clips, got {self.rows} in {path}; "
                "run motive score again"
            )
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
        """Yield (number of the first row, pyarrow RecordBatch with the columns in that order).

        Raises:
            StoreError: the file is damaged.
        """
        start, names = 0, list(columns)
        with self._readable():
            for batch in self._file.iter_batches(batch_size=rows, columns=names):
                yield start, batch.select(names)
                start += batch.num_rows

    def scores(self, query_ids: Sequence[str], rows: int = 65536) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (number of the first row, scores [b, q]) for the given queries; NaN beyond a query's top-k."""
        for start, batch in self.batches([QUERY_PREFIX + name for name in query_ids], rows):
            yield start, columns_to_matrix(batch)

    def column(self, name: str) -> Any:
        """One whole column as a pyarrow ChunkedArray."""
        with self._readable():
            column = self._file.read(columns=[name]).column(name)
            column.validate(full=True)
            return column

    def keys(self, names: Sequence[str]) -> dict[str, NDArray]:
        """Whole columns as arrays [n] to rank by; -inf for clips beyond a query's top-k.

        Raises:
            StoreError: the file is damaged, or a column has nulls that are not of a top-k.
        """
        compute = require("pyarrow.compute", self._where, extra="tables")
        found = {}
        for name in dict.fromkeys(names):
            column = self.column(name)
            if column.null_count:
                if self.top_k is None or not name.startswith(QUERY_PREFIX):
                    raise StoreError(f"column {name} of {self.path} has nulls; run motive score again")
                column = compute.fill_null(column, -np.inf)
            found[name] = column.to_numpy()
        return found

    def clip_ids(self, rows: NDArray[np.int64]) -> Any:
        """Ids of some rows, as a pyarrow array."""
        pa = require("pyarrow", self._where, extra="tables")
        return self.column("clip_id").take(pa.array(rows)).combine_chunks()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Say which file is damaged where reading it fails."""
        arrow = require("pyarrow", self._where, extra="tables")
        try:
            yield
        except (arrow.ArrowException, OSError) as error:
            raise StoreError(
                f"{self._where}: scores must be readable, got {error} for {self.path}; run motive score again"
            ) from error


def columns_to_matrix(batch: Any) -> NDArray[np.float32]:
    """The columns of a pyarrow batch side by side, [b, columns] float32; null becomes NaN."""
    values = [np.asarray(column.to_numpy(zero_copy_only=False), np.float32) for column in batch.columns]
    return np.stack(values, axis=1) if values else np.empty((batch.num_rows, 0), np.float32)
