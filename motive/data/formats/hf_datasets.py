"""Hugging Face datasets: Parquet files with a video column, and folders of ``save_to_disk``.

Layout of huggingface/datasets 5.2.0 (its Parquet and Arrow files were made and read with that version on 29 November
2026; features/video.py at commit b7cb10b, 31 July 2026). A video is a struct of ``bytes`` and ``path``: embedded where
there are bytes, linked by its path otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from motive.data.base import Clip, Unread
from motive.data.formats.metadata import ID_COLUMNS, caption_of
from motive.data.formats.reader import DatasetFormat, Detection, Row, Subset
from motive.data.formats.tables import cell_text, value_problem
from motive.data.media import ByteRange, Cell, Media, changed, media_of
from motive.data.paths import PathGuard, check_id
from motive.errors import ClipError, DatasetError, MissingExtra
from motive.extras import require

_NAMES = ("video", "mp4", "video_file", "clip")
"""Columns that hold videos where the file does not say which do."""
_CAPTIONS = ("caption", "text", "prompt")
_SPLITS, _STATE = "dataset_dict.json", "state.json"
_REPORTS = (_SPLITS, _STATE, "dataset_info.json")
_SPLIT = re.compile(r"(.+)-[0-9]{5}-of-[0-9]{5}")
_WHERE = "motive.data.formats.hf_datasets"


class HfDatasets(DatasetFormat):
    """What ``push_to_hub``, ``to_parquet`` and ``save_to_disk`` write; every row is a clip.

    Embedded videos are read in place: by their row in Parquet, as a byte range of an Arrow file.
    """

    name = "hf_datasets"
    priority = 45
    source_keys = (*DatasetFormat.source_keys, "location")
    writer = "hf"
    keeps_values = True

    def detect(self, path: Path, named: bool) -> Detection | None:
        files = _files(path)
        try:
            column = _column(files[0]) if files else None
        except (DatasetError, MissingExtra):
            if named:
                raise
            return None
        if column is None and named:
            raise DatasetError(
                f"{path} holds no Parquet or Arrow file with a column of videos ({', '.join(_NAMES)}, or one that the "
                "file calls Video); check the path"
            )
        if column is None:
            return None
        reports = tuple(folder / name for folder in {path, *(file.parent for file in files)} for name in _REPORTS)
        return Detection(path, base=path if path.is_dir() else path.parent, known=(*files, *reports))

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread]:
        count = 0
        heavy: dict[str, None] = {}
        # with --root, linked videos lie elsewhere, the files do not
        inside = PathGuard(found.folder, guard.follow_links)
        for file in _files(found.path):
            try:
                shard = check_id(inside.relative(str(file.absolute())))
                escaped = _problem_of(guard, file)
                heavy.update(dict.fromkeys(_heavy_columns(inside.file(shard))))
                for row in _shard_rows(shard, inside.file(shard)):
                    count += 1
                    yield row if isinstance(row.media, str) or escaped is None else replace(row, problem=escaped)
            except (ClipError, DatasetError) as error:
                count += 1
                problem = (error.reason, error.detail) if isinstance(error, ClipError) else ("damaged", str(error))
                yield Row(file.name, file.name, problem=problem)
        if not count:
            raise DatasetError(f"{found.path} has no rows; check the files")
        yield from (Unread(f"column {name}", "it holds bytes that are no captions, as of pictures") for name in heavy)

    def write(self, subset: Subset, out: Path) -> None:
        """Nothing: the writer ``hf`` writes a selection, as a VideoFolder that load_dataset reads."""

    def check_unchanged(self, clips: Sequence[Clip]) -> None:
        """Refuse videos that are no longer in the row, or at the place, where they were."""
        wanted: dict[Path, list[Media]] = {}
        for clip in clips:
            media = media_of(clip.path)
            if not media.whole:
                wanted.setdefault(media.file, []).append(media)
        for file, parts in wanted.items():
            held: set[Media] = set()
            try:
                held.update(row.media for row in _shard_rows(file.name, file) if isinstance(row.media, Media))
            except DatasetError as error:
                raise changed(parts[0], f"it cannot be read: {error}") from error
            lost = next((part for part in parts if part not in held), None)
            if lost is not None:
                raise changed(lost, "something else")


def _problem_of(guard: PathGuard, file: Path) -> tuple[str, str] | None:
    """Why videos that are embedded in a file are not among those of the roots."""
    try:
        guard.relative(str(file.absolute()))
    except ClipError as error:
        return error.reason, error.detail
    return None


def _files(path: Path) -> list[Path]:
    """The data files of a dataset, in order."""
    if path.is_file():
        return [path] if path.suffix.lower() in (".parquet", ".arrow") else []
    if (path / _STATE).is_file() or (path / _SPLITS).is_file():
        folders = [path] if (path / _STATE).is_file() else sorted(child for child in path.iterdir() if child.is_dir())
        files = [file for folder in folders for file in sorted(folder.glob("*.arrow"))]
        return [file for file in files if not file.name.startswith(("cache-", "."))]
    files = [*path.glob("*.parquet"), *path.glob("*/*.parquet")]
    return sorted(file for file in files if not file.name.startswith(".") and file.is_file())


def _column(file: Path) -> str | None:
    """The column of videos of a data file.

    Raises:
        DatasetError: it cannot be read.
    """
    with _schema(file) as schema:
        return _video_column(schema)


def _heavy_columns(file: Path) -> list[str]:
    """Columns of bytes that are not read.

    Raises:
        DatasetError: the file cannot be read.
    """
    pa = require("pyarrow", _WHERE, extra="tables")
    with _schema(file) as schema:
        video = _video_column(schema)
        light = set() if video is None else {video, *_light_columns(pa, schema, video)}
        return [] if video is None else [name for name in schema.names if name not in light]


@contextmanager
def _schema(file: Path) -> Iterator[Any]:
    """The schema of a data file; what goes wrong with it inside the block becomes a DatasetError."""
    pa, pq = require("pyarrow", _WHERE, extra="tables"), require("pyarrow.parquet", _WHERE, extra="tables")
    try:
        if file.suffix.lower() == ".parquet":
            yield pq.read_schema(file)
            return
        with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as reader:
            yield reader.schema
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: BaseException) -> DatasetError:
    what = (str(error).splitlines() or [type(error).__name__])[0]
    return DatasetError(f"read_dataset: {file} cannot be read: {what}; check the file")


def _video_column(schema: Any) -> str | None:
    """The column of videos: the one the file calls so, else one that is named and made like one."""
    pa = require("pyarrow", _WHERE, extra="tables")
    stated = _features(schema)
    fields = {field.name: field.type for field in schema}
    found = [name for name, kind in stated.items() if isinstance(kind, dict) and kind.get("_type") == "Video"]
    if not found and not any(isinstance(kind, dict) and kind.get("_type") == "Image" for kind in stated.values()):
        found = [name for name in _NAMES if name in fields]
    found = [name for name in found if name in fields and "/" not in name and _holds_videos(pa, fields[name])]
    return next((name for name in _NAMES if name in found), found[0] if found else None)


def _features(schema: Any) -> Mapping[str, Any]:
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _holds_videos(pa: Any, kind: Any) -> bool:
    if pa.types.is_struct(kind):
        names = {kind.field(at).name for at in range(kind.num_fields)}
        return bool(names) and names <= {"bytes", "path"}
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_light(pa: Any, kind: Any) -> bool:
    """Whether a column holds no bytes, so that reading it reads no videos or pictures."""
    if pa.types.is_struct(kind):
        return all(_is_light(pa, kind.field(at).type) for at in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_light(pa, kind.value_type)
    return not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _shard_rows(shard: str, file: Path) -> Iterator[Row]:
    """Rows of one file.

    Raises:
        DatasetError: it can be read up to a place only.
    """
    pa = require("pyarrow", _WHERE, extra="tables")
    column = _column(file)
    if column is None:
        raise DatasetError(f"read_dataset: {file} has no column of videos as the other files do; move it elsewhere")
    read = _parquet_rows if file.suffix.lower() == ".parquet" else _arrow_rows
    split = _SPLIT.fullmatch(file.stem)
    name = Path(shard).parent.name if split and split[1] == "data" else split[1] if split else ""
    try:
        for row, values, path, held in read(pa, file, column):
            yield _row(shard, file, name, row, values, path, held)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(file, error) from error


_Found = tuple[int, dict[str, Any], Any, "str | tuple[int, int] | None"]
"""(row, other columns, path of the video, what holds its bytes: a Parquet column, a byte range, or nothing)."""


def _light_columns(pa: Any, schema: Any, video: str) -> list[str]:
    return [
        field.name for field in schema if field.name != video and (_is_light(pa, field.type) or field.name in _CAPTIONS)
    ]


def _parquet_rows(pa: Any, file: Path, video: str) -> Iterator[_Found]:
    pq = require("pyarrow.parquet", _WHERE, extra="tables")
    with pq.ParquetFile(file) as table:
        schema = table.schema_arrow
        kind = schema.field(video).type
        inner = {kind.field(at).name for at in range(kind.num_fields)} if pa.types.is_struct(kind) else set()
        cell = f"{video}.bytes" if inner else video
        columns = [*_light_columns(pa, schema, video), *([f"{video}.path"] if "path" in inner else [])]
        row = 0
        for group in range(table.num_row_groups):
            count = table.metadata.row_group(group).num_rows
            has_bytes = _with_bytes(table, group, cell) if not inner or "bytes" in inner else repeat(False)
            for values in _group_values(table, group, columns, count):
                own = values.pop(video, None)
                path = own.get("path") if isinstance(own, dict) else None
                yield row, values, path, cell if next(has_bytes) else None
                row += 1


def _group_values(table: Any, group: int, columns: Sequence[str], count: int) -> Iterator[dict[str, Any]]:
    if not columns:
        yield from ({} for _ in range(count))
        return
    for batch in table.iter_batches(1024, row_groups=[group], columns=list(columns), use_threads=False):
        yield from batch.to_pylist()


def _with_bytes(table: Any, group: int, cell: str) -> Iterator[bool]:
    """Whether each row of a group has bytes: by the group's statistics where they say so, else by reading them."""
    described = table.metadata.row_group(group)
    chunks = (described.column(at) for at in range(described.num_columns))
    chunk = next((chunk for chunk in chunks if chunk.path_in_schema == cell), None)
    nulls = chunk.statistics.null_count if chunk is not None and chunk.statistics is not None else None
    if nulls in (0, described.num_rows):
        yield from repeat(nulls == 0, described.num_rows)
        return
    for batch in table.iter_batches(1, row_groups=[group], columns=[cell], use_threads=False):
        column = batch.column(0)
        column = column.field("bytes") if cell.endswith(".bytes") else column
        yield from column.is_valid().to_pylist()


