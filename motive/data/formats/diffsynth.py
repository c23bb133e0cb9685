"""DiffSynth-Studio: ``metadata.csv|json|jsonl`` with the columns ``video`` and ``prompt``."""

from __future__ import annotations

from pathlib import Path

from motive.data.formats.metadata import TableFormat
from motive.data.formats.tables import column_names


class DiffSynth(TableFormat):
    """The metadata of DiffSynth's video training; its base path is the table's folder unless a root is given.

    Further columns that name files (``control_video`` and the like) are kept as text; a subset does not bring
    those files along.
    """

    name = "diffsynth"
    path_columns = ("video",)
    caption_columns = ("prompt",)
    suffixes = (".csv", ".json", ".jsonl")

    def owns(self, file: Path) -> bool:
        return {"video", "prompt"} <= set(column_names(file))
