"""Rows of a table in another file of its kind, with cells replaced and added."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from motive.data.formats.tables import (
    DELIMITERS,
    column_names,
    lines_of,
    open_parquet,
    parquet_batches,
    read_rows,
    readable,
    write_csv,
    write_json,
)
from motive.extras import require
from motive.publish import published


def copy_rows(source: Path, target: Path, numbers: Sequence[int], updates: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of one table file to another of the same kind, with cells replaced and added.

    Kept cells keep their value and, in JSON and Parquet, their type. The target appears whole or not at all. Of CSV, TSV
    and JSON Lines one row is in memory at a time; the kept ones wait in a temporary file beside the target.

    Args:
        source: table to take rows from.
        target: file to write; same suffix.
        numbers: TableRow.number of each row to write, in the order to write them.
        updates: for each, column name to new value (text or number; None is null); same names in each.
    """
    kind = source.suffix.lower()
    if kind == ".parquet":
        _copy_parquet(source, target, numbers, updates)
        return
    with _spooled(source, target.parent, set(numbers)) as kept:
        rows = ({**kept(number), **update} for number, update in zip(numbers, updates, strict=True))
        if kind in DELIMITERS:
            write_csv(target, rows, list(dict.fromkeys([*column_names(source), *(updates[0] if len(updates) else ())])))
        else:
            write_json(target, rows, lines=kind == ".jsonl")


@contextmanager
def _spooled(source: Path, folder: Path, numbers: set[int]) -> Iterator[Callable[[int], Mapping[str, Any]]]:
    """A function from a row's number to its values, for some rows of a table."""
    places: dict[int, tuple[int, int]] = {}
    with tempfile.TemporaryFile(dir=folder) as file:
        for number, text in _row_texts(source, numbers):
            data = text.encode("utf-8", "surrogatepass")
            places[number] = (file.tell(), len(data))
            file.write(data)

        def values(number: int) -> Mapping[str, Any]:
            start, length = places[number]
            file.seek(start)
            return json.loads(file.read(length).decode("utf-8", "surrogatepass"))

        yield values


def _row_texts(source: Path, numbers: set[int]) -> Iterator[tuple[int, str]]:
    """(number, JSON of the values) of some rows; of JSON Lines the others are not parsed."""
    if source.suffix.lower() != ".jsonl":
        for row in read_rows(source):
            if row.number in numbers:
                yield row.number, json.dumps(row.values, ensure_ascii=False)
        return
    with readable(source), closing(lines_of(source, set())) as lines:
        for number, line in enumerate(lines, 1):
            if number in numbers:
                yield number, line


def _copy_parquet(source: Path, target: Path, numbers: Sequence[int], updates: Sequence[Mapping[str, Any]]) -> None:
    pa = require("pyarrow", "motive.data.formats.copying", extra="tables")
    pq = require("pyarrow.parquet", "motive.data.formats.copying", extra="tables")
    table = _parquet_part(pa, source, numbers)
    for name in updates[0] if len(updates) else ():
        values = [update[name] for update in updates]
        at = table.schema.get_field_index(name)
        if at >= 0:
            kept = table.schema.field(at).type
            column = pa.array(values, type=kept) if all(isinstance(v, str) for v in values) else pa.array(values)
            table = table.set_column(at, name, column)
        else:
            table = table.append_column(
                name, pa.array(values, type=pa.float64() if values.count(None) == len(values) else None)
            )
    with published(target) as temporary:
        # The schema's metadata (the hub's features, pandas' index) describes the columns that were there before.
        pq.write_table(table.replace_schema_metadata(None), temporary)


def _parquet_part(pa: Any, source: Path, numbers: Sequence[int]) -> Any:
    """Some rows of a Parquet file as a table; the file itself is read a batch at a time."""
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    parts, first, at = [], 1, 0
    with open_parquet(source) as file:
        for batch in parquet_batches(file):
            inner = []
            while at < len(order) and numbers[order[at]] < first + batch.num_rows:
                inner.append(numbers[order[at]] - first)
                at += 1
            if inner:
                parts.append(batch.take(pa.array(inner)))
            first += batch.num_rows
        found = pa.Table.from_batches(parts, schema=file.schema_arrow)
    back = [0] * len(order)
    for place, row in enumerate(order):
        back[row] = place
    return found.take(back)
