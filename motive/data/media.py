"""Video files as the rest of the package sees them: bytes to open, whether they are a file or part of one.

A dataset may keep its videos inside other files (tar shards, zip archives, Parquet tables). Such a video's path names the
file that holds it, the place in that file, and the video: ``shard-000.tar/1536+88211/dir/a.mp4`` for a byte range,
``part0.zip/1536+88211=90112/a.mp4`` for one that inflates to 90,112 bytes, ``train.parquet/row 12 of video/a.mp4`` for a
cell. That path stands wherever a video's path stands (a store's index, a decoder's request). Since the holder is a file
and no folder, it cannot name anything else.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from motive.errors import ClipError, DatasetError
from motive.extras import require

Placement = Literal["link", "copy"]
"""How a video is put into a folder: as a link to its file, or as bytes."""

_SPAN = re.compile(r"([0-9]{1,18})\+([0-9]{1,18})(?:=([0-9]{1,18}))?")
_CELL = re.compile(r"row ([0-9]{1,12}) of (.+)", re.DOTALL)
_PLACES = (*"0123456789", "row ")
"""What the part of a path that is a place in a file starts with."""
_HOLDERS = (".arrow", ".parquet", ".tar", ".zip")
"""Suffixes of files that hold videos, where such a file is gone."""
_CHECKPOINT_BYTES = 4 << 20
"""Inflated bytes between two places that reading can go back to; each costs about 40 KB."""
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

    def place(self, target: Path, how: Placement) -> None:
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

    def place(self, target: Path, how: Placement) -> None:
        """Copy the bytes, whatever was asked: no link can point at part of a file."""
        with self.open() as source, open(target, "xb") as written:
            shutil.copyfileobj(source, written, 1 << 20)
            count = written.tell()
        if count != self.size():
            target.unlink()
            raise changed(self, f"only {count} bytes")


@dataclass(frozen=True)
class Inflated(ByteRange):
    """A video that is a deflated part of a file; it is inflated while it is read, and never written down.

    Attributes:
        full: its bytes once inflated; no more are read, whatever the stream holds.
    """

    full: int = 0

    @property
    def path(self) -> Path:
        return self.file / f"{self.start}+{self.length}={self.full}" / self.name

    def size(self) -> int:
        return self.full

    def open(self) -> BinaryIO:
        """The inflated bytes. Reading raises ClipError ``damaged`` where the stream is not what it claims to be."""
        return cast(BinaryIO, io.BufferedReader(_Inflating(self), 1 << 17))

    def place(self, target: Path, how: Placement) -> None:
        """Inflate the bytes into a file, whatever was asked."""
        try:
            super().place(target, how)
        except ClipError as error:
            target.unlink(missing_ok=True)
            raise changed(self, f"they cannot be inflated: {error.detail}") from error


@dataclass(frozen=True)
class Cell(Media):
    """A video that is a cell of a Parquet file: bytes, or the field ``bytes`` of a struct.

    Attributes:
        row: from 0, over the whole file.
        column: its name, with ``.bytes`` where the cell is a struct.
    """

    row: int = 0
    column: str = ""

    @property
    def path(self) -> Path:
        return self.file / f"row {self.row} of {self.column}" / self.name

    @property
    def whole(self) -> bool:
        return False

    def size(self) -> int:
        return len(self._read())

    def open(self) -> BinaryIO:
        return io.BytesIO(self._read())

    def beside(self, suffix: str) -> Path | None:
        return None

    def place(self, target: Path, how: Placement) -> None:
        """Write the cell's bytes, whatever was asked: no link can point into a table."""
        with open(target, "xb") as written:
            written.write(self._read())

    def _read(self) -> bytes:
        """The cell's bytes: rows of its row group up to it are decompressed, one at a time."""
        pa = require("pyarrow", "motive.data.media", extra="tables")
        pq = require("pyarrow.parquet", "motive.data.media", extra="tables")
        try:
            with pq.ParquetFile(self.file) as table:
                value = self._value(table)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise ClipError("damaged", f"{self.file.name} cannot be read at row {self.row}: {error}") from error
        if not isinstance(value, bytes):
            raise ClipError("damaged", f"{self.file.name} holds no bytes in {self.column} of row {self.row}")
        return value

    def _value(self, table: Any) -> Any:
        first = 0
        for group in range(table.num_row_groups):
            count = table.metadata.row_group(group).num_rows
            if self.row < first + count:
                rows = table.iter_batches(1, row_groups=[group], columns=[self.column], use_threads=False)
                batch = next((batch for at, batch in enumerate(rows, first) if at == self.row), None)
                value = None if batch is None else batch.column(0).to_pylist()[0]
                return value.get("bytes") if isinstance(value, dict) else value
            first += count
        return None


