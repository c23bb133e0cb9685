"""Tables that a selection has beside its dataset, which are no tables of clips that were overlooked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from motive.data.formats.tables import SUFFIXES

RECORD = "selection.json"
"""The record of a selection, which names the rules and every file of it."""
FORMAT = "motive.selection"
TABLES = "tables"
"""Field of the record, near its start, for the names that are_tables gives."""
NEEDED = "needed.csv"
CLIPS_CSV = "clips.csv"

READS = "reads"
"""Field of the record, near its start: the format and the table, or folder, by which the selection is read; or null."""

_CONFIGS = (".toml", ".yaml", ".yml")
_HEAD_BYTES = 1 << 14


def are_tables(names: Iterable[str]) -> list[str]:
    """Those files directly in a selection's folder that look like tables of clips or configurations of trainers."""
    return [name for name in names if "/" not in name and name.lower().endswith((*SUFFIXES, *_CONFIGS))]


def own_tables(folder: Path) -> frozenset[str]:
    """Names of the tables and configurations that a selection has by its record; none where there is no record.

    They repeat the clips of the table that is read, or the scores. The record can be as long as the ranking was, so only
    its start is read.
    """
    names = _field(folder, TABLES)
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return frozenset((RECORD, *texts)) if names is not None else frozenset()


def own_dataset(folder: Path) -> tuple[str, Path] | None:
    """Format of a selection's own table and the path of it, by its record; None where there is no record, or the folder
    itself tells."""
    found = _field(folder, READS)
    if not isinstance(found, dict):
        return None
    name, table = found.get("format"), found.get("table")
    if not isinstance(name, str) or not isinstance(table, str) or Path(table).name != table:
        return None
    return (name, folder / table) if (folder / table).exists() else None


def _field(folder: Path, name: str) -> Any:
    """A field near the start of a selection's record; None without a record or the field."""
    try:
        with open(folder / RECORD, "rb") as file:
            head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    key = f'"{name}": '
    if f'"format": "{FORMAT}"' not in head or key not in head:
        return None
    try:
        return json.JSONDecoder().raw_decode(head, head.index(key) + len(key))[0]
    except (ValueError, RecursionError):
        return None