def _arrow_rows(pa: Any, file: Path, video: str) -> Iterator[_Found]:
    row = 0
    with pa.memory_map(str(file)) as source:
        whole = source.read_buffer(source.size())
        with pa.ipc.open_stream(pa.BufferReader(whole)) as reader:
            columns = _light_columns(pa, reader.schema, video)
            for batch in reader:
                batch.validate(full=True)
                held = batch.column(video)
                inner = {held.type.field(at).name for at in range(held.type.num_fields)}
                data = held.field("bytes") if "bytes" in inner else None if inner else held
                paths = held.field("path") if "path" in inner else None
                places = _places(pa, whole, data) if data is not None else repeat(None)
                for at, (values, place) in enumerate(zip(batch.select(columns).to_pylist(), places, strict=False)):
                    yield row, values, paths[at].as_py() if paths is not None else None, place
                    row += 1


def _places(pa: Any, whole: Any, data: Any) -> Iterator[tuple[int, int] | None]:
    """Where in the file each binary value lies; None for null."""
    _, offsets, held = data.buffers()
    start = held.address - whole.address if held is not None else 0
    if held is not None and not 0 <= start <= whole.size - held.size:
        raise OSError("its buffers are compressed, so that no video has a place in it")
    width = np.int64 if pa.types.is_large_binary(data.type) else np.int32
    ends = np.frombuffer(offsets, width)[data.offset : data.offset + len(data) + 1]
    for at, valid in enumerate(data.is_valid().to_pylist()):
        yield (start + int(ends[at]), int(ends[at + 1] - ends[at])) if valid else None


