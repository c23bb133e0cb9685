"""Rows of CSV, TSV, JSON, JSONL and Parquet files, with line numbers and without surprises."""

from __future__ import annotations

import codecs
import csv
import json
import math
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from motive.data.formats import json_list
from motive.data.paths import is_clean
from motive.errors import DatasetError
from motive.extras import require
from motive.publish import published

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
FIRST_ROWS = 20
"""Rows that are looked at to see what a table is."""
_MAX_LINE = 16 * 1024 * 1024
_MAX_DEPTH = 64
_PLAIN = frozenset((str, int, float, bool, type(None)))


@dataclass(frozen=True)
class TableRow:
    """One row as the file has it.

    Attributes:
        number: line (csv, tsv, jsonl) or row (json, parquet), from 1.
        values: column name to value; text for csv and tsv, any JSON value or Arrow scalar otherwise.
        problem: (reason, detail) where the row cannot be used; values then hold what could be made out.
    """

    number: int
    values: Mapping[str, Any]
    problem: tuple[str, str] | None = None


def read_rows(path: Path, check: bool = True) -> Generator[TableRow, None, None]:
    """Rows of a table file, in order; the suffix decides the kind.

    Args:
        path: the file.
        check: refuse rows with values that cannot be stored; without it ``checked`` does so for single rows.

    Raises:
        DatasetError: the file as a whole cannot be read: a header that is not UTF-8, UTF-16, broken quoting, not JSON.
    """
    readers = {
        ".csv": _csv_rows,
        ".tsv": _csv_rows,
        ".json": _json_rows,
        ".jsonl": _jsonl_rows,
        ".parquet": _parquet_rows,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise _error(path, f"must end in {', '.join(SUFFIXES)}, got {path.suffix or 'no suffix'!r}", "rename it")
    with readable(path), closing(reader(path)) as rows:
        yield from map(checked, rows) if check else rows


def checked(row: TableRow) -> TableRow:
    """The row, with a problem if its values cannot be stored."""
    problem = row.problem or value_problem(row.values)
    return row if problem == row.problem else TableRow(row.number, row.values, problem)


def column_names(path: Path) -> list[str]:
    """Columns of the first rows that have any; for Parquet, CSV and TSV those of the header, also of an empty table."""
    if path.suffix.lower() in DELIMITERS:
        with readable(path), closing(lines_of(path, set())) as lines:
            return _csv_header(path, _csv_reader(path, lines))
    if path.suffix.lower() == ".parquet":
        with open_parquet(path) as file:
            return list(file.schema_arrow.names)
    return list(dict.fromkeys(name for values in first_values(path) for name in values))


def first_values(path: Path) -> list[Mapping[str, Any]]:
    """Values of the first rows that have any, since rows of JSON differ in their keys.

    Raises:
        DatasetError: the table is broken before the first of them.
    """
    found: list[Mapping[str, Any]] = []
    with closing(read_rows(path)) as rows:
        try:
            found.extend(islice((row.values for row in rows if row.values), FIRST_ROWS))
        except DatasetError:
            if not found:
                raise
    return found


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: null, or the NaN by which pandas writes it. Text is never missing."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def cell_text(value: Any) -> str:
    """A value as the text of a column: itself, nothing where it is missing, JSON where it has a form for it."""
    if isinstance(value, str):
        return value
    if is_missing(value):
        return ""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)  # as json.dumps, in a third of the time
    if isinstance(value, (bool, float, list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, default=plain_text)
    return plain_text(value)


def same_rows(first: Path, second: Path) -> bool:
    """Whether two tables hold the same text in the same rows and columns, whatever their kind; empty cells are none."""
    with closing(read_rows(first)) as left, closing(read_rows(second)) as right:
        return all(_cells(a) == _cells(b) for a, b in zip_longest(left, right))


def _cells(row: TableRow | None) -> dict[str, str] | None:
    texts = {} if row is None else {name: cell_text(value) for name, value in row.values.items()}
    return None if row is None else {name: text for name, text in texts.items() if text}


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV, or TSV for that suffix: UTF-8, a header, LF line ends; missing cells are empty."""
    delimiter = DELIMITERS.get(path.suffix.lower(), ",")
    with published(path) as temporary, open(temporary, "x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([cell_text(row.get(name)) for name in columns])


def write_json(path: Path, rows: Iterable[Mapping[str, Any]], lines: bool) -> None:
    """Write rows as JSON Lines or as one JSON list; UTF-8."""
    with published(path) as temporary, open(temporary, "x", encoding="utf-8", newline="") as file:
        texts = (json.dumps(dict(row), ensure_ascii=False) for row in rows)
        if lines:
            file.writelines(text + "\n" for text in texts)
            return
        file.write("[\n")
        file.writelines(text if at == 0 else ",\n" + text for at, text in enumerate(texts))
        file.write("\n]\n")


def _error(path: Path, what: str, remedy: str) -> DatasetError:
    return DatasetError(f"{path} {what}; {remedy}")


def value_problem(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why a row's values cannot be stored; a loop and not a recursion, since a file may nest as deep as it likes."""
    if all(type(value) in _PLAIN for value in values.values()):  # one check instead of one for each cell
        texts = [value for value in values.values() if type(value) is str]
        if is_clean("".join(map(str, values))) and is_clean("".join(texts)):
            return None
    open_values: list[tuple[Any, int]] = [(values, 0)]
    while open_values:
        value, depth = open_values.pop()
        if isinstance(value, str) and not is_clean(value):
            return "bad_text", "a cell holds a NUL byte or is not valid UTF-8"
        if depth > _MAX_DEPTH:
            return "bad_row", f"a cell nests deeper than {_MAX_DEPTH} levels"
        if isinstance(value, Mapping):
            open_values.extend((item, depth + 1) for pair in value.items() for item in pair)
        elif isinstance(value, list):
            open_values.extend((item, depth + 1) for item in value)
    return None


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a DatasetError."""
    try:
        yield
    except OSError as error:
        raise _error(path, f"must be readable, got {error.strerror or error}", "check the file") from error


def lines_of(path: Path, with_nul: set[int]) -> Generator[str, None, None]:
    """Lines of a UTF-8 file, a byte order mark dropped; lines with NUL are noted, since csv may refuse them.

    Bytes that are not UTF-8 become lone surrogates, by which value_problem tells the rows that hold them.
    """
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE + 1):
            number += 1
            if len(line) > _MAX_LINE:
                raise _error(path, f"line {number} must be at most 16 MiB, got more", "check that it is a text file")
            if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise _error(path, "must be UTF-8, got UTF-16", "convert the file")
            text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
            if "\0" in text:
                with_nul.add(number)
                text = text.replace("\0", "\ufffd")
            yield text


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 text file without their ends (LF, CR LF or CR) and without a byte order mark.

    Bytes that are not UTF-8 become lone surrogates and NUL stays, by which ``is_clean`` tells such lines.

    Raises:
        DatasetError: it cannot be read, is UTF-16, or has a line of more than 16 MiB.
    """
    with_nul: set[int] = set()
    with readable(path), closing(lines_of(path, with_nul)) as lines:
        for number, line in enumerate(lines, 1):
            text = line.removesuffix("\n").removesuffix("\r")
            yield from ("\0" + text if number in with_nul else text).split("\r")


def _csv_reader(path: Path, lines: Iterable[str]) -> Any:
    return csv.reader(lines, delimiter=DELIMITERS[path.suffix.lower()], strict=True)


def _kind(path: Path) -> str:
    return path.suffix[1:].upper()


def _csv_header(path: Path, reader: Iterator[list[str]]) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise _error(path, f"line 1 must be {_kind(path)}, got: {error}", "check its quotes") from error
    if not all(is_clean(name) for name in header):
        raise _error(path, "line 1 must be UTF-8, got invalid bytes", "convert the file")
    counts = Counter(header)
    if len(counts) < len(header):
        twice = ", ".join(repr(name) for name, count in counts.items() if count > 1)
        raise _error(path, f"column names must be unique, got {twice} twice", "rename one")
    return header


def _csv_rows(path: Path) -> Generator[TableRow, None, None]:
    with_nul: set[int] = set()
    with closing(lines_of(path, with_nul)) as lines:
        reader = _csv_reader(path, lines)
        header = _csv_header(path, reader)
        first = reader.line_num + 1
        try:
            for cells in reader:
                number, first = first, reader.line_num + 1
                if cells:
                    has_nul = any(line in with_nul for line in range(number, first))
                    yield _csv_row(number, header, cells, has_nul)
        except csv.Error as error:
            what = f"line {reader.line_num} must be {_kind(path)}, got: {error}"
            raise _error(path, what, "check its quotes") from error


def _csv_row(number: int, header: Sequence[str], cells: Sequence[str], has_nul: bool) -> TableRow:
    problem = None
    if has_nul:
        problem = ("bad_text", f"line {number} holds a NUL byte")
    elif len(cells) != len(header):
        problem = ("ragged_row", f"line {number} has {len(cells)} cells, the header has {len(header)}")
    elif not any(cell.strip() for cell in cells):
        problem = ("empty_row", f"line {number} has no text")
    return TableRow(number, dict(zip(header, cells, strict=False)), problem)


def _jsonl_rows(path: Path) -> Generator[TableRow, None, None]:
    with_nul: set[int] = set()
    with closing(lines_of(path, with_nul)) as lines:
        for number, line in enumerate(lines, 1):
            if number in with_nul:
                yield TableRow(number, {}, ("bad_text", f"line {number} holds a NUL byte"))
            elif line.strip():
                yield _json_row(number, f"line {number}", line)


def _json_row(number: int, where: str, line: str) -> TableRow:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return TableRow(number, {}, ("bad_row", f"{where} is not JSON: {error}"))
    return _object_row(number, where, value)


def json_object(number: int, where: str, text: str) -> TableRow:
    """The row that a JSON object of unknown origin is; its number and place are for messages."""
    row = _json_row(number, where, text)
    problem = row.problem or value_problem(row.values)
    return TableRow(number, row.values, problem)


def _object_row(number: int, where: str, value: Any) -> TableRow:
    if not isinstance(value, dict):
        return TableRow(number, {}, ("bad_row", f"{where} is {type(value).__name__}, not an object"))
    return TableRow(number, value, None if value else ("empty_row", f"{where} has no keys"))


def _json_rows(path: Path) -> Generator[TableRow, None, None]:
    with open(path, "rb") as file:
        start = file.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise _error(path, "must be UTF-8, got UTF-16", "convert the file")
    try:
        for number, value in enumerate(json_list.items(path), 1):
            yield _object_row(number, f"row {number}", value)
    except (ValueError, RecursionError) as error:
        raise _error(path, f"must be a JSON list of objects, got: {error}", "check the file") from error


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """An open ParquetFile; what goes wrong with it inside the block becomes a DatasetError."""
    pq = require("pyarrow.parquet", "motive.data.formats.tables", extra="tables")
    pa = require("pyarrow", "motive.data.formats.tables", extra="tables")
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _error(path, f"must be Parquet, got: {_first_line(error)}", "check the file") from error


def parquet_batches(file: Any) -> Iterator[Any]:
    """Record batches of a Parquet file, in memory that does not grow with it.

    Over several row groups pyarrow keeps what it read of all of them, and with threads memory for each.
    """
    for group in range(file.num_row_groups):
        yield from file.iter_batches(1024, row_groups=[group], use_threads=False)


def _parquet_rows(path: Path) -> Generator[TableRow, None, None]:
    number = 0
    with open_parquet(path) as file:
        for batch in parquet_batches(file):
            for values in batch.to_pylist():
                number += 1
                blank = all(value is None or value == "" for value in values.values())
                yield TableRow(number, values, ("empty_row", f"row {number} has no text") if blank else None)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def plain_text(value: Any) -> str:
    """Text for a value that JSON has no form for."""
    return f"<{len(value)} bytes>" if isinstance(value, (bytes, bytearray, memoryview)) else str(value)
