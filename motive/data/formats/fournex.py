"""4DNeX-10M: ``caption/dynamic_1_with_caption_upload.csv`` (number, caption) and ``raw/dynamic/dynamic_1/00000012.mp4``.

Layout of github.com/3DTopia/4DNeX (commit 1101bc6, 4 December 2025: README and core/annotation.py) for
huggingface.co/datasets/3DTopia/4DNeX-10M; looked up on 29 November 2026. The number in a table has no leading zeros.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from motive.data.base import Clip, Unread
from motive.data.formats.archive import check_parts
from motive.data.formats.copying import copy_rows
from motive.data.formats.lookup import VideoIndex
from motive.data.formats.metadata import caption_of
from motive.data.formats.reader import DatasetFormat, Detection, Row, Subset
from motive.data.formats.tables import TableRow, cell_text, column_names, read_rows
from motive.data.paths import PathGuard
from motive.errors import ClipError, DatasetError

_CAPTIONS, _RAW = "caption", "raw"
_SET = re.compile(r"(dynamic|static)_?([0-9]+)")
_GEOMETRY = ("dynamic", "static")


class FourNex(DatasetFormat):
    """One table of captions for each set; a clip's id is its set and number, ``dynamic_1/12``.

    Camera paths, depth and masks (``dynamic/``, ``static/``) are not read.
    """

    name = "4dnex"
    priority = 10
    reads_archives = True

    def detect(self, path: Path, named: bool) -> Detection | None:
        tables = _tables(path) if path.is_dir() else []
        if not tables:
            if named:
                raise DatasetError(
                    f"{path} must be a folder with {_CAPTIONS}/dynamic_1_with_caption_upload.csv or the like; check the path"
                )
            return None
        geometry = [name for name in _GEOMETRY if (path / name).is_dir()]
        why = "camera paths, depth and masks are not read"
        return Detection(path, unread=tuple(Unread(f"{name}/", why) for name in geometry), known=tuple(tables))

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread]:
        index = VideoIndex(guard, _RAW, _key)
        yield from index.problems
        count = 0
        for table in _tables(found.path):
            for row in read_rows(table):
                count += 1
                yield _row(table, row, index)
        if not count:
            raise DatasetError(f"the tables in {found.path / _CAPTIONS} have no rows; check the files")
        yield from index.unread()

    def check_unchanged(self, clips: Sequence[Clip]) -> None:
        """Refuse videos that no longer lie where they did in their archives."""
        check_parts(clips)

    def write(self, subset: Subset, out: Path) -> None:
        """Write the selected rows of each table, under its own name."""
        wanted = {row.clip.clip_id: row.scores for row in subset.rows}
        for table in _tables(Path(subset.dataset.location)):
            kept: list[tuple[int, dict[str, Any]]] = []
            for row in read_rows(table):
                clip_id = _clip_id(table, row)
                if clip_id in wanted:
                    kept.append((row.number, dict(wanted.pop(clip_id))))
            if kept:
                (out / _CAPTIONS).mkdir(parents=True, exist_ok=True)
                numbers, scores = zip(*kept, strict=True)
                copy_rows(table, out / _CAPTIONS / table.name, numbers, scores)
        if wanted:
            raise DatasetError(
                f"the tables in {Path(subset.dataset.location) / _CAPTIONS} no longer hold every selected clip: "
                f"{next(iter(wanted))!r} is missing ({len(wanted)} in all); restore the tables that were read"
            )

    def write_scores(self, subset: Subset, out: Path) -> None:
        """The same: the tables name no paths."""
        self.write(subset, out)


def _tables(folder: Path) -> list[Path]:
    """The tables of captions that name a set and have the two columns."""
    files = sorted((folder / _CAPTIONS).glob("*.csv")) if (folder / _CAPTIONS).is_dir() else []
    return [file for file in files if _SET.match(file.name) and {"number", "caption"} <= set(column_names(file))]


def _set_of(name: str) -> str | None:
    found = _SET.match(name)
    return f"{found[1]}_{found[2]}" if found else None


def _key(path: str) -> str | None:
    """``dynamic_1/12`` for ``raw/dynamic/dynamic_1/00000012.mp4``."""
    *folders, file = path.split("/")
    number = re.fullmatch(r"([0-9]{1,18})\.\w+", file)
    names = [name for name in map(_set_of, folders) if name is not None]
    return f"{names[-1]}/{int(number[1])}" if names and number else None


def _clip_id(table: Path, row: TableRow) -> str | None:
    number = cell_text(row.values.get("number")).strip()
    return f"{_set_of(table.name)}/{int(number)}" if re.fullmatch("[0-9]{1,18}", number) else None


def _row(table: Path, row: TableRow, index: VideoIndex) -> Row:
    clip_id = _clip_id(table, row)
    label = clip_id or f"{table.name}:{row.number}"
    found = Row(
        label, label, None, {name: cell_text(value) for name, value in row.values.items()}, clip_id, row.problem
    )
    try:
        if row.problem is not None:
            return found
        if clip_id is None:
            raise ClipError("bad_row", f"number is {cell_text(row.values.get('number'))!r}, not a number")
        return replace(found, media=index.find(clip_id), caption=caption_of(row.values, ("caption",)))
    except ClipError as error:
        return replace(found, problem=(error.reason, error.detail))
