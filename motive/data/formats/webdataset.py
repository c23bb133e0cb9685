"""WebDataset: tar shards that hold ``key.mp4`` and, under the same key, ``key.txt`` or ``key.json``.

Layout by webdataset 1.0.2 (commit e0953f9, 5 February 2026), looked up on 29 November 2026.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from motive.data.base import Clip, Unread
from motive.data.formats.archive import PACKED, check_parts, is_archive, members, part_of, text_of
from motive.data.formats.folder import VIDEO_SUFFIXES, video_names
from motive.data.formats.metadata import ID_COLUMNS, caption_of
from motive.data.formats.reader import DatasetFormat, Detection, Row, Subset
from motive.data.formats.sidecar import Sidecar, beside_shards
from motive.data.formats.tables import cell_text, json_object
from motive.data.formats.tar import Member
from motive.data.paths import PathGuard, check_id, is_clean, printable
from motive.errors import ClipError, DatasetError

_TAR = ".tar"
_CAPTIONS = ("caption", "prompt", "text")
_TEXTS = (".txt", ".json")
_OTHER_TEXTS = (".cap", ".caption", ".captions", ".prompt")


class WebDataset(DatasetFormat):
    """A tar file, or the ``*.tar`` files of a folder; every video in them is a clip.

    Shards are read in place: the members' headers give where each video lies, and the decoder reads just that part. The
    Parquet table beside a shard gives what the members of a clip lack.
    """

    name = "webdataset"
    priority = 60
    reads_archives = True
    writer = "webdataset"
    keeps_values = True
    source_keys = (*DatasetFormat.source_keys, "location")  # two shards of a folder have one root, and may share ids

    def detect(self, path: Path, named: bool) -> Detection | None:
        if path.is_file():
            _refuse_compressed([path])
            return Detection(path) if path.name.lower().endswith(_TAR) else None
        files = [child for child in path.iterdir() if child.is_file()]
        known = beside_shards([child for child in files if child.name.lower().endswith(_TAR)])
        if named:
            return Detection(path, known=known)
        video = next(video_names(path, follow_links=False), None)
        if not any(child.name.lower().endswith(_TAR) for child in files):
            if video is not None:
                return None
            _refuse_compressed(files)
            return None if any(is_archive(child.name) for child in files) else _below(path)
        if video is not None:
            raise DatasetError(
                f"{path} holds both tar shards and video files ({video} among them); pass --dataset-format webdataset "
                "or folder"
            )
        return Detection(path, known=known)

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread]:
        if not found.archives:
            yield from archive_rows(found.path, _TAR, guard)
        for written in found.archives:
            yield from _archive_rows(written, written, guard)

    def check_unchanged(self, clips: Sequence[Clip]) -> None:
        """Refuse videos that no longer lie where they did: the shard was written again since it was read."""
        check_parts(clips)

    def write(self, subset: Subset, out: Path) -> None:
        """Write captions beside the videos, which are separate files in a selection."""
        write_captions(subset, out)


def _below(path: Path) -> Detection | None:
    """The one direct subfolder with shards, as ``train`` of a dataset or ``shards`` of a selection; None without any.

    Raises:
        DatasetError: several hold shards.
    """
    folders = sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    found = [folder for folder in folders if any(is_tar(child) for child in folder.iterdir())]
    if len(found) > 1:
        names = ",".join(folder.name for folder in found)
        raise DatasetError(
            f"{path} holds tar shards in {len(found)} folders ({names}); give one of them, such as {found[0]}, or all by a "
            f"pattern, such as '{path}/{{{names}}}/{{000000..000127}}.tar'"
        )
    return Detection(found[0]) if found else None


def is_tar(path: Path) -> bool:
    """Whether a path is a file called like a shard."""
    return path.name.lower().endswith(_TAR) and not path.name.startswith(".") and path.is_file()


def archive_rows(path: Path, suffix: str, guard: PathGuard) -> Iterator[Row | Unread]:
    """Rows of one archive, or of those directly in a folder.

    Raises:
        DatasetError: there is none.
    """
    folder = path.parent if path.is_file() else path
    names = [path.name] if path.is_file() else sorted(child.name for child in path.iterdir())
    shards = [name for name in names if name.lower().endswith(suffix) and not name.startswith(".")]
    if not shards:
        raise DatasetError(f"{path} holds no {suffix} files; check the path")
    for name in shards:
        yield from _archive_rows(os.path.join(os.path.abspath(folder), name), name, guard)


def _archive_rows(path: str, label: str, guard: PathGuard) -> Iterator[Row | Unread]:
    """Rows of one archive; a row with the problem where it cannot be read, or only up to a place."""
    try:
        shard = check_id(guard.relative(path))
        file = guard.file(shard)
        table = Sidecar(file, guard)
        yield from _shard_rows(shard, file, table)
        yield from table.unread()
    except ClipError as error:
        yield Row(label, label, problem=(error.reason, error.detail))


def write_captions(subset: Subset, out: Path) -> None:
    """Write each clip's caption to a text file beside its video."""
    for row, file in zip(subset.rows, subset.files, strict=True):
        target = (out / file).with_suffix(".txt")
        if row.clip.caption and not target.exists():
            target.write_text(row.clip.caption, encoding="utf-8", newline="")


