"""A selection of clips, written as a dataset of its own."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from motive.config import check_choice
from motive.data.base import Clip, Dataset
from motive.data.formats.metadata import CLIP_COLUMNS, SUBSET_CSV
from motive.data.formats.reader import Subset, SubsetRow
from motive.data.formats.registry import dataset_format
from motive.data.formats.tables import write_csv
from motive.data.media import Placement, media_of
from motive.data.paths import PathGuard
from motive.errors import ClipError, DatasetError, OptionError

# A cell that starts with one of these is a formula to a spreadsheet (the last four are full-width forms).
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def write_subset(dataset: Dataset, rows: Sequence[SubsetRow], out: Path, *, files: Placement) -> None:
    """Write selected clips as a dataset in the input's own format, with their scores as columns.

    Videos keep their path relative to the dataset, so clips of the same name in different folders stay apart.
    Beside the format's own table there is always a ``metadata.csv`` in HF VideoFolder form: file_name, clip_id,
    caption, the clip's own columns, the scores. It is written last, so where it exists the subset is whole.

    Captions are untrusted. The format's own table keeps every cell as it was read, because a trainer reads it.
    A ``metadata.csv`` that is made from another kind of table is what people open in a spreadsheet: text cells
    in it that would run as a formula get a leading apostrophe, and such file names a leading ``./``.

    Args:
        dataset: as read_dataset gave it.
        rows: clips of it in the order to write, each with the same score columns; a score takes the place of a
            column of the same name. NaN and infinity are written as empty cells.
        out: folder that is created; it may exist, and nothing in it is overwritten.
        files: ``link`` makes hard links where the file system lets it and symbolic links elsewhere (read_dataset
            follows those only with follow_links); ``copy`` copies.

    Raises:
        OptionError: rows do not fit together or the dataset, or out holds a file that would be written.
        DatasetError: a file cannot be placed, or the dataset has changed since it was read.
    """
    out = Path(out)
    names = _score_names(rows)
    check_choice("write_subset", "files", files, Placement)
    guard = PathGuard.of(dataset.root, dataset.options)
    targets = [_target(guard, row.clip) for row in rows]
    if len({row.clip.clip_id for row in rows}) < len(rows):
        raise OptionError("write_subset: rows must name each clip once, got one twice; drop the repeated clip")
    _check_out(dataset, out, targets)
    layout = dataset_format(dataset.format)
    layout.check_unchanged([row.clip for row in rows])
    finite = [SubsetRow(row.clip, {name: _finite(row.scores[name]) for name in names}) for row in rows]
    subset = Subset(dataset, finite, targets, names)
    try:
        for target, row in dict(zip(targets, rows, strict=True)).items():  # two clips may share a file
            (out / target).parent.mkdir(parents=True, exist_ok=True)
            media_of(row.clip.path).place(out / target, files)
        layout.write(subset, out)
        if not (out / SUBSET_CSV).exists():
            _write_metadata(subset, out / SUBSET_CSV)
    except OSError as error:
        raise DatasetError(
            f"write_subset: {out} must take the clips, got {error.strerror} at {error.filename2 or error.filename}; "
            "check space and permissions, then write to a new folder"
        ) from error


def _score_names(rows: Sequence[SubsetRow]) -> list[str]:
    if not rows:
        raise OptionError("write_subset: rows must hold at least one clip, got none; select more")
    names = list(rows[0].scores)
    if any(list(row.scores) != names for row in rows):
        raise OptionError("write_subset: rows must all have the same score columns, got different ones; pass one set")
    taken = sorted(CLIP_COLUMNS & set(names))
    if taken:
        raise OptionError(f"write_subset: a score must not be called {taken[0]}, which names the clip; rename it")
    return names


def _target(guard: PathGuard, clip: Clip) -> str:
    """Path of a clip's video in a subset: its name in the dataset, and inside the file that holds it."""
    media = media_of(clip.path)
    try:
        return PurePosixPath(guard.name_of(media.file), media.name).as_posix()
    except ClipError as error:
        raise OptionError(
            f"write_subset: rows must hold clips of the dataset at {guard.root}, got {clip.path}; read it again"
        ) from error


def _check_out(dataset: Dataset, out: Path, targets: Sequence[str]) -> None:
    real_out = os.path.realpath(out)
    roots = {os.path.realpath(root) for root in (dataset.root, *dataset.options.roots)}
    if real_out in roots or (dataset.source is None and any(real_out.startswith(root + os.sep) for root in roots)):
        raise OptionError(
            f"write_subset: out must lie outside the dataset {dataset.root}, got {out}; "
            "the next reading would take the subset for more clips"
        )
    table = dataset.source.name if dataset.source else SUBSET_CSV
    for name in (SUBSET_CSV, table, f"selection{Path(table).suffix}", *targets):
        if os.path.lexists(out / name):
            raise OptionError(f"write_subset: out must not hold {name} yet, got {out / name}; choose another folder")


def _finite(value: float | int | str) -> Any:
    """The score as a plain number or text, or None where it is not finite."""
    plain = value if isinstance(value, (int, str)) else float(value)
    return plain if isinstance(plain, str) or math.isfinite(plain) else None


def _write_metadata(subset: Subset, path: Path) -> None:
    own = dict.fromkeys(name for row in subset.rows for name in row.clip.columns)
    own = [name for name in own if name not in {"file_name", "clip_id", "caption", *subset.score_names}]
    titles = [spreadsheet_safe(name) for name in own]
    records: list[dict[str, Any]] = []
    for row, file in zip(subset.rows, subset.files, strict=True):
        record: dict[str, Any] = {
            "file_name": f"./{file}" if file.startswith(_FORMULA) else file,
            "clip_id": row.clip.clip_id,
            "caption": spreadsheet_safe(row.clip.caption),
        }
        record.update(
            {title: spreadsheet_safe(row.clip.columns.get(name, "")) for name, title in zip(own, titles, strict=True)}
        )
        record.update(row.scores)
        records.append(record)
    write_csv(path, records, list(dict.fromkeys(["file_name", "clip_id", "caption", *titles, *subset.score_names])))


def spreadsheet_safe(text: str) -> str:
    """Text that a spreadsheet shows and does not run; numbers stay numbers."""
    return "'" + text if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
