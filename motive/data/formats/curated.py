"""The output of NVIDIA's curators: ``clips/{uuid}.mp4`` and, for each, ``metas/v0/{uuid}.json`` with caption windows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from motive.data.base import Unread
from motive.data.formats.reader import DatasetFormat, Detection, Row, Subset
from motive.data.formats.tables import TableRow, cell_text, json_object, read_rows
from motive.data.media import media_of
from motive.data.paths import PathGuard, is_clean, printable
from motive.errors import ClipError, DatasetError
from motive.publish import published

_CLIPS, _FILTERED = "clips", "filtered_clips"
_METAS, _CHUNKS = "metas/v0", "metas_jsonl/v0"
_REPORTS = ("metas", "metas_jsonl", "processed_videos", "processed_clip_chunks", "video_errors", "summary.json")
"""What a curator writes about videos and runs; nothing in it is a caption that the clips' own metadata lacks."""
_MAX_META_BYTES = 16 << 20
_LOOKED_AT = 20
"""Files of metadata, and lines of each, that are looked at to see which curator wrote them."""
SCORES = "motive_scores"
"""Key of the scores in the metadata of a selection."""


class CuratedClips(DatasetFormat):
    """Clips of a curator, captioned by their first window; the id of a clip is its uuid.

    Attributes:
        marker: key that this curator alone writes into every file of metadata; empty for one that lacks the others'.

    The first usable file of metadata says which curator wrote the folder.
    """

    priority = 14
    marker = ""
    others: tuple[str, ...] = ()

    def detect(self, path: Path, named: bool) -> Detection | None:
        inside = _metas_folder(path)
        if inside is None or not (path / _CLIPS).is_dir():
            if named:
                raise DatasetError(
                    f"{path} must be a folder with {_CLIPS}/ and {_METAS}/*.json for format {self.name}; check the path"
                )
            return None
        if not named:
            values = next(_usable(path / inside), {})
            if "span_uuid" not in values or self.marker not in ("", *values) or set(self.others) & set(values):
                return None
        return Detection(path, known=tuple(path / name for name in _REPORTS))

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread]:
        known: set[str] = set()
        filtered, windows = 0, 0
        for where, row in _metas(found.path, PathGuard(found.path, guard.follow_links)):
            stem = PurePosixPath(where).stem if where.endswith(".json") else cell_text(row.values.get("span_uuid"))
            known.add(stem)
            if _is_filtered(row.values):
                filtered += 1
                continue
            listed = row.values.get("windows")
            windows += isinstance(listed, list) and len(listed) > 1
            yield _row(where, stem, row)
        if not known:
            raise DatasetError(f"{found.path} holds no metadata of clips in {_METAS}; check the path")
        yield from self._unread(found.path, known, filtered, windows)

    def write(self, subset: Subset, out: Path) -> None:
        """Write the selected clips' metadata with their scores, in the form it came in."""
        folder = Path(subset.dataset.location)
        guard = PathGuard(folder, subset.dataset.options.follow_links)
        wanted = {media_of(row.clip.path).file.stem: dict(row.scores) for row in subset.rows}
        if _metas_folder(folder) == _METAS:
            (out / _METAS).mkdir(parents=True, exist_ok=True)
            for stem, scores in wanted.items():
                row = _meta(guard, f"{_METAS}/{stem}.json")
                if row.problem is not None:
                    raise _lost(folder, stem)
                _write(out / _METAS / f"{stem}.json", [{**row.values, SCORES: scores}], 4)
            return
        rows = {cell_text(row.values.get("span_uuid")): row.values for _, row in _metas(folder, guard)}
        lost = next((stem for stem in wanted if stem not in rows), None)
        if lost is not None:
            raise _lost(folder, lost)
        (out / _CHUNKS).mkdir(parents=True, exist_ok=True)
        _write(out / _CHUNKS / "selection.jsonl", [{**rows[stem], SCORES: wanted[stem]} for stem in wanted], None)

    def write_scores(self, subset: Subset, out: Path) -> None:
        """The same: the metadata names no path in a selection."""
        self.write(subset, out)

    def _unread(self, folder: Path, known: set[str], filtered: int, windows: int) -> Iterator[Unread]:
        alone = [name for name in _names(folder / _CLIPS, ".mp4") if name[: -len(".mp4")] not in known]
        if alone:
            yield Unread(f"{len(alone)} videos in {_CLIPS}/", f"they have no metadata, {printable(alone[0])} for one")
        if filtered:
            yield Unread(f"{filtered} clips in {_FILTERED}/", "the curator filtered them out")
        if windows:
            yield Unread(f"the later windows of {windows} clips", "a clip has one caption, that of its first window")


