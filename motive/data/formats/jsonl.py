"""A JSON Lines file of clips, under the names that trainers use for its keys."""

from __future__ import annotations

from pathlib import Path

from motive.data.formats.metadata import TableFormat
from motive.errors import DatasetError


class JsonLines(TableFormat):
    """One object a line, with a path and a caption; in a folder it must be the only ``*.jsonl`` file."""

    name = "jsonl"
    path_columns = ("path", "video", "video_path", "file_name")
    caption_columns = ("caption", "prompt", "text")
    suffixes = (".jsonl",)

    def find(self, path: Path) -> Path | None:
        if path.is_file():
            return path if path.suffix.lower() == ".jsonl" and self.owns(path) else None
        found = [file for file in sorted(path.glob("*.jsonl")) if file.is_file() and self.owns(file)]
        if len(found) > 1:
            raise DatasetError(
                f"read_dataset: {path} must hold one table of clips, got {', '.join(f.name for f in found)}; "
                "give the path of the one to read"
            )
        return found[0] if found else None
