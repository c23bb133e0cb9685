"""What a store must remember of its dataset, so that a selection can be written in the dataset's own form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from motive.data import Clip, Dataset
from motive.errors import StoreError

SOURCE = "source"
"""Name of the field in the ``extra`` part of a store's manifest."""

INDEX_COLUMNS = ("clip_id", "path", "caption", "columns")
"""Index columns that a clip is made from."""


def source_fields(dataset: Dataset) -> dict[str, Any]:
    """What ``motive index`` puts in the manifest as ``source``."""
    return {
        "location": str(dataset.location),
        "root": str(dataset.root),
        "format": dataset.format,
        "table": None if dataset.source is None else str(dataset.source),
    }


def dataset_of(manifest: Mapping[str, Any], clips: Sequence[Clip], where: str) -> Dataset:
    """The dataset that a store was made from, with some of its clips.

    Raises:
        StoreError: the store does not say where its clips come from.
    """
    fields = manifest["extra"].get(SOURCE)
    root, name = (fields.get(key) if isinstance(fields, dict) else None for key in ("root", "format"))
    if not isinstance(fields, dict) or not isinstance(root, str) or not isinstance(name, str):
        raise StoreError(
            f"{where}: the store's manifest must name its dataset in extra.{SOURCE}, got {fields!r}; "
            "make the store with motive index"
        )
    table, location = fields.get("table"), fields.get("location")
    return Dataset(
        location=Path(location if isinstance(location, str) else root),
        root=Path(root),
        format=name,
        clips=tuple(clips),
        source=Path(table) if isinstance(table, str) else None,
    )


def clips_of(table: Any, where: str) -> list[Clip]:
    """Clips from index rows: a pyarrow Table with INDEX_COLUMNS.

    Raises:
        StoreError: a row does not describe a clip.
    """
    return [_clip(row, where) for row in table.select(INDEX_COLUMNS).to_pylist()]


def _clip(row: Mapping[str, Any], where: str) -> Clip:
    try:
        columns = json.loads(row["columns"] or "{}")
    except (ValueError, RecursionError):
        columns = None
    if not row["path"] or not isinstance(columns, dict) or not all(isinstance(text, str) for text in columns.values()):
        raise StoreError(
            f"{where}: the store's index must hold path and columns of clip {row['clip_id']!r}, got "
            f"{row['path']!r} and {row['columns']!r}; make the store with motive index"
        )
    return Clip(row["clip_id"], Path(row["path"]), row["caption"] or "", columns)
