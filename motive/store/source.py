"""What a store must remember of its dataset, so that a selection can be written in the dataset's own form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from motive.data import Clip, Dataset, ReadOptions
from motive.errors import StoreError

SOURCE = "source"
"""Name of the field in the ``extra`` part of a store's manifest."""

INDEX_COLUMNS = ("clip_id", "path", "caption", "columns")
"""Index columns that a clip is made from."""


OPTIONAL_FIELDS = ("roots", "path_map")
"""Fields of a source that are there only where they were given."""


def source_fields(dataset: Dataset) -> dict[str, Any]:
    """What ``motive index`` puts in the manifest as ``source``."""
    options = dataset.options
    fields = {
        "location": str(dataset.location),
        "root": str(dataset.root),
        "format": dataset.format,
        "table": None if dataset.source is None else str(dataset.source),
    }
    if options.roots:
        fields["roots"] = [str(root) for root in options.roots]
    if options.path_map:
        fields["path_map"] = [list(pair) for pair in options.path_map]
    return fields


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
        options=_options(fields, where),
    )


def _options(fields: Mapping[str, Any], where: str) -> ReadOptions:
    """How the dataset's paths became files, by a source's optional fields."""
    roots, path_map = (fields.get(name, []) for name in OPTIONAL_FIELDS)
    if not all(isinstance(root, str) for root in roots) or not all(
        isinstance(pair, list) and [type(part) for part in pair] == [str, str] for pair in path_map
    ):
        raise StoreError(
            f"{where}: the store's manifest does not say where its dataset's files are: extra.{SOURCE} holds roots "
            f"{roots!r} and path_map {path_map!r}; restore the manifest"
        )
    return ReadOptions(tuple(map(Path, roots)), tuple((old, new) for old, new in path_map))


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
