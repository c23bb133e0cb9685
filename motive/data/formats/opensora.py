"""Open-Sora: a csv or Parquet table with the columns path, text, num_frames, height, width, aspect_ratio, resolution, fps.

Layout of github.com/hpcaitech/Open-Sora (v1.2.0 for tools/datasets/README.md and the score columns aes, flow, match,
cmotion; commit 7ad6a96, 9 April 2026, for what its loader reads); looked up on 29 November 2026.
"""

from __future__ import annotations

from pathlib import Path

from motive.data.formats.metadata import TableFormat, tables_in
from motive.data.formats.tables import column_names
from motive.errors import DatasetError, MissingExtra

_FACTS = frozenset({"num_frames", "height", "width", "aspect_ratio", "resolution", "fps"})


class OpenSora(TableFormat):
    """The table by which Open-Sora trains; every tool of its pipeline adds columns and writes another table.

    A folder must hold one such table only, since which of them is meant cannot be seen.
    """

    name = "opensora"
    priority = 25
    path_columns = ("path",)
    caption_columns = ("text",)
    suffixes = (".csv", ".parquet")
    required = ("path",)

    def candidates(self, folder: Path) -> list[Path]:
        return [file for file in tables_in(folder, self.suffixes) if _is_readable(file)]

    def owns(self, file: Path) -> bool:
        columns = set(column_names(file))
        return "path" in columns and "file_name" not in columns and len(columns & {"text", *_FACTS}) > 1

    def takes(self, file: Path) -> bool:
        return file.suffix.lower() in self.suffixes


def _is_readable(file: Path) -> bool:
    """Whether a table has columns at all; any file of a folder may be broken, and is then another's to explain."""
    try:
        return bool(column_names(file))
    except (DatasetError, MissingExtra):
        return False
