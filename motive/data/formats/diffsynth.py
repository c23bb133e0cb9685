"""DiffSynth-Studio: ``metadata.csv|tsv|json|jsonl`` with the columns ``video`` and ``prompt``."""

from __future__ import annotations

from motive.data.formats.metadata import TableFormat


class DiffSynth(TableFormat):
    """The metadata of DiffSynth's video training; its base path is the table's folder unless a root is given.

    Further columns that name files (``control_video`` and the like) are kept as text; a subset does not bring
    those files along.
    """

    name = "diffsynth"
    priority = 20
    path_columns = ("video",)
    caption_columns = ("prompt",)
    suffixes = (".csv", ".tsv", ".json", ".jsonl")
    required = ("video", "prompt")
