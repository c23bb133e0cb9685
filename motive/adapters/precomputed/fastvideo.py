"""FastVideo's preprocessed Parquet files: a row for each clip, with ``vae_latent_bytes``, ``_shape`` and ``_dtype``.

Read in fastvideo/dataset/dataloader/schema.py, record_schema.py and fastvideo/pipelines/preprocess of
hao-ai-lab/FastVideo 0.2.0 (commit 2f3d407, 2026-08-21). The latents are the encoder's mean, not normalised; a row is
named by the video's name up to its first dot. The files do not say which frames were taken: with FastVideo's defaults
those that are on display at j / train_fps from the start, as for a clip spec of that rate.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from motive.adapters.precomputed.base import Grid, LatentCache, Seen, check_dtype
from motive.errors import ClipError, OptionError
from motive.extras import require

COLUMNS = ("vae_latent_bytes", "vae_latent_shape", "vae_latent_dtype")
_NUMPY = ("float32", "float16")
"""NumPy's names are what FastVideo writes, and NumPy has no bfloat16."""
_WHERE = "motive.adapters.precomputed"


class FastVideoLatents(LatentCache):
    """A Parquet file, or a folder of them, that FastVideo's preprocessing wrote.

    Args:
        files: the Parquet files.

    Raises:
        OptionError: a file cannot be read, lacks the columns of latents, or holds a type that is not used.
    """

    tool = "FastVideo"
    raw = True

    def __init__(self, files: list[Path]) -> None:
        self._places: dict[str, tuple[Path, int, int] | None] = {}
        self._grids: dict[str, Grid] = {}
        dtypes = [dtype for file in files for dtype in self._scan(file)]
        self.dtype = dtypes[0] if dtypes else ""
        if self.dtype not in _NUMPY:
            raise OptionError(f"latents must be {' or '.join(_NUMPY)} in FastVideo's Parquet files, got {self.dtype!r}")

    def _scan(self, file: Path) -> set[str]:
        """Note where each row is; returns the types of the latents."""
        pa, pq = require("pyarrow", _WHERE, extra="tables"), require("pyarrow.parquet", _WHERE, extra="tables")
        found: set[str] = set()
        try:
            with pq.ParquetFile(file) as table:
                absent = [name for name in ("id", *COLUMNS) if name not in table.schema_arrow.names]
                if absent:
                    raise OptionError(f"latents must have FastVideo's columns, and {file} lacks {', '.join(absent)}")
                for group in range(table.num_row_groups):
                    rows = table.read_row_group(group, columns=["id", *COLUMNS[1:]]).to_pylist()
                    for at, row in enumerate(rows):
                        name = str(row["id"])
                        self._places[name] = None if name in self._places else (file, group, at)
                        found.add(str(row["vae_latent_dtype"]))
                        shape = row["vae_latent_shape"]
                        if isinstance(shape, list) and len(shape) == 4:
                            self._grids[name] = (shape[1], shape[2], shape[3])
        except (pa.ArrowException, OSError) as error:
            raise OptionError(f"latents must be Parquet, and {file} cannot be read: {error}") from error
        return found

    def grids(self, path: Path) -> frozenset[Grid]:
        grid = self._grids.get(_row_name(path))
        return frozenset(() if grid is None else {grid})

    def read(self, seen: Seen) -> Tensor:
        name = _row_name(seen.path)
        if name not in self._places:
            raise ClipError("no_latents", f"FastVideo's Parquet files have no row {name}")
        place = self._places[name]
        if place is None:
            raise ClipError("no_latents", f"several rows of FastVideo's Parquet files are called {name}")
        file, group, at = place
        row = _row(file, group, at)
        dtype, shape, data = (row[name] for name in ("vae_latent_dtype", "vae_latent_shape", "vae_latent_bytes"))
        check_dtype(self, str(dtype), f"row {name}")
        try:
            values = np.frombuffer(data, np.dtype(dtype)).reshape(shape)
        except (TypeError, ValueError) as error:
            raise ClipError("latents_unreadable", f"row {name} of {file.name}: {error}") from error
        fps = row.get("fps")
        if isinstance(fps, float) and fps > 0 and abs(fps - seen.fps) > 0.01 * seen.fps:
            raise ClipError(
                "latents_frames", f"row {name} is of a video at {fps:.4g} fps, and {seen.path.name} has {seen.fps:.4g}"
            )
        return torch.from_numpy(values.astype(np.float32))


def _row_name(path: Path) -> str:
    """What FastVideo calls the row of a video."""
    return path.name.partition(".")[0]


def _row(file: Path, group: int, at: int) -> dict[str, Any]:
    pa, pq = require("pyarrow", _WHERE, extra="tables"), require("pyarrow.parquet", _WHERE, extra="tables")
    try:
        with pq.ParquetFile(file) as table:
            columns = [name for name in (*COLUMNS, "fps") if name in table.schema_arrow.names]
            batches = table.iter_batches(1, row_groups=[group], columns=columns, use_threads=False)
            for batch in islice(batches, at, None):
                return batch.to_pylist()[0]
    except (pa.ArrowException, OSError) as error:
        raise ClipError("latents_unreadable", f"{file.name} cannot be read: {error}") from error
    raise ClipError("latents_unreadable", f"{file.name} has fewer rows than it had")