def _row(
    shard: str, file: Path, split: str, row: int, values: dict[str, Any], path: Any, held: str | tuple[int, int] | None
) -> Row:
    columns = {"split": split} if split else {}
    columns |= {name: cell_text(value) for name, value in values.items()}
    label = f"{shard}/{path or f'row {row}'}"
    try:
        problem = value_problem(values)
        if problem is not None:
            raise ClipError(*problem)
        caption = caption_of(values, _CAPTIONS)
        own_id = next((columns[name] for name in ID_COLUMNS if name in columns), None)
        if held is None:
            return Row(_linked(path), label, caption, columns, own_id, values=values)
        name = _inner_name(file, path, row)
        media = Cell(file, name, row, held) if isinstance(held, str) else ByteRange(file, name, *held)
        return Row(media, label, caption, columns, own_id or check_id(f"{shard}/{name}"), values=values)
    except ClipError as error:
        return Row(label, label, None, columns, None, (error.reason, error.detail))


def _linked(path: Any) -> str:
    if not path:
        raise ClipError("bad_row", "the video has neither bytes nor a path")
    if "://" in path:
        raise ClipError("bad_path", f"{path!r} is an address; download the file, or embed it in the dataset")
    return path


def _inner_name(file: Path, path: Any, row: int) -> str:
    """The name of an embedded video: its path if that is relative, else the path's last part, else its row."""
    if not path:
        return f"row {row}"
    try:
        return PathGuard(file).relative(path)
    except ClipError as error:
        if error.reason == "bad_path":
            raise
        return PathGuard(file).relative(re.split(r"[/\\]", path)[-1] or f"row {row}")
