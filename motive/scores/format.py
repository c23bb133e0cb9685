"""The scores file: a Parquet table of one row a clip, and a JSON summary beside it (docs/formats/scores.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from motive.errors import OptionError, StoreError
from motive.extras import require
from motive.publish import published
from motive.store.files import LocalFiles

FORMAT = "motive.scores"
VERSION = 2
_FORMER_NAMES = {"lambda": "damping", "lambdas": "dampings", "lambda_auto": "damping_auto", "listed": "top_k"}
"""Fields of version 1 and what they are called since; version 1 is read, version 2 written."""
METADATA_KEY = b"motive"
QUERY_PREFIX = "query/"
GROUP_PREFIX = "group/"
FIXED_COLUMNS: Mapping[str, str] = {
    "clip_id": "string",
    "votes": "int32",
    "mean": "float32",
    "max": "float32",
    "rank": "int64",
    "percentile": "float32",
}
"""Columns of every scores file, in this order; the groups' and the queries' columns follow."""

_ROW_GROUP_BYTES = 1 << 25
_MAX_ROW_GROUP_ROWS = 1 << 16


def query_column(clip_id: str) -> str:
    """Column of one query's scores."""
    return QUERY_PREFIX + clip_id


def group_column(group: str, value: str) -> str:
    """Column of one group's ``votes`` or ``mean``."""
    return f"{GROUP_PREFIX}{group}/{value}"


def columns_of(queries: Sequence[str], groups: Sequence[str], *, weighted: bool = False) -> dict[str, str]:
    """Every column of a scores file, name -> type; votes that are weighted are no integers."""
    votes = "float32" if weighted else "int32"
    columns = {**FIXED_COLUMNS, "votes": votes}
    for group in groups:
        columns |= {group_column(group, "votes"): votes, group_column(group, "mean"): "float32"}
    return columns | {query_column(clip_id): "float32" for clip_id in queries}


def prepare_target(out: Path) -> None:
    """Make the output's folder; refuse a path that is no Parquet name, or holds something else than scores.

    Raises:
        OptionError: choose another path.
    """
    if out.suffix != ".parquet":
        raise OptionError(f"score: out must be a file name that ends in .parquet, got {out}; add the ending")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(
            f"score: out must be in a folder that can be made, got {out} ({error.strerror}); choose another path"
        ) from error
    for path, is_ours in ((out, _holds_scores), (summary_path(out), _holds_summary)):
        if (path.exists() or path.is_symlink()) and not is_ours(path):
            raise OptionError(
                f"score: out must be new or earlier scores, and {path} holds something else; choose another path"
            )


def _holds_scores(path: Path) -> bool:
    try:
        read_header(path, "score")
    except (OptionError, StoreError):
        return False
    return True


def _holds_summary(path: Path) -> bool:
    try:
        summary = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(summary, dict) and summary.get("format") == FORMAT


@contextmanager
def scores_writer(
    out: Path, columns: Mapping[str, str], metadata: Mapping[str, Any]
) -> Iterator[Callable[[Iterable[Any]], None]]:
    """Write a scores file that appears whole or not at all.

    Yields:
        A function that takes the columns of the next rows as pyarrow arrays or NumPy arrays, in order.
    """
    pa, parquet = require("pyarrow", "score", extra="tables"), require("pyarrow.parquet", "score", extra="tables")
    types = {"string": pa.string(), "int32": pa.int32(), "int64": pa.int64(), "float32": pa.float32()}
    partial = metadata.get("precision") == "int8"  # a query's scores of its top-k clips alone
    fields = [
        pa.field(name, types[kind], nullable=partial and name.startswith(QUERY_PREFIX))
        for name, kind in columns.items()
    ]
    schema = pa.schema(fields, metadata={METADATA_KEY: json.dumps(metadata, allow_nan=False).encode()})
    options = {"use_dictionary": False, "compression": "zstd", "write_page_checksum": True}
    try:
        with published(out, durable=True) as temporary, parquet.ParquetWriter(temporary, schema, **options) as file:

            def write(arrays: Iterable[Any]) -> None:
                typed = [pa.array(a) if isinstance(a, np.ndarray) else a for a in arrays]
                batch = [array.cast(field.type) for array, field in zip(typed, fields, strict=True)]
                file.write_batch(pa.RecordBatch.from_arrays(batch, schema=schema))

            yield write
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"score: out must be writable, got {error} for {out}; free space or write elsewhere"
        ) from error


def row_groups(clips: int, columns: int) -> Iterable[tuple[int, int]]:
    """(start, stop) of the pieces in which a table is written, about 32 MiB each."""
    rows = min(_MAX_ROW_GROUP_ROWS, max(1024, _ROW_GROUP_BYTES // (8 * columns)))
    for start in range(0, clips, rows):
        yield start, min(start + rows, clips)


def summary_path(out: Path) -> Path:
    """Where the JSON summary of a scores file lies."""
    return out.with_suffix(".json")


def write_summary(out: Path, summary: Mapping[str, Any]) -> None:
    """Write the summary beside the scores file, atomically."""
    path = summary_path(out)
    data = (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode()
    LocalFiles(path.parent).publish(path.name, data, replace=True)


def read_header(scores: Path, where: str) -> dict[str, Any]:
    """The metadata of a scores file, with the field names of this version.

    Raises:
        OptionError: there is no such file.
        StoreError: it is not a scores file, or one of another version.
    """
    pa, parquet = require("pyarrow", where, extra="tables"), require("pyarrow.parquet", where, extra="tables")
    if not scores.is_file():
        raise OptionError(f"{where}: scores must be a file written by motive score, got {scores}; check the path")
    try:
        schema = parquet.read_schema(scores)
        header = json.loads((schema.metadata or {})[METADATA_KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError, RecursionError) as error:
        raise StoreError(
            f"{where}: scores must be a file written by motive score, got {scores} ({error}); run motive score again"
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT or header.get("version") not in (1, VERSION):
        found = (header.get("format"), header.get("version")) if isinstance(header, dict) else header
        raise StoreError(
            f"{where}: scores must be {FORMAT} 1 to {VERSION}, got {found} in {scores}; run motive score again"
        )
    if header["version"] == 1:
        header = {_FORMER_NAMES.get(str(name), str(name)): value for name, value in header.items()}
        header["top_k"] = header.get("top_k") if header.get("precision") == "int8" else None
    missing = sorted(set(FIXED_COLUMNS) - set(schema.names))
    if missing:
        raise StoreError(f"{where}: {scores} lacks column {missing[0]}; run motive score again")
    return header