def media_of(path: Path, *, gone: bool = False) -> Media:
    """The video that a path stands for; looks for the file that holds it, and not into it.

    Args:
        path: as Media.path gives it.
        gone: the file that holds the video may be gone: then its suffix counts.
    """
    parts = path.parts
    for at in range(1, len(parts) - 1):
        if not parts[at].startswith(_PLACES):
            continue
        span, cell = _SPAN.fullmatch(parts[at]), _CELL.fullmatch(parts[at])
        if (span or cell) is None or not _may_hold(Path(*parts[:at]), gone):
            continue
        file, name = Path(*parts[:at]), "/".join(parts[at + 1 :])
        if cell is not None:
            return Cell(file, name, int(cell[1]), cell[2])
        if span is not None and span[3] is not None:
            return Inflated(file, name, int(span[1]), int(span[2]), int(span[3]))
        if span is not None:
            return ByteRange(file, name, int(span[1]), int(span[2]))
    return Media(path)


def _may_hold(file: Path, gone: bool) -> bool:
    return os.path.isfile(file) or (gone and file.suffix.lower() in _HOLDERS and not os.path.lexists(file))


def changed(part: Media, found: str) -> DatasetError:
    """The error for a file that no longer holds a video where it was when the dataset was read."""
    held = f"{part.name} in row {part.row}" if isinstance(part, Cell) else f"{part.name}"
    if isinstance(part, ByteRange):
        held = f"{part.length} bytes of {part.name} at byte {part.start}"
    return DatasetError(
        f"{part.file} has changed since it was read: it held {held}, now {found}; index the dataset again, into a new store"
    )


class _Part(io.RawIOBase):
    """Part of a file as if it were whole; subclasses read at ``_at``."""

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

    def close(self) -> None:
        self._file.close()
        super().close()


class _Window(_Part):
    """Bytes that are stored as they are."""

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._size - self._at))
        if not count:
            return 0
        self._file.seek(self._start + self._at)
        read = self._file.readinto(memoryview(buffer)[:count]) or 0
        self._at += read
        return read


class _Inflating(_Part):
    """Bytes that are deflated; going back starts again at the nearest checkpoint."""

    def __init__(self, part: Inflated) -> None:
        super().__init__(part)
        self._stored, self._size, self._holder = self._size, part.full, part.file.name
        self._checkpoints: list[tuple[int, int, Any]] = [(0, 0, zlib.decompressobj(-zlib.MAX_WBITS))]
        self._go_back(0)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._size - self._at))
        if self._at < self._inflated:
            self._go_back(self._at)
        while count and self._inflated < self._at:
            self._inflate(min(1 << 16, self._at - self._inflated))
        data = self._inflate(min(count, 1 << 20)) if count else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _go_back(self, place: int) -> None:
        inflated, taken, state = next(item for item in reversed(self._checkpoints) if item[0] <= place)
        self._inflated, self._taken, self._inflater = inflated, taken, state.copy()

    def _inflate(self, most: int) -> bytes:
        """At least one and at most that many of the next bytes."""
        data = b""
        while not data:
            waiting = self._inflater.unconsumed_tail
            if not waiting:
                self._file.seek(self._start + self._taken)
                waiting = self._file.read(min(1 << 16, self._stored - self._taken))
                self._taken += len(waiting)
            try:
                data = self._inflater.decompress(waiting, most)
            except zlib.error as error:
                raise ClipError("damaged", f"{self.name} in {self._holder} cannot be inflated: {error}") from error
            if not data and (not waiting or self._inflater.eof):
                raise ClipError("damaged", f"{self.name} in {self._holder} ends after {self._inflated} bytes")
        self._inflated += len(data)
        if self._inflated >= self._checkpoints[-1][0] + _CHECKPOINT_BYTES:
            self._checkpoints.append((self._inflated, self._taken, self._inflater.copy()))
        return data
