"""Video files as the rest of the package sees them: bytes to open, whether they are a file or part of one.

A dataset may keep its videos inside other files (tar shards). Such a video is a byte range, and its path names the
file that holds it, the range and the video: ``shard-000.tar/1536+88211/dir/a.mp4``. That path stands wherever a video's
path stands (a store's index, a decoder's request). Since the holder is a file and no folder, it cannot name anything
else.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from motive.errors import DatasetError

_SPAN = re.compile(r"([0-9]{1,18})\+([0-9]{1,18})")
# Where hard links are refused: another file system, another owner, or a file system without them.
_NO_HARD_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass(frozen=True)
class Media:
    """A video that is a file.

    Attributes:
        file: the file that holds the video's bytes.
        name: the video's name inside that file, with its folders; empty for a whole file.
    """

    file: Path
    name: str = ""

    @property
    def path(self) -> Path:
        """The path that stands for the video."""
        return self.file

    @property
    def whole(self) -> bool:
        """Whether the video is a file, so that FFmpeg may open it by its path."""
        return True

    def size(self) -> int:
        """Bytes of the video.

        Raises:
            OSError: the file that holds it cannot be found.
        """
        return os.stat(self.file).st_size

    def end(self, file_bytes: int) -> int:
        """Byte of a file of that size at which the video ends."""
        return file_bytes

    def open(self) -> BinaryIO:
        """The video's bytes as a file, to be closed by the caller.

        Raises:
            OSError: the file that holds them cannot be opened.
        """
        return self.file.open("rb")

    def beside(self, suffix: str) -> Path | None:
        """Path of the file of the same name with another suffix; None where no file can lie beside the video."""
        return self.file.with_suffix(suffix)

    def place(self, target: Path, how: Literal["link", "copy"]) -> None:
        """Bring the video to a path that is free: a copy, a hard link, or a symbolic link where hard links fail.

        Raises:
            OSError: it cannot be placed.
            DatasetError: the file that holds it has changed.
        """
        real = os.path.realpath(self.file)
        if how == "copy":
            shutil.copy2(real, target)
            return
        try:
            os.link(real, target)
        except OSError as error:
            if error.errno not in _NO_HARD_LINK:
                raise
            os.symlink(real, target)


@dataclass(frozen=True)
class ByteRange(Media):
    """A video that is part of a file.

    Attributes:
        start, length: its bytes.
    """

    start: int = 0
    length: int = 0

    @property
    def path(self) -> Path:
        return self.file / f"{self.start}+{self.length}" / self.name

    @property
    def whole(self) -> bool:
        return False

    def size(self) -> int:
        """Bytes of the range, also where the file ends before it."""
        return self.length

    def end(self, file_bytes: int) -> int:
        return self.start + self.length

    def open(self) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Window(self), 1 << 17))

    def beside(self, suffix: str) -> Path | None:
        return None

    def place(self, target: Path, how: Literal["link", "copy"]) -> None:
        """Copy the bytes, whatever was asked: no link can point at part of a file."""
        with self.open() as source, open(target, "xb") as written:
            shutil.copyfileobj(source, written, 1 << 20)
            count = written.tell()
        if count != self.length:
            target.unlink()
            raise changed(self, f"only {count} bytes")


def media_of(path: Path) -> Media:
    """The video that a path stands for; looks for the file that holds it, and not into it."""
    parts = path.parts
    for at in range(1, len(parts) - 1):
        span = _SPAN.fullmatch(parts[at])
        if span is not None and os.path.isfile(Path(*parts[:at])):
            return ByteRange(Path(*parts[:at]), "/".join(parts[at + 1 :]), int(span[1]), int(span[2]))
    return Media(path)


def changed(part: ByteRange, found: str) -> DatasetError:
    """The error for a file that no longer holds a video where it was when the dataset was read."""
    return DatasetError(
        f"{part.file} has changed since it was read: it held {part.length} bytes of {part.name} at byte {part.start}, "
        f"now {found}; index the dataset again, into a new store"
    )


class _Window(io.RawIOBase):
    """Part of a file, read as if it were whole."""

    def __init__(self, part: ByteRange) -> None:
        self.name = Path(part.name).name
        self._file = part.file.open("rb", buffering=0)
        self._start = part.start
        self._size = max(0, min(part.length, os.fstat(self._file.fileno()).st_size - part.start))
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
            raise OSError("a position before the start")
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
