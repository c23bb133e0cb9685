"""Vectors for other tools: an index that faiss wrote, or Parquet files of ids and embeddings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from motive.config import check_choices
from motive.errors import ConfigError, OptionError, StoreError
from motive.extras import require
from motive.publish import published
from motive.result import Result
from motive.scores.stores import open_stores
from motive.scoring.blocks import prefetched, read_blocks
from motive.scoring.engine import Stores
from motive.scoring.exact import unit_rows
from motive.scoring.view import View

_WHERE = "export"
_ROWS = 1 << 16
_FILE_ROWS = 1 << 18
_TRAINING_ROWS_A_LIST = 64
"""faiss warns below 39 training points a centroid."""


@dataclass(frozen=True)
class ExportConfig:
    """Options of an export.

    Attributes:
        format: ``faiss`` is an exact index by inner product; ``faiss-ivf`` an approximate one with inverted lists;
            ``parquet`` a folder of files with the columns id and embedding, as NeMo Curator's semantic deduplication
            reads them.
        unit: divide vectors by their norms, so that inner products are cosines; zero vectors stay zero.
        lists: inverted lists of faiss-ivf; 0 takes the square root of the number of clips, times four.
    """

    format: Literal["faiss", "faiss-ivf", "parquet"] = "faiss"
    unit: bool = True
    lists: int = 0

    def __post_init__(self) -> None:
        check_choices(self)
        if not isinstance(self.lists, int) or self.lists < 0:
            raise ConfigError(
                "ExportConfig", f"{{lists}} must be 0 or a positive integer, got {self.lists!r}; leave it at 0"
            )


@dataclass(frozen=True)
class Exported(Result):
    """Result of export.

    Attributes:
        path: the index or the folder.
        ids: file with the clip id of each row of an index, one JSON text a line; the folder itself for Parquet.
        clips: how many.
    """

    path: Path
    ids: Path
    clips: int

    def lines(self) -> list[str]:
        """The result for people, in a line."""
        return [f"{self.path}: {self.clips} vectors; their clip ids are in {self.ids}"]


def export(store: Stores, out: Path | str, config: ExportConfig | None = None) -> Exported:
    """Write the vectors of one store, or several, in a form that other tools read.

    Args:
        store: as for score.
        out: a new file for faiss, a new or empty folder for Parquet.
        config: options.

    Raises:
        OptionError: out is taken, or there are fewer clips than lists.
        MissingExtra: faiss or pyarrow is not installed.
        StoreError: the store is damaged, or out cannot be written.
    """
    config, out = config or ExportConfig(), Path(out)
    view = View(open_stores(store), _WHERE)
    taken = any(out.iterdir()) if out.is_dir() and config.format == "parquet" else out.exists() or out.is_symlink()
    if taken:
        raise OptionError(f"{_WHERE}: out must be new, got {out}; choose another path")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if config.format == "parquet":
            return _parquet(view, out, config)
        return _faiss(view, out, config)
    except OSError as error:
        raise StoreError(f"{_WHERE}: out must be writable, got {error} for {out}; choose another path") from error


def _blocks(view: View, config: ExportConfig) -> Any:
    """(first row, vectors) as they are exported."""
    for start, block in prefetched(read_blocks(view, _ROWS, _WHERE)):
        yield start, _unit(block) if config.unit else np.ascontiguousarray(block)


def _unit(block: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = unit_rows(block).norms
    return (block / np.where(norms > 0, norms, 1.0)[:, None]).astype(np.float32)


def _faiss(view: View, out: Path, config: ExportConfig) -> Exported:
    faiss: Any = require("faiss", _WHERE, extra="faiss")
    index: Any = faiss.IndexFlatIP(view.dim)
    if config.format == "faiss-ivf":
        lists = config.lists or max(1, min(len(view) // _TRAINING_ROWS_A_LIST, int(4 * len(view) ** 0.5)))
        if lists > len(view):
            raise OptionError(f"{_WHERE}: lists must be at most the {len(view)} clips, got {lists}; ask for fewer")
        index = faiss.IndexIVFFlat(index, view.dim, lists, faiss.METRIC_INNER_PRODUCT)
        count = min(len(view), lists * _TRAINING_ROWS_A_LIST)
        chosen = np.unique(np.linspace(0, len(view) - 1, count).astype(np.int64))
        training = view.vectors_at(chosen)
        index.train(_unit(training) if config.unit else training)
    for _, block in _blocks(view, config):
        index.add(block)
    ids = out.with_name(f"{out.name}.ids.jsonl")
    for path, write in ((ids, _write_ids(view)), (out, lambda target: faiss.write_index(index, str(target)))):
        try:
            with published(path) as temporary:
                write(temporary)
        except RuntimeError as error:  # how faiss reports a failed write
            raise StoreError(f"{_WHERE}: out must be writable, got {error}; choose another path") from error
    return Exported(out, ids, len(view))


def _write_ids(view: View) -> Any:
    def write(target: Path) -> None:
        with open(target, "w", encoding="utf-8") as file:
            for start in range(0, len(view), _ROWS):
                part = view.ids.slice(start, min(start + _ROWS, len(view)))
                file.write("".join(f"{json.dumps(clip_id, ensure_ascii=False)}\n" for clip_id in part))

    return write


def _parquet(view: View, out: Path, config: ExportConfig) -> Exported:
    pa, parquet = require("pyarrow", _WHERE, extra="tables"), require("pyarrow.parquet", _WHERE, extra="tables")
    out.mkdir(exist_ok=True)
    schema = pa.schema([pa.field("id", pa.string()), pa.field("embedding", pa.list_(pa.float32()))])
    writer: Any = None
    try:
        for start, block in _blocks(view, config):
            if start % _FILE_ROWS == 0:
                if writer is not None:
                    writer.close()
                writer = parquet.ParquetWriter(out / f"part-{start // _FILE_ROWS:05d}.parquet", schema)
            ids = view.ids.slice(start, start + len(block)).to_arrow().cast(pa.string())
            edges = pa.array(np.arange(len(block) + 1, dtype=np.int32) * view.dim)
            vectors = pa.ListArray.from_arrays(edges, pa.array(block.reshape(-1)))
            writer.write_table(pa.Table.from_arrays([ids, vectors], schema=schema))
    finally:
        if writer is not None:
            writer.close()
    return Exported(out, out, len(view))