def curated_but_unknown(folder: Path) -> str | None:
    """Why a folder that is made like a curator's is read by neither of their formats; None for any other folder."""
    inside = _metas_folder(folder)
    if inside is None or not (folder / _CLIPS).is_dir() or next(_usable(folder / inside), None) is not None:
        return None
    names = _names(folder / inside)
    looked = "its one file has" if len(names) == 1 else f"the first {_LOOKED_AT} of its {len(names)} files have"
    looked = looked if not 1 < len(names) <= _LOOKED_AT else f"its {len(names)} files have"
    return (
        f"{folder} has {_CLIPS}/ and {inside}/ as a curator writes them, but {looked} no span_uuid ({names[0]} for one)"
    )


def _metas_folder(path: Path) -> str | None:
    """The folder of metadata, of the two that a curator may write the first that holds any."""
    found = (inside for inside in (_METAS, _CHUNKS) if (path / inside).is_dir() and _names(path / inside))
    return next(found, None)


def _usable(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Metadata with a uuid among that of the first files and lines: one that is broken says nothing of the rest."""
    for name in _names(folder)[:_LOOKED_AT]:
        try:
            with (folder / name).open("rb") as file:
                lines = name.endswith(".jsonl")
                for _ in range(_LOOKED_AT if lines else 1):
                    data = file.readline(_MAX_META_BYTES) if lines else file.read(_MAX_META_BYTES)
                    row = json_object(1, name, data.decode("utf-8-sig", "surrogateescape"))
                    if row.problem is None and "span_uuid" in row.values:
                        yield row.values
        except OSError:
            continue


def _names(folder: Path, *suffixes: str) -> list[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.endswith(suffixes or (".json", ".jsonl"))]
    return sorted(name for name in names if not name.startswith("."))


def _metas(folder: Path, guard: PathGuard) -> Iterator[tuple[str, TableRow]]:
    """(file, metadata of a clip), from a file each or from lines of the files of a chunk."""
    if _metas_folder(folder) == _METAS:
        for name in _names(folder / _METAS, ".json"):
            yield f"{_METAS}/{name}", _meta(guard, f"{_METAS}/{name}")
        return
    for name in _names(folder / _CHUNKS, ".jsonl"):
        for row in read_rows(guard.file(guard.relative(f"{_CHUNKS}/{name}"))):
            yield f"{_CHUNKS}/{name}:{row.number}", row


def _meta(guard: PathGuard, where: str) -> TableRow:
    try:
        with guard.file(guard.relative(where)).open("rb") as file:
            data = file.read(_MAX_META_BYTES + 1)
    except ClipError as error:
        return TableRow(1, {}, (error.reason, error.detail))
    except OSError as error:
        return TableRow(1, {}, ("unreadable", f"{where} cannot be read: {error.strerror}"))
    if len(data) > _MAX_META_BYTES:
        return TableRow(1, {}, ("bad_row", f"{where} is longer than 16 MiB"))
    text = data.decode("utf-8-sig", "surrogateescape")
    return json_object(1, where, text) if is_clean(text) else TableRow(1, {}, ("bad_text", f"{where} is not UTF-8"))


def _is_filtered(values: Mapping[str, Any]) -> bool:
    return _FILTERED in PurePosixPath(cell_text(values.get("clip_location"))).parts


def _row(where: str, stem: str, row: TableRow) -> Row:
    columns = {name: cell_text(value) for name, value in row.values.items()}
    label = stem or where
    if row.problem is not None or not stem:
        return Row(where, label, None, columns, None, row.problem or ("bad_row", f"{where} has no span_uuid"))
    try:
        caption = _caption(row.values.get("windows"))
    except ClipError as error:
        return Row(f"{_CLIPS}/{stem}.mp4", label, None, columns, stem, (error.reason, error.detail))
    return Row(f"{_CLIPS}/{stem}.mp4", label, caption, columns, stem)


def _caption(windows: Any) -> str | None:
    """The first caption of the first window; one that a model wrote counts before one that another enhanced.

    Raises:
        ClipError: the windows are not what a curator writes.
    """
    if windows is None or windows == []:
        return None
    if not isinstance(windows, list) or not isinstance(windows[0], dict):
        raise ClipError("bad_row", "windows must be a list of objects")
    captions = {name: text for name, text in windows[0].items() if name.endswith("_caption")}
    names = sorted(captions, key=lambda name: name.endswith("_enhanced_caption"))
    texts = [captions[name] for name in names if captions[name]]
    if texts and not isinstance(texts[0], str):
        raise ClipError("bad_row", f"the caption is {type(texts[0]).__name__}, not text")
    return texts[0] if texts else None


def _write(path: Path, values: Sequence[Mapping[str, Any]], indent: int | None) -> None:
    with published(path) as temporary:
        text = "".join(json.dumps(value, ensure_ascii=False, indent=indent) + "\n" for value in values)
        temporary.write_text(text, encoding="utf-8", newline="")


def _lost(folder: Path, stem: str) -> DatasetError:
    return DatasetError(f"{folder} no longer holds the metadata of clip {stem}; restore what was read")
