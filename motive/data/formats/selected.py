"""Tables that a selection has beside its dataset, which are no tables of clips that were overlooked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from motive.data.formats.tables import SUFFIXES

RECORD = "selection.json"
"""The record of a selection, which names the rules and every file of it."""
FORMAT = "motive.selection"
TABLES = "tables"
"""Field of the record, near its start, for the names that are_tables gives."""
NEEDED = "needed.csv"
CLIPS_CSV = "clips.csv"

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
    try:
        with open(folder / RECORD, "rb") as file:
            head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return frozenset()
    key = f'"{TABLES}": '
    if f'"format": "{FORMAT}"' not in head or key not in head:
        return frozenset()
    try:
        names, _ = json.JSONDecoder().raw_decode(head, head.index(key) + len(key))
    except ValueError:
        return frozenset()
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return frozenset((RECORD, *texts))
