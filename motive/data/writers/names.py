"""File names in one folder, from paths in many."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

_MAX_BYTES = 160
_UNSAFE = re.compile(r"[\s/\\:*?\"<>|\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class FlatNames:
    """Gives each clip of a dataset a file name whose stem no other one has, in any case.

    The name is the path with ``__`` for its slashes; spaces and characters
    that some file system or list of files cannot hold become ``_``, dots in the stem too (in WebDataset a key ends at
    the first dot). Long names are cut and end in a hash of the clip's id, and so do names that would be there twice.
    """

    def __init__(self) -> None:
        self._stems: set[str] = set()

    def of(self, path: str, clip_id: str) -> str:
        """A new file name.

        Args:
            path: of the video in the dataset, POSIX.
            clip_id: of its clip; asked for once.
        """
        pure = PurePosixPath(path)
        suffix = pure.suffix.lower()
        joined = "__".join(pure.parts)[: -len(suffix) or None]
        stem = _UNSAFE.sub("_", joined).replace(".", "_").lstrip("-") or "clip"
        mark = hashlib.sha256(clip_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        cut = len(stem.encode()) > _MAX_BYTES
        if cut:
            stem = stem.encode()[: _MAX_BYTES - 13].decode("utf-8", "ignore")
        if cut or stem.casefold() in self._stems:
            stem = f"{stem}-{mark}"
        self._stems.add(stem.casefold())
        return stem + suffix
