"""Finds the folder that holds the files of a table, if its paths start from another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from motive.data.paths import PathGuard, printable

_TRIES = 20
"""Missing files that are looked for; the folders that held one are tried for all others."""
_FOLDERS = 64
"""Subfolders that are looked into."""


class Elsewhere:
    """Looks for missing files in the folders below and above the roots, to say which root would have them.

    Args:
        guard: of the dataset, with the folders that relative paths start from.
    """

    def __init__(self, guard: PathGuard) -> None:
        self._bases = guard.bases
        self._held: dict[str, None] = {}
        self._left = _TRIES

    def hint(self, written: str) -> str:
        """What to add to the message of a missing file; empty where nothing is known."""
        path = written.replace("\\", "/")
        if not path.strip() or os.path.isabs(path) or ".." in path.split("/"):
            return ""
        folder = next((folder for folder in self._held if os.path.isfile(os.path.join(folder, path))), None)
        if folder is None and self._left:
            self._left -= 1
            folder = next((folder for folder in self._near() if os.path.isfile(os.path.join(folder, path))), None)
        if folder is None:
            return ""
        self._held[folder] = None
        return f"; it lies in {printable(folder)}: pass --root {printable(folder)}"

    def _near(self) -> Iterator[str]:
        for base in self._bases:
            if os.path.isdir(base):
                with os.scandir(base) as entries:
                    names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
                yield from (os.path.join(base, name) for name in sorted(names)[:_FOLDERS])
            yield str(Path(base).parent)
