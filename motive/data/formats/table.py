"""Any table of clips that is given by its path: CSV, TSV, a JSON list or Parquet, with the columns of the jsonl format."""

from __future__ import annotations

from pathlib import Path

from motive.data.formats.jsonl import JsonLines
from motive.data.formats.metadata import TableFormat, tables_in
from motive.data.formats.reader import Detection
from motive.errors import DatasetError, MissingExtra


class AnyTable(TableFormat):
    """What no layout of a tool claims; in a folder it is read only when the format is named, and alone."""

    name = "table"
    priority = 48
    path_columns = JsonLines.path_columns
    caption_columns = JsonLines.caption_columns
    suffixes = (".csv", ".tsv", ".json", ".parquet")

    def candidates(self, folder: Path) -> list[Path]:
        return tables_in(folder, self.suffixes)

    def owns(self, file: Path) -> bool:
        """Whether it has one of the columns; a file that cannot be read is another's to explain."""
        try:
            return super().owns(file)
        except (DatasetError, MissingExtra):
            return False

    def detect(self, path: Path, named: bool) -> Detection | None:
        return super().detect(path, named) if named or path.is_file() else None
