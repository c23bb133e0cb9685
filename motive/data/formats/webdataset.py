"""WebDataset: tar shards that hold ``key.mp4`` and, under the same key, ``key.txt`` or ``key.json``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from motive.data.base import Clip, Dataset, Failure
from motive.data.formats.folder import VIDEO_SUFFIXES, video_names
from motive.data.formats.metadata import ID_COLUMNS
from motive.data.formats.reader import DatasetFormat, ReadOptions, Subset
from motive.data.formats.tables import cell_text, json_object
from motive.data.formats.tar import Member, members
from motive.data.paths import PathGuard, check_id, is_clean, printable
from motive.data.video.stretch import TAR_SUFFIX, Stretch
from motive.errors import ClipError, DatasetError

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_CAPTIONS = ("caption", "prompt", "text")
_MAX_TEXT_BYTES = 1 << 20


class WebDataset(DatasetFormat):
    """A tar file, or the ``*.tar`` files of a folder; every video in them is a clip.

    Shards are read in place: the members' headers give where each video lies, and the decoder reads just that part.
    """

    name = "webdataset"

    def detect(self, path: Path) -> bool:
        if path.is_file():
            _refuse_compressed([path])
            return path.name.lower().endswith(TAR_SUFFIX)
        files = [child for child in path.iterdir() if child.is_file()]
        video = next(video_names(path, follow_links=False), None)
        if not any(child.name.lower().endswith(TAR_SUFFIX) for child in files):
            if video is None:
                _refuse_compressed(files)
            return False
        if video is not None:
            raise DatasetError(
                f"read_dataset: {path} must hold tar shards or video files, got both, {video} among them; say format "
                "webdataset or folder"
            )
        return True

    def read(self, path: Path, options: ReadOptions) -> Dataset:
        folder = path.parent if path.is_file() else path
        names = [path.name] if path.is_file() else sorted(child.name for child in path.iterdir())
        guard = PathGuard(options.root or folder, options.follow_links)
        found = _Found()
        shards = [name for name in names if name.lower().endswith(TAR_SUFFIX) and not name.startswith(".")]
        if not shards:
            raise DatasetError(f"read_dataset: {path} must hold {TAR_SUFFIX} files, got none; check the path")
        for name in shards:
            try:
                shard = check_id(guard.relative(os.path.join(os.path.abspath(folder), name)))
                _read_shard(shard, guard.file(shard), found)
            except ClipError as error:
                found.fail(name, name, error)
        found.clips.sort(key=lambda clip: clip.clip_id)
        location = Path(os.path.abspath(path))
        return Dataset(location, guard.root, self.name, tuple(found.clips), tuple(found.failures))

    def write(self, subset: Subset, out: Path) -> None:
        """Write captions beside the videos, which are files of their own in a selection."""
        for row, file in zip(subset.rows, subset.files, strict=True):
            target = (out / file).with_suffix(".txt")
            if row.clip.caption and not target.exists():
                target.write_text(row.clip.caption, encoding="utf-8", newline="")


@dataclass
class _Found:
    """What was read so far."""

    clips: list[Clip] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def fail(self, clip_id: str, path: str, error: ClipError) -> None:
        self.failures.append(Failure(printable(clip_id), printable(path), "read", error.reason, error.detail))


def _read_shard(shard: str, file: Path, found: _Found) -> None:
    """Clips and failures of one tar file.

    Raises:
        ClipError: it could be read up to a place only.
    """
    videos: list[Member] = []
    texts: dict[str, bytes | ClipError] = {}
    broken: ClipError | None = None
    try:
        for member in members(file):
            suffix = PurePosixPath(member.name).suffix.lower()
            if suffix in VIDEO_SUFFIXES and not PurePosixPath(member.name).name.startswith("."):
                videos.append(member)
            elif suffix in (".txt", ".json"):
                texts.setdefault(member.name[: -len(suffix)] + suffix, _text(file, member))
    except ClipError as error:
        broken = error
    for member in videos:
        try:
            clip = _clip(shard, file, member, texts)
            if clip.clip_id in found.ids:
                raise ClipError("duplicate_id", f"an earlier member has the id {clip.clip_id!r}")
            found.ids.add(clip.clip_id)
            found.clips.append(clip)
        except ClipError as error:
            found.fail(f"{shard}/{member.name}", f"{shard}/{member.name}", error)
    if broken is not None:
        raise broken


def _clip(shard: str, file: Path, member: Member, texts: Mapping[str, bytes | ClipError]) -> Clip:
    name = PathGuard(file).relative(member.name)
    if member.problem is not None:
        raise ClipError(*member.problem)
    columns = _columns(member.name, texts)
    clip_id = next((check_id(columns[column]) for column in ID_COLUMNS if column in columns), None)
    caption = _beside(member.name, ".txt", texts)
    if caption is None:
        caption = next((columns[column] for column in _CAPTIONS if columns.get(column)), "")
    path = Stretch(file, member.start, member.size, name).path
    return Clip(clip_id or check_id(f"{shard}/{name}"), path, caption.strip(), columns)


def _columns(name: str, texts: Mapping[str, bytes | ClipError]) -> dict[str, str]:
    """The fields of the clip's JSON member as text."""
    text = _beside(name, ".json", texts)
    if text is None:
        return {}
    row = json_object(1, "the member .json", text)
    if row.problem is not None and row.problem[0] != "empty_row":
        raise ClipError(*row.problem)
    return {column: cell_text(value) for column, value in row.values.items()}


def _beside(name: str, suffix: str, texts: Mapping[str, bytes | ClipError]) -> str | None:
    """Text of the member with the video's name up to its last dot, or up to its first, and another suffix."""
    folder, slash, base = name.rpartition("/")
    for stem in (base.rpartition(".")[0], base.partition(".")[0]):
        data = texts.get(f"{folder}{slash}{stem}{suffix}")
        if isinstance(data, ClipError):
            raise data
        if data is not None:
            try:
                text = data.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise ClipError("bad_text", f"the member {suffix} is not UTF-8: {error.reason}") from error
            if not is_clean(text):
                raise ClipError("bad_text", f"the member {suffix} holds a NUL byte")
            return text
    return None


def _text(file: Path, member: Member) -> bytes | ClipError:
    """Bytes of a small member, or why there are none."""
    if member.problem is not None:
        return ClipError(*member.problem)
    if member.size > _MAX_TEXT_BYTES:
        return ClipError("bad_text", f"{printable(member.name)!r} is longer than 1 MiB")
    with Stretch(file, member.start, member.size, "text").open() as stream:
        return stream.read()


def _refuse_compressed(files: list[Path]) -> None:
    packed = next((file.name for file in files if file.name.lower().endswith(_COMPRESSED)), None)
    if packed is not None:
        raise DatasetError(
            f"read_dataset: shards must be plain {TAR_SUFFIX} files, got {packed}, in which no place can be found "
            "without unpacking all before it; unpack the compression (videos hardly shrink)"
        )
