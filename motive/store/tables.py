"""The Parquet side of a shard: one row a clip, typed columns, and nothing that runs when it is read."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from motive.data.base import Failure
from motive.errors import OptionError, StoreError
from motive.extras import require

_WHERE = "motive/store"

INDEX_COLUMNS: Mapping[str, str] = {
    "path": "string",
    "caption": "string",
    "source_seconds": "float32",
    "source_fps": "float32",
    "source_frames": "int64",
    "source_height": "int32",
    "source_width": "int32",
    "sample_aspect": "string",
    "source_stream": "int32",
    "deinterlaced": "string",
    "alpha": "bool",
    "hdr": "string",
    "used_first": "int64",
    "used_last": "int64",
    "used_start_s": "float64",
    "used_end_s": "float64",
    "notes": "string",
    "static": "bool",
    "magnitude_px_mean": "float32",
    "magnitude_px_max": "float32",
    "mask_mean": "float32",
    "gradient_norm": "float32",
    "loss": "float32",
    "camera": "string",
    "camera_residual_share": "float32",
    "content_hash": "string",
    "columns": "string",
}
"""Columns of the stores that ``motive index`` writes; ``columns`` is the dataset row's own columns as JSON."""

SEGMENT_COLUMNS: Mapping[str, str] = {**INDEX_COLUMNS, "segment": "string"}
"""Columns of the stores of segments that ``motive index --segments`` writes."""


def index_columns(*, segments: bool, buckets: bool) -> Mapping[str, str]:
    """Columns of the stores that ``motive index`` writes with these options: ``bucket`` is the name of a clip's bucket."""
    columns = SEGMENT_COLUMNS if segments else INDEX_COLUMNS
    return {**columns, "bucket": "string"} if buckets else columns


FAILURE_COLUMNS: Mapping[str, str] = {"path": "string", "stage": "string", "reason": "string", "detail": "string"}


def arrow() -> Any:
    """The pyarrow package, or MissingExtra."""
    return require("pyarrow", _WHERE, extra="tables")


def schema(columns: Mapping[str, str]) -> Any:
    """Arrow schema of a shard with these columns: clip_id first; text has 64-bit offsets, so that the columns
    of many shards can be put together."""
    pa = arrow()
    types = {
        "string": pa.large_string(),
        "bool": pa.bool_(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float32": pa.float32(),
        "float64": pa.float64(),
    }
    fields = [pa.field("clip_id", pa.large_string(), nullable=False)]
    return pa.schema([*fields, *(pa.field(name, types[kind]) for name, kind in columns.items())])


def encode_table(
    ids: Sequence[str], rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], where: str
) -> bytes:
    """Parquet bytes of the rows; a column that a row lacks is null.

    Raises:
        OptionError: a row has an unknown column, or a value that does not fit its column's type.
    """
    pa, target = arrow(), schema(columns)
    for clip_id, row in zip(ids, rows, strict=True):
        if unknown := sorted(set(row) - set(columns)):
            raise OptionError(
                f"{where}: columns of {clip_id!r} must be among {', '.join(columns)}, got {unknown[0]!r}; "
                "name it when the store is created"
            )
    arrays = [pa.array(ids, pa.large_string())]
    for field in list(target)[1:]:
        try:
            arrays.append(pa.array([row.get(field.name) for row in rows], field.type))
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise OptionError(
                f"{where}: column {field.name} must be {columns[field.name]} or None, got {error}; convert the values"
            ) from error
    return encode_parquet(pa.Table.from_arrays(arrays, schema=target))


def encode_parquet(table: Any) -> bytes:
    """Parquet bytes of a table."""
    buffer = io.BytesIO()
    require("pyarrow.parquet", _WHERE, extra="tables").write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def decode_table(data: bytes, columns: Mapping[str, str], rows: int, where: str) -> Any:
    """The pyarrow Table in a shard's Parquet bytes.

    Raises:
        StoreError: it is not Parquet, or not the table that the manifest and the commit describe.
    """
    pa, expected = arrow(), schema(columns)
    try:
        table = require("pyarrow.parquet", _WHERE, extra="tables").read_table(io.BytesIO(data))
        table.validate(full=True)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise StoreError(
            f"{where}: content must be Parquet, got {error}; run motive verify, or restore the file"
        ) from error
    if not table.schema.equals(expected):
        raise StoreError(
            f"{where}: columns must be {_describe(expected)}, got {_describe(table.schema)}; "
            "run motive verify, or restore the file"
        )
    if table.num_rows != rows:
        raise StoreError(f"{where}: rows must be {rows}, got {table.num_rows}; run motive verify, or restore the file")
    return table


def failures_of(table: Any) -> list[Failure]:
    """The rows of a failure table."""
    names = ("clip_id", *FAILURE_COLUMNS)
    columns = [table.column(name).to_pylist() for name in names]
    return [Failure(*(value or "" for value in row)) for row in zip(*columns, strict=True)]


def encode_failures(failures: Sequence[Failure], where: str) -> bytes:
    """Parquet bytes of failures, in the order given."""
    rows = [{name: getattr(failure, name) for name in FAILURE_COLUMNS} for failure in failures]
    return encode_table([failure.clip_id for failure in failures], rows, FAILURE_COLUMNS, where)


def _describe(found: Any) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in found)
