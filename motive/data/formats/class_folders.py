"""Splits and classes by the names of folders, as ``datasets`` takes them.

Rules of huggingface/datasets 5.2.0 (data_files.py, packaged_modules/folder_based_builder), read on 29 November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_BETWEEN = "[-._ 0-9]"
_SPLITS = {
    split: re.compile(rf"(?:.*{_BETWEEN})?(?:{'|'.join(words)})(?:{_BETWEEN}.*)?") for split, words in _WORDS.items()
}


def split_of(folder: str) -> str:
    """The split that a folder's path, relative to the dataset, stands for: by its first part that is one; else empty."""
    parts = folder.split("/")
    return next((split for part in parts for split, words in _SPLITS.items() if words.fullmatch(part)), "")


class ClassFolders:
    """The columns ``split`` and ``label`` of videos that lie in folders by class.

    A video has a label, the name of its folder, where all videos lie equally deep and not all in folders of one name.

    Args:
        folders: of all videos, relative to the dataset, ``.`` for itself.
        name: of the dataset's folder.
    """

    def __init__(self, folders: Iterable[str], name: str) -> None:
        self._name = name
        self._columns: dict[str, Mapping[str, str]] = {}
        found = sorted(set(folders))
        depths = {0 if folder == "." else folder.count("/") + 1 for folder in found}
        labelled = len(depths) == 1 and len({self._label(folder) for folder in found}) > 1
        for folder in found:
            split = split_of(folder)
            self._columns[folder] = {
                **({"split": split} if split else {}),
                **({"label": self._label(folder)} if labelled else {}),
            }

    def columns(self, folder: str) -> Mapping[str, str]:
        """Columns of the videos directly in a folder."""
        return self._columns[folder]

    def _label(self, folder: str) -> str:
        return self._name if folder == "." else folder.rpartition("/")[2]
