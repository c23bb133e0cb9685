"""DiffSynth-Studio: ``metadata.csv|tsv|json|jsonl`` with the columns ``video`` and ``prompt``.

Read in docs/en/API_Reference/core/data.md and diffsynth/core/data of modelscope/DiffSynth-Studio 2.1.2 (commit fed7b18,
2026-08-20).
"""

from __future__ import annotations

from motive.data.formats.metadata import TableFormat


class DiffSynth(TableFormat):
    """The metadata of DiffSynth's video training; its base path is the table's folder unless a root is given.

    Further keys that name files (``control_video``, lists such as ``vace_reference_image``, the objects of
    ``references``) are kept with their JSON types; a subset does not bring those files along.
    """

    name = "diffsynth"
    priority = 20
    path_columns = ("video",)
    caption_columns = ("prompt",)
    suffixes = (".csv", ".tsv", ".json", ".jsonl")
    required = ("video", "prompt")
