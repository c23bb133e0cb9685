"""Videos that lie inside another file: a tar shard is read in place, and nothing of it is unpacked.

Such a video's path is that of the tar, where its bytes are, and its name: ``shard-000.tar/1536+88211/dir/a.mp4``. It
stands wherever a path of a video stands (a store's index, a decoder's request), and since the tar is a file and not a
folder it cannot name anything else.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

TAR_SUFFIX = ".tar"
_SPAN = re.compile(r"([0-9]{1,18})\+([0-9]{1,18})")


@dataclass(frozen=True)
class Stretch:
    """Some bytes of a file.

    Attributes:
        file: that holds them.
        start, size: which they are.
        name: of what they are, with its folders.
    """

    file: Path
    start: int
    size: int
    name: str

    @property
    def path(self) -> Path:
        """The path that stands for it."""
        return self.file / f"{self.start}+{self.size}" / self.name

    def open(self) -> BinaryIO:
        """The bytes as a file of their own, to be closed by the caller.

        Raises:
            OSError: the file that holds them cannot be opened.
        """
        return cast(BinaryIO, io.BufferedReader(_Window(self), 1 << 17))


def find_stretch(path: Path) -> Stretch | None:
    """The stretch that a path stands for, or None for the path of a file; looks for the tar, and not into it."""
    parts = path.parts
    for place in range(1, len(parts) - 1):
        span = _SPAN.fullmatch(parts[place])
        if span is not None and parts[place - 1].lower().endswith(TAR_SUFFIX):
            file = Path(*parts[:place])
            if os.path.isfile(file):
                return Stretch(file, int(span[1]), int(span[2]), "/".join(parts[place + 1 :]))
    return None


def open_bytes(path: Path) -> BinaryIO:
    """A video's bytes, wherever they lie.

    Raises:
        OSError: they cannot be opened.
    """
    stretch = find_stretch(path)
    return path.open("rb") if stretch is None else stretch.open()


class _Window(io.RawIOBase):
    """Part of a file, read as if it were whole."""

    def __init__(self, stretch: Stretch) -> None:
        self.name = Path(stretch.name).name
        self._file = stretch.file.open("rb", buffering=0)
        self._start = stretch.start
        self._size = max(0, min(stretch.size, os.fstat(self._file.fileno()).st_size - stretch.start))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("a place before the start")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._size - self._at))
        if not count:
            return 0
        self._file.seek(self._start + self._at)
        read = self._file.readinto(memoryview(buffer)[:count]) or 0
        self._at += read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()
