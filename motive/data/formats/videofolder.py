"""HF VideoFolder: ``metadata.csv|tsv|jsonl|parquet`` with a ``file_name`` column beside the videos."""

from __future__ import annotations

from pathlib import Path

from motive.data.base import Dataset
from motive.data.formats.metadata import TableFormat
from motive.data.formats.selected import CLIPS_CSV

_READ_BY_THE_HUB = ("metadata.jsonl", "metadata.parquet")
"""Tables that load_dataset reads, with the types of their cells."""


class VideoFolder(TableFormat):
    """The layout of ``datasets.load_dataset("videofolder", data_dir=...)``, and the same in a ``.tsv``.

    A table of another name is read when its path is given.
    """

    name = "videofolder"
    priority = 30
    path_columns = ("file_name",)
    caption_columns = ("text", "caption", "prompt")
    suffixes = (".csv", ".tsv", ".jsonl", ".parquet")

    def table_of_subset(self, source: Path) -> str:
        """One that load_dataset reads keeps its name, so that it reads the selection with every caption and type."""
        return source.name if source.name in _READ_BY_THE_HUB else super().table_of_subset(source)

    def beside_table(self, dataset: Dataset) -> str:
        """Not ``metadata.csv`` where the hub's loader would find two kinds of metadata."""
        kept = dataset.source is not None and dataset.source.name in _READ_BY_THE_HUB
        return CLIPS_CSV if kept else self.beside
