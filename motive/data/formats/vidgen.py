"""VIDGEN-1M: ``VidGen_1M_video_caption.json``, a list of ``{"vid", "caption"}``, and ``{vid}.mp4`` in zip archives.

Layout of huggingface.co/datasets/Fudan-FUXI/VIDGEN-1M: its card, file list and 2,048 archives ``VidGen_video_0.zip`` to
``VidGen_video_2047.zip``, as stored in August 2024 (commits fb075a6 and ce3012e); looked up on 29 November 2026. The
names inside the archives are not published: any folder inside them is accepted.
"""

from __future__ import annotations

from pathlib import Path

from motive.data.formats.archived import ArchivedTable

_TABLE = "VidGen_1M_video_caption.json"


class VidGen(ArchivedTable):
    """The captions by ``vid``; the videos are in the archives beside them, or were unpacked to any folder beside them."""

    name = "vidgen"
    priority = 12
    path_columns = ("vid",)
    caption_columns = ("caption",)
    suffixes = (".json", ".jsonl", ".csv", ".parquet")
    required = ("vid", "caption")
    video_suffix = ".mp4"
    writes_paths = False

    def candidates(self, folder: Path) -> list[Path]:
        return [folder / _TABLE] if (folder / _TABLE).is_file() else []

    def takes(self, file: Path) -> bool:
        """Parts of the table that a user made have other names and the same columns."""
        return file.suffix.lower() in self.suffixes