def _shard_rows(shard: str, file: Path, table: Sidecar) -> Iterator[Row | Unread]:
    """Rows of one archive.

    Raises:
        ClipError: it could be read up to a place only.
    """
    videos: list[Member] = []
    texts: dict[str, bytes | ClipError] = {}
    others: Counter[str] = Counter()
    broken: ClipError | None = None
    try:
        for member in members(file):
            name = PurePosixPath(member.name)
            suffix = name.suffix.lower()
            if suffix in VIDEO_SUFFIXES and not name.name.startswith("."):
                videos.append(member)
            elif suffix in _TEXTS and not name.name.startswith("."):
                texts.setdefault(member.name[: -len(suffix)] + suffix, text_of(file, member))
            others.update([suffix] if suffix in _OTHER_TEXTS else [])
    except ClipError as error:
        broken = error
    unused, inner = set(texts), PathGuard(file)
    for member in videos:
        names = {suffix: list(_names_beside(member.name, suffix)) for suffix in _TEXTS}
        unused.difference_update(*names.values())
        beside = {suffix: next((texts[name] for name in names[suffix] if name in texts), None) for suffix in _TEXTS}
        yield _row(shard, inner, member, beside, table)
    for suffix, count in sorted(others.items()):
        yield Unread(f"{count} {suffix} members of {shard}", "captions are read from .txt and .json members", count)
    if broken is not None:
        raise broken
    if unused:
        shown = tuple(printable(f"{shard}/{name}") for name in sorted(unused)[: Unread.EXAMPLES])
        why = f"no video has their key, {printable(min(unused))} for one"
        yield Unread(f"{len(unused)} text members of {shard}", why, len(unused), shown)


def _row(
    shard: str, guard: PathGuard, member: Member, texts: Mapping[str, bytes | ClipError | None], table: Sidecar
) -> Row:
    label = f"{shard}/{member.name}"
    try:
        name = guard.relative(member.name)
        if member.problem is not None:
            raise ClipError(*member.problem)
        values = {**table.values(key_of(member.name)), **_fields(_decoded(texts[".json"], ".json"))}
        columns = {column: cell_text(value) for column, value in values.items()}
        clip_id = next((check_id(columns[column]) for column in ID_COLUMNS if column in columns), None)
        caption = _decoded(texts[".txt"], ".txt")
        if caption is None:
            caption = caption_of(values, _CAPTIONS)
        clip_id = clip_id or check_id(f"{shard}/{name}")
    except ClipError as error:
        return Row(label, label, problem=(error.reason, error.detail))
    caption = None if caption is None else caption.strip()
    return Row(part_of(guard.root, name, member), label, caption, columns, clip_id, values=values)


def _fields(text: str | None) -> Mapping[str, Any]:
    """The clip's JSON member."""
    if text is None:
        return {}
    row = json_object(1, "the member .json", text)
    if row.problem is not None and row.problem[0] != "empty_row":
        raise ClipError(*row.problem)
    return row.values


def _names_beside(video: str, suffix: str) -> Iterator[str]:
    """Names of the text members that may belong to a video, the best first.

    dir/a.front.mp4 has a.front.txt, a.txt by WebDataset's rule that a key ends at the first dot, or a.front.mp4.txt;
    and in JSON also a.info.json.
    """
    folder, slash, base = video.rpartition("/")
    stem, key = base.rpartition(".")[0], base.partition(".")[0]
    for name in (stem, key, base, *((f"{stem}.info", f"{key}.info") if suffix == ".json" else ())):
        yield f"{folder}{slash}{name}{suffix}"


def key_of(name: str) -> str:
    """The key of a member by WebDataset's rule: its path up to the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _decoded(data: bytes | ClipError | None, suffix: str) -> str | None:
    if isinstance(data, ClipError):
        raise data
    if data is None:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClipError("bad_text", f"the member {suffix} is not UTF-8: {error.reason}") from error
    if not is_clean(text):
        raise ClipError("bad_text", f"the member {suffix} holds a NUL byte")
    return text


def _refuse_compressed(files: Sequence[Path]) -> None:
    packed = next((file.name for file in files if file.name.lower().endswith(PACKED)), None)
    if packed is not None:
        raise DatasetError(
            f"shards must be plain {_TAR} files, got {packed}, in which no place can be found without unpacking all "
            "before it; unpack the compression (videos hardly shrink)"
        )
