"""Data-Juicer: samples with a list ``videos`` and a ``text`` that holds a token for each of them.

Layout of github.com/modelscope/data-juicer (1.4.3, commit c07c2d7, 17 October 2025: its multimodal format, constant.py
and exporter.py); looked up on 29 November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from motive.data.base import Unread
from motive.data.formats.copying import copy_rows
from motive.data.formats.metadata import TableFormat, subset_table, tables_in
from motive.data.formats.reader import Detection, Row, Subset
from motive.data.formats.tables import TableRow, column_names, first_values, read_rows
from motive.data.paths import PathGuard
from motive.errors import ClipError, DatasetError, MissingExtra

_VIDEO, _CHUNK_END = "<__dj__video>", "<|__dj__eoc|>"
_MEDIA = re.compile("<__dj__(?:video|image|audio)>")
_STATS = "__dj__stats__"


class DataJuicer(TableFormat):
    """Every video of a sample is a clip: its caption is the text, without tokens, of the chunk that holds its token."""

    name = "data_juicer"
    priority = 35
    path_columns = ("videos",)
    caption_columns = ("text",)
    suffixes = (".jsonl", ".json", ".parquet")

    def candidates(self, folder: Path) -> list[Path]:
        return tables_in(folder, self.suffixes)

    def owns(self, file: Path) -> bool:
        """Whether one of the first rows has a list of videos; a file that cannot be read is another's to explain."""
        try:
            if file.suffix.lower() == ".parquet" and "videos" not in column_names(file):
                return False  # without reading rows, which may hold videos
            return any(isinstance(values.get("videos"), list) for values in first_values(file))
        except (DatasetError, MissingExtra):
            return False

    def takes(self, file: Path) -> bool:
        return file.suffix.lower() in self.suffixes

    def detect(self, path: Path, named: bool) -> Detection | None:
        found = super().detect(path, named)
        if found is None or not path.is_dir():
            return found
        stats = [child.name for child in sorted(path.glob("*_stats.jsonl")) if child != found.source]
        why = "statistics beside the samples are not read; export with keep_stats_in_res_ds: true"
        return replace(found, unread=(*found.unread, *(Unread(name, why) for name in stats)))

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread]:
        source, count = found.source or found.path, 0
        for row in read_rows(source):
            count += 1
            yield from self._samples(row, source.name)
        if not count:
            raise DatasetError(f"{source} has no rows; check the file")

    def write(self, subset: Subset, out: Path) -> None:
        """Write a sample for each selected clip; one that shared its sample gets its own sample."""
        self._write(subset, out, subset.files)

    def write_scores(self, subset: Subset, out: Path) -> None:
        """The same with the paths as they are."""
        self._write(subset, out, None)

    def _write(self, subset: Subset, out: Path, files: Sequence[str] | None) -> None:
        source = subset.dataset.source
        if source is None:
            raise DatasetError(f"the dataset names no table for format {self.name}; read it again")
        target = out / subset_table(source)
        places = self._places(subset, source)
        numbers, updates = [], []
        for at, row in enumerate(subset.rows):
            number, video, change = places[row.clip.clip_id]
            numbers.append(number)
            updates.append({**change, "videos": [video if files is None else files[at]], **row.scores})
        copy_rows(source, target, numbers, updates)

    def _samples(self, row: TableRow, table: str) -> Iterator[Row]:
        """A row for each video of a sample, or one that says why there is none."""
        videos = row.values.get("videos")
        problem = row.problem
        if problem is None and not (isinstance(videos, list) and videos and all(isinstance(v, str) for v in videos)):
            problem = ("bad_row", "videos must be a list of paths")
        if problem is not None or not isinstance(videos, list):
            yield replace(self.row_of(TableRow(row.number, {**row.values, "videos": ""}, problem), table), media=table)
            return
        try:
            captions, refused = _captions(row.values.get("text"), len(videos)), None
        except ClipError as error:
            captions, refused = [None] * len(videos), (error.reason, error.detail)
        for at, (video, caption) in enumerate(zip(videos, captions, strict=True)):
            found = self.row_of(TableRow(row.number, {**row.values, "videos": video, "text": None}), table)
            clip_id = found.clip_id if found.clip_id is None or len(videos) == 1 else f"{found.clip_id}/{at}"
            columns = {**found.columns, **super().row_of(row, table).columns}
            problem = found.problem or refused
            yield replace(found, caption=caption, clip_id=clip_id, columns=columns, problem=problem, values=row.values)

    def _places(self, subset: Subset, source: Path) -> dict[str, tuple[int, str, dict[str, Any]]]:
        """Row of each selected clip, its path as written, and what else changes in the row.

        Raises:
            DatasetError: the table no longer holds one.
        """
        guard = PathGuard.of(subset.dataset.root, subset.dataset.options)
        wanted = set(subset.ids)
        found: dict[str, tuple[int, str, dict[str, Any]]] = {}
        shared = False
        for values in read_rows(source):
            for at, row in enumerate(self._samples(values, source.name)):
                try:
                    clip_id = row.clip_id or guard.relative(str(row.media))
                except ClipError:
                    continue
                if row.problem is None and clip_id in wanted and clip_id not in found:
                    found[clip_id] = (values.number, str(row.media), _alone(values.values, at, row.caption))
                    shared = shared or len(values.values["videos"]) > 1
        lost = next((clip_id for clip_id in subset.ids if clip_id not in found), None)
        if lost is not None:
            raise DatasetError(f"{source} no longer holds clip {lost!r}; restore the table that was read")
        return found if shared else {clip_id: (number, video, {}) for clip_id, (number, video, _) in found.items()}


def _captions(text: Any, videos: int) -> list[str | None]:
    """The caption of each video of a sample.

    Raises:
        ClipError: the text is none, or names another number of videos.
    """
    if text is None or text == "":
        return [None] * videos
    if not isinstance(text, str):
        raise ClipError("bad_row", f"text is {type(text).__name__}, not text")
    chunks = text.split(_CHUNK_END)
    if len(_MEDIA.findall(text)) <= 1 and videos == 1:
        return [" ".join(filter(None, map(_plain, chunks)))]
    found = [_plain(chunk) for chunk in chunks for _ in range(chunk.count(_VIDEO))]
    if len(found) != videos:
        raise ClipError("bad_row", f"the sample has {videos} videos and {len(found)} {_VIDEO} tokens")
    return list(found)


def _plain(chunk: str) -> str:
    return " ".join(filter(None, (part.strip() for part in _MEDIA.split(chunk))))


def _alone(values: Mapping[str, Any], at: int, caption: str | None) -> dict[str, Any]:
    """Cells of a sample that keeps one of its videos; statistics that are lists by video keep that video's."""
    videos = values["videos"]
    if len(videos) == 1:
        return {name: values.get(name) for name in ("text", _STATS) if name in values}
    change: dict[str, Any] = {"text": f"{_VIDEO} {caption or ''}".strip()}
    if _STATS in values:
        stats = values[_STATS]
        is_object = isinstance(stats, dict)
        change[_STATS] = {key: _only(value, len(videos), at) for key, value in stats.items()} if is_object else stats
    return change


def _only(value: Any, count: int, at: int) -> Any:
    return [value[at]] if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == count else value
