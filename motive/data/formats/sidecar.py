"""Parquet tables beside tar shards, as video2dataset and img2dataset write them: ``00000.tar`` and ``00000.parquet``.

Layout of iejMac/video2dataset 1.0.0 (commit 07d2731) and rom1504/img2dataset (commit 0eed081), their writers, looked up on
29 November 2026: a row for each download, with ``key``, ``caption``, ``status`` and the columns of the input;
``00000_stats.json`` counts them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from motive.data.base import Unread
from motive.data.formats.tables import column_names, is_missing, plain_text, read_rows
from motive.data.paths import PathGuard, printable
from motive.errors import ClipError, DatasetError, MissingExtra

KEY = "key"
_TABLE, _REPORT = ".parquet", "_stats.json"


class Sidecar:
    """The rows of the table beside a shard, by key; empty where there is no such table.

    Memory grows with the rows of one shard.

    Args:
        shard: absolute path of the tar file.
        guard: no table outside its roots is read.

    Attributes:
        problem: why the table cannot be used.
    """

    def __init__(self, shard: Path, guard: PathGuard) -> None:
        self.name = shard.stem + _TABLE
        self.problem: str | None = None
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._used: set[str] = set()
        table = shard.with_suffix(_TABLE)
        if not os.path.lexists(table):
            return
        try:
            self._read(guard.file(guard.relative(str(table))))
        except (ClipError, DatasetError, MissingExtra) as error:
            self.problem = f"it cannot be read: {error}"

    def values(self, key: str) -> Mapping[str, Any]:
        """Cells of the row of a key, without missing ones and the key; none where there is no such row."""
        short = key.rpartition("/")[2]
        found = key if key in self._rows else short
        self._used.add(found)
        return self._rows.get(found, {})

    def unread(self) -> Iterator[Unread]:
        """The table if it cannot be used, else its rows that no video of the shard has asked for."""
        if self.problem is not None:
            yield Unread(self.name, self.problem)
            return
        extra = [key for key in self._rows if key not in self._used]
        if extra:
            shown = tuple(printable(key) for key in extra[: Unread.EXAMPLES])
            why = f"no video of the shard has their key, {shown[0]} for one"
            yield Unread(f"{len(extra)} rows of {self.name}", why, len(extra), shown)

    def _read(self, table: Path) -> None:
        if KEY not in column_names(table):
            self.problem = (
                f"it has no column {KEY} that says which video a row is ({', '.join(column_names(table)[:8])})"
            )
            return
        for row in read_rows(table):
            key = row.values.get(KEY)
            if row.problem is not None or not isinstance(key, str) or key in self._rows:
                self.problem = f"its row {row.number} {_why(row.problem, key)}"
                self._rows.clear()
                return
            self._rows[key] = {name: _plain(value) for name, value in row.values.items() if not is_missing(value)}


def _plain(value: Any) -> Any:
    """A value that JSON has a form for, since a selection writes it into the clip's JSON member."""
    return value if isinstance(value, (str, int, float)) else json.loads(json.dumps(value, default=plain_text))


def _why(problem: tuple[str, str] | None, key: Any) -> str:
    if problem is not None:
        return f"cannot be used: {problem[1]}"
    return f"has the key {printable(key)!r} of another row" if isinstance(key, str) else f"has no text as {KEY}"


def beside_shards(shards: Sequence[Path]) -> tuple[Path, ...]:
    """Tables and reports beside shards, which are read with them."""
    return tuple(shard.with_name(shard.stem + end) for shard in shards for end in (_TABLE, _REPORT))
