"""FastVideo: ``videos2caption.json`` beside a folder ``videos``.

Read in docs/training/data_preprocess.md, fastvideo/workflow/preprocess/components.py and
scripts/dataset_preparation/prepare_json_file.py of hao-ai-lab/FastVideo 0.2.0 (commit 2f3d407, 2026-08-21).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from motive.data.formats.metadata import TableFormat
from motive.data.formats.reader import Row
from motive.data.formats.tables import TableRow

TABLE = "videos2caption.json"
_VIDEOS = "videos"


class FastVideo(TableFormat):
    """A JSON list of ``{"path", "cap", ...}``; paths start from the folder ``videos``.

    ``cap`` is text, or a list of captions of which the first is used, as FastVideo's own scripts do. Other fields
    (``resolution``, ``fps``, ``duration``, ``num_frames``) are kept.
    """

    name = "fastvideo"
    priority = 15
    path_columns = ("path",)
    caption_columns = ("cap",)
    suffixes = (".json",)
    required = ("path", "cap")

    def candidates(self, folder: Path) -> list[Path]:
        return [folder / TABLE] if (folder / TABLE).is_file() else []

    def takes(self, file: Path) -> bool:
        return file.name == TABLE

    def row_of(self, row: TableRow, table: str) -> Row:
        captions = row.values.get("cap")
        if isinstance(captions, list) and all(isinstance(text, str) for text in captions):
            first = TableRow(row.number, {**row.values, "cap": captions[0] if captions else None}, row.problem)
            columns = super().row_of(row, table).columns  # the list, as it is written
            return replace(super().row_of(first, table), columns=columns, values=row.values)
        return super().row_of(row, table)

    def media_path(self, written: str) -> str:
        return written if os.path.isabs(written) or not written.strip() else os.path.join(_VIDEOS, written)

    def table_path(self, file: str) -> str:
        return os.path.relpath(file, _VIDEOS).replace(os.sep, "/")
