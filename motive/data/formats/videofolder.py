"""HF VideoFolder: ``metadata.csv|tsv|jsonl|parquet`` with a ``file_name`` column beside the videos."""

from __future__ import annotations

from motive.data.formats.metadata import TableFormat


class VideoFolder(TableFormat):
    """The layout of ``datasets.load_dataset("videofolder", data_dir=...)``, and the same in a ``.tsv``.

    A table of another name is read when its path is given.
    """

    name = "videofolder"
    priority = 30
    path_columns = ("file_name",)
    caption_columns = ("text", "caption", "prompt")
    suffixes = (".csv", ".tsv", ".jsonl", ".parquet")
