"""WebDataset: tar shards of video, caption and JSON, a key a clip."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from motive.data.formats.reader import SubsetRow
from motive.data.media import ByteRange, changed, media_of
from motive.data.writers.writer import Export, SelectionWriter, Training, quoted

SHARDS = "shards"
_SHARD_BYTES = 1 << 30
_SHARD_CLIPS = 10_000


class WebDatasetWriter(SelectionWriter):
    """``shards/000000.tar`` and on, of at most about 1 GiB or 10,000 clips, in the order of the selection.

    Every key has a video, a ``.txt`` (also for an empty caption, since loaders want the same members for each key) and
    a ``.json`` with ``clip_id``, the clip's columns and the scores, under the same names with the same types in every
    key. The bytes of a shard depend on its clips alone.
    """

    name = "webdataset"
    holds_videos = True
    flat = True
    has_columns = False
    placements = ("copy",)
    reads = ("webdataset", SHARDS)

    def write(self, export: Export) -> None:
        (export.folder / SHARDS).mkdir()
        number, rows = 0, export.paths(self)
        item = next(rows, None)
        while item is not None:
            with _shard(export.folder / SHARDS / f"{number:06d}.tar") as archive:
                clips = size = 0
                while item is not None and clips < _SHARD_CLIPS and size < _SHARD_BYTES:
                    row, name = item
                    size += _add_clip(archive, export, row, name)
                    clips += 1
                    item = next(rows, None)
            number += 1

    def training(self, export: Export) -> Training:
        return webdataset_training(export)


def webdataset_training(export: Export) -> Training:
    """How loaders take the shards."""
    shards = export.final / SHARDS
    count = len(list((export.folder / SHARDS).glob("*.tar")))
    braces = f"{{000000..{count - 1:06d}}}" if count > 1 else "000000"
    script = f"import webdataset as wds; print(next(iter(wds.WebDataset({f'{shards}/{braces}.tar'!r}, shardshuffle=False))).keys())"
    return Training(
        "webdataset 1.0.2, and datasets 5.2.0",
        (f"python -c {quoted(script)}",),
        f"Trainers that read tar shards, finetrainers among them, take {shards}.",
    )


@contextmanager
def _shard(path: Path) -> Iterator[tarfile.TarFile]:
    with tarfile.open(path, "x", format=tarfile.PAX_FORMAT) as archive:
        yield archive


def _add_clip(archive: tarfile.TarFile, export: Export, row: SubsetRow, name: str) -> int:
    """Add the members of one clip; their bytes."""
    key = name.rpartition(".")[0]
    media = media_of(row.clip.path)
    info = _member(name, media.size())
    with media.open() as video:
        try:
            archive.addfile(info, video)
        except OSError as error:
            if video.tell() < info.size and isinstance(media, ByteRange):
                raise changed(media, f"only {video.tell()} bytes") from error
            raise
    fixed: dict[str, Any] = {"clip_id": row.clip.clip_id}
    texts = {
        "txt": row.clip.caption,
        "json": json.dumps(export.record(row, fixed), ensure_ascii=False),
    }
    for suffix, text in texts.items():
        data = text.encode("utf-8")
        archive.addfile(_member(f"{key}.{suffix}", len(data)), io.BytesIO(data))
    return info.size


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info
