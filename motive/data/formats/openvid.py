"""OpenVid-1M: ``OpenVid-1M.csv`` beside the archives ``OpenVid_part0.zip`` ..., or beside the unpacked ``video`` folder.

Layout of github.com/NJU-PCALab/OpenVid-1M (commit 215fa7d, 30 May 2025: its README and download_OpenVid.py) and of
huggingface.co/datasets/nkp37/OpenVid-1M (commit 01ee16d); looked up on 29 November 2026. Columns: video, caption,
aesthetic score, motion score, temporal consistency score, camera motion, frame, fps, seconds.
"""

from __future__ import annotations

from pathlib import Path

from motive.data.base import Unread
from motive.data.formats.archived import ArchivedTable
from motive.data.formats.reader import Detection
from motive.data.formats.tables import column_names

_TABLES = ("OpenVid-1M.csv", "OpenVidHD.csv")
_FOLDERS = ("data/train", "")
_SCORES = frozenset({"aesthetic score", "motion score", "temporal consistency score", "camera motion"})


class OpenVid(ArchivedTable):
    """One table for all parts; a part that was not downloaded makes its rows ``missing_file``."""

    name = "openvid"
    priority = 15
    path_columns = ("video",)
    caption_columns = ("caption",)
    suffixes = (".csv", ".parquet")
    required = ("video", "caption")
    writes_ids = True

    def candidates(self, folder: Path) -> list[Path]:
        files = [folder / inside / name for name in _TABLES for inside in _FOLDERS]
        return [file for file in files if file.is_file()]

    def owns(self, file: Path) -> bool:
        return super().owns(file) and not _SCORES.isdisjoint(column_names(file))

    def detect(self, path: Path, named: bool) -> Detection | None:
        if path.is_file():
            known = named or (self.takes(path) and self.owns(path))
            return Detection(path, path, base=_base(path)) if known else None
        found = [file for file in self.candidates(path) if self.owns(file)]
        if not found:
            return super().detect(path, named)
        why = f"{found[0].name} is read; give the path of this table to read it instead"
        unread = tuple(Unread(other.relative_to(path).as_posix(), why) for other in found[1:])
        return Detection(path, found[0], unread, base=path)


def _base(table: Path) -> Path:
    """The dataset's folder: two above the table where that lies in data/train."""
    folder = table.absolute().parent
    return folder.parent.parent if folder.parts[-2:] == ("data", "train") else folder
