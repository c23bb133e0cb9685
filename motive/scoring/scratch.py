"""Scores on their way from blocks of clips to columns of queries, on disk so that memory does not grow with them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from motive.errors import StoreError


class Scratch:
    """A float32 [q, n] matrix in a file without a name, which goes with the process that made it.

    Args:
        folder: where there is room for 4 q n bytes.
        queries: q.
        clips: n.
    """

    def __init__(self, folder: Path, queries: int, clips: int) -> None:
        self._folder = folder
        self._clips = clips
        self._bytes = 4 * queries * clips
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 -- closed by __exit__
        except OSError as error:
            raise self._failed(error) from error

    def write(self, first_query: int, first_clip: int, scores: NDArray[np.float32]) -> None:
        """Put in a block [rows of queries, clips].

        Raises:
            StoreError: the disk is full.
        """
        try:
            for offset, row in enumerate(scores):
                self._file.seek(4 * ((first_query + offset) * self._clips + first_clip))
                self._file.write(np.ascontiguousarray(row).data)
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def read(self, query: int, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """One query's scores of clips start to stop - 1; all of them by default."""
        stop = self._clips if stop is None else stop
        self._file.seek(4 * (query * self._clips + start))
        return np.frombuffer(self._file.read(4 * (stop - start)), np.float32)

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(
            f"score: {self._folder} must have room for {self._bytes} bytes of scores, got {error.strerror}; "
            "free space or write elsewhere"
        )
