"""A JSON Lines file of clips, under the names that trainers use for its keys."""

from __future__ import annotations

from pathlib import Path

from motive.data.formats.metadata import TableFormat


class JsonLines(TableFormat):
    """One object a line, with a path and a caption; a folder must hold one such ``*.jsonl`` file only."""

    name = "jsonl"
    priority = 40
    path_columns = ("path", "video", "video_path", "file_name")
    caption_columns = ("caption", "prompt", "text")
    suffixes = (".jsonl",)

    def candidates(self, folder: Path) -> list[Path]:
        return [file for file in sorted(folder.glob("*.jsonl")) if file.is_file()]

    def takes(self, file: Path) -> bool:
        return file.suffix.lower() == ".jsonl"
