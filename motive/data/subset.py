"""A selection of clips, written as a separate dataset."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from motive.config import check_choice
from motive.data.base import Dataset
from motive.data.formats.metadata import SUBSET_CSV, TableFormat, subset_table
from motive.data.formats.originals import originals
from motive.data.formats.reader import Subset, SubsetRow
from motive.data.formats.registry import dataset_format
from motive.data.formats.selected import CLIPS_CSV, NEEDED
from motive.data.formats.sequences import Mapped
from motive.data.formats.tables import write_csv
from motive.data.paths import PathGuard
from motive.data.shards.cache import RemoteShards
from motive.data.shards.listed import remote_shards
from motive.data.survey import Survey
from motive.data.writers.attributed import Attributed
from motive.data.writers.columns import titles
from motive.data.writers.own import OWN
from motive.data.writers.registry import SAME, selection_writer
from motive.data.writers.writer import Export, Files, SelectionWriter, Training
from motive.errors import ClipError, DatasetError, OptionError

TRAIN = "TRAIN.md"

# A cell that starts with one of these is a formula to a spreadsheet (the last four are full-width forms).
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def write_subset(
    dataset: Dataset,
    rows: Sequence[SubsetRow],
    out: Path,
    *,
    files: Files,
    format: str = SAME,
    final: Path | None = None,
    attributed: Attributed | None = None,
    record: dict[str, Any] | None = None,
) -> Training | None:
    """Write selected clips as a dataset, in the input's own format or in one that a trainer reads, with their scores.

    In the input's own format videos keep their path relative to the dataset, so clips of the same name in different
    folders stay apart. Beside the format's own table there is always a ``metadata.csv`` in HF VideoFolder form:
    file_name, clip_id, caption, the clip's own columns, the scores. It is written last, so where it exists the subset is
    whole. Other formats are written by motive.data.writers; where one has no place for columns, they are in a
    ``clips.csv``.

    Captions are untrusted. The format's own table keeps every cell as it was read, because a trainer reads it.
    A ``metadata.csv`` that is made from another kind of table, and ``clips.csv``, are what people open in a spreadsheet:
    text cells that would run as a formula get a leading apostrophe, and such file names a leading ``./``.

    Args:
        dataset: as read_dataset gave it.
        rows: clips of it in the order to write, each with the same score columns; a score takes the place of a
            column of the same name. NaN and infinity are written as empty cells. Read several times, a row at a time.
        out: folder that is created; it may exist, and nothing in it is overwritten.
        files: ``link`` makes hard links where the file system lets it and symbolic links elsewhere (read_dataset
            follows those only with follow_links); ``copy`` copies; ``none`` leaves the videos where they are: tables of
            the input's own format keep their file cells, others name the originals by absolute path. A layout that packs
            the videos (``webdataset``) copies them, and one that only names them (``list``) leaves them, whatever is
            given (SelectionWriter.placements).
        format: ``same``, or the name of a selection writer.
        final: path that out has later, for files that name absolute paths; None for out itself.
        attributed: shapes and model that the clips were attributed at and with, for the files that trainers read.
        record: takes what a record of the selection says of its tables: ``renamed_columns``, for each table that has any
            the dataset's names with the new ones, and ``reads``, the format and table by which it is read again, or None.

    Returns:
        How to train on it, which ``TRAIN.md`` in out says too; None for a format of which that is not known.

    Raises:
        OptionError: rows do not fit together, the dataset or the format, or out holds a file that would be written.
        DatasetError: a file cannot be placed, or the dataset has changed since it was read.
    """
    out = Path(out)
    check_choice("write_subset", "files", files, Files)
    layout = dataset_format(dataset.format)
    chosen = layout.writer if format == SAME and files != "none" else None if format == SAME else format
    writer = None if chosen is None else selection_writer(chosen)
    guard = PathGuard.of(dataset.root, dataset.options)
    shards = remote_shards(dataset)
    seen = Survey.of(rows, guard, shards)
    names = seen.score_names
    _check_out(dataset, out, seen.targets)
    placing = "none" if writer is not None and not writer.placements else files
    if placing != "none":
        _bring([str(item["file"]) for item in seen.needed], guard, shards)
    layout.check_unchanged(Mapped(rows, lambda row: row.clip))
    finite = Mapped(rows, lambda row: SubsetRow(row.clip, {name: _finite(row.scores[name]) for name in names}))
    final = Path(os.path.abspath(final or out))
    export = Export(
        finite, seen.targets, out, final, placing, names, attributed or Attributed(), shards=shards, others=seen.others
    )
    if writer is not None:
        writer.check(export)
        if placing == "none":
            seen.check_names(writer)
    said = {} if record is None else record
    try:
        out.mkdir(parents=True, exist_ok=True)
        subset = Subset(dataset, finite, seen.ids, seen.columns, seen.targets, names, export.final)
        with ExitStack() as stack:
            if writer is not None and writer.has_values and _has_types(dataset):
                export = _typed(export, subset, format == SAME, stack, said)
            renamed = said.setdefault("renamed_columns", {})
            training = (
                _write_own(subset, export, renamed) if writer is None else _write_as(writer, subset, export, renamed)
            )
        said["reads"] = None if placing == "none" else _reads(dataset, writer, out)
        if seen.needed:
            write_csv(out / NEEDED, seen.needed, list(seen.needed[0]))
        if training is not None:
            (out / TRAIN).write_text(training.text("Training on this selection"), encoding="utf-8")
    except OSError as error:
        raise DatasetError(
            f"write_subset: {out} must take the clips, got {error.strerror} at {error.filename2 or error.filename}; "
            "check space and permissions, then write to a new folder"
        ) from error
    return training


def _typed(export: Export, subset: Subset, own: bool, stack: ExitStack, said: dict[str, Any]) -> Export:
    """The export with the types of the dataset's cells, for as long as the stack is open.

    Another format than the dataset's ``own`` can be written from the store alone: where the dataset no longer holds the
    clips, the columns are text, and the record says why.
    """
    try:
        found = originals(dataset_format(subset.dataset.format), subset.dataset, subset.ids, export.folder)
        values, mixed = stack.enter_context(found)
    except DatasetError as error:
        if own:
            raise
        said["columns_are_text"] = str(error)
        return export
    return replace(export, values=values, mixed=() if own else mixed)


def _has_types(dataset: Dataset) -> bool:
    """Whether the dataset's files give cells types, which its clips' columns do not have."""
    typed = dataset.source is None or dataset.source.suffix.lower() in (".json", ".jsonl", ".parquet")
    return dataset_format(dataset.format).keeps_values and typed


def _write_own(subset: Subset, export: Export, renamed: dict[str, Any]) -> Training | None:
    """Write in the dataset's own format."""
    dataset, out = subset.dataset, export.folder
    layout = dataset_format(dataset.format)
    if export.files == "none":
        layout.write_scores(subset, out)
    else:
        for target, row in _first_of_each(export):  # two clips may share a file
            export.place(row, target)
        layout.write(subset, out)
    beside = SUBSET_CSV if export.files == "none" else layout.beside_table(dataset)
    if not (out / beside).exists():
        _note(renamed, beside, write_clips(subset, out / beside, "file_name", export.others))
    if export.files == "none" or dataset.format not in OWN:
        return None
    return OWN[dataset.format](export, SUBSET_CSV if dataset.source is None else subset_table(dataset.source))


def _write_as(writer: SelectionWriter, subset: Subset, export: Export, renamed: dict[str, Any]) -> Training:
    """Write in the format of a trainer."""
    writer.write(export)
    _note(renamed, writer.name, export.titles)
    if not writer.has_columns:
        paths = [path for _, path in export.paths(writer)]
        names = write_clips(replace(subset, files=paths), export.folder / CLIPS_CSV, "file", export.others)
        _note(renamed, CLIPS_CSV, names)
    return writer.training(export)


def _note(renamed: dict[str, Any], table: str, names: Mapping[str, str]) -> None:
    changed = {name: title for name, title in names.items() if name != title}
    if changed:
        renamed[table] = changed


def _reads(dataset: Dataset, writer: SelectionWriter | None, out: Path) -> dict[str, str] | None:
    """The format and the table, or the folder, by which a selection is read again; None where its folder tells."""
    if writer is not None:
        return None if writer.reads is None else dict(zip(("format", "table"), writer.reads, strict=True))
    if dataset.source is None:
        return None
    layout = dataset_format(dataset.format)
    table = layout.table_of_subset(dataset.source) if isinstance(layout, TableFormat) else dataset.source.name
    return {"format": dataset.format, "table": table} if (out / table).is_file() else None


def _first_of_each(export: Export) -> Iterator[tuple[str, SubsetRow]]:
    placed: set[str] = set()
    for target, row in zip(export.names, export.rows, strict=True):
        if target not in placed:
            placed.add(target)
            yield target, row


def _bring(names: Sequence[str], guard: PathGuard, shards: RemoteShards | None) -> None:
    """Have the archives of the selected videos on this machine; those from addresses are fetched again if need be.

    Raises:
        DatasetError: one is gone, or cannot be fetched.
    """
    gone = []
    for name in names:
        try:
            guard.file(name)
        except ClipError as error:
            if error.reason != "missing_file":
                raise DatasetError(f"write_subset: {error.detail}") from error
            gone.append(name)
    if gone and (shards is None or not shards.addresses.keys() >= set(gone)):
        raise DatasetError(
            f"write_subset: {len(gone)} archives of selected clips are gone, {guard.root / gone[0]} for one; bring them "
            "back, or pass --scores-only, which needs no video"
        )
    if shards is not None:
        shards.fetch(gone)


def _check_out(dataset: Dataset, out: Path, targets: Sequence[str]) -> None:
    real_out = os.path.realpath(out)
    roots = {os.path.realpath(root) for root in (dataset.root, *dataset.options.roots)}
    if real_out in roots or (dataset.source is None and any(real_out.startswith(root + os.sep) for root in roots)):
        raise OptionError(
            f"write_subset: out must lie outside the dataset {dataset.root}, got {out}; "
            "the next reading would take the subset for more clips"
        )
    own = dataset.source
    tables = [] if own is None else [own.name, subset_table(own), subset_table(own, videos=False)]
    for name in (SUBSET_CSV, CLIPS_CSV, NEEDED, TRAIN, *tables, *targets):
        if os.path.lexists(out / name):
            raise OptionError(f"write_subset: out must not hold {name} yet, got {out / name}; choose another folder")


def _finite(value: float | int | str) -> Any:
    """The score as a plain number or text, or None where it is not finite."""
    plain = value if isinstance(value, (int, str)) else float(value)
    return plain if isinstance(plain, str) or math.isfinite(plain) else None


def write_clips(subset: Subset, path: Path, file_column: str, others: Collection[str] = ()) -> dict[str, str]:
    """Write the clips as a CSV that is safe to open in a spreadsheet: file, clip_id, caption, own columns, scores.

    An own column that repeats one of the first three in every row is left out; another one of such a name is renamed.

    Args:
        subset: the clips.
        path: the new file.
        file_column: name of the first column.
        others: further columns that are renamed (Export.others).

    Returns:
        Name of each own column in the file.
    """
    fixed = (file_column, "clip_id", "caption")
    differ: set[str] = set()
    for row, file in zip(subset.rows, subset.files, strict=True):
        known = dict(zip(fixed, (file, row.clip.clip_id, row.clip.caption), strict=True))
        differ.update(name for name, text in known.items() if row.clip.columns.get(name, text) != text)
    own = [name for name in subset.columns if name not in subset.score_names and (name not in fixed or name in differ)]
    found = titles(
        own, [*fixed, *subset.score_names, *others], lambda name: name.replace("source_file_name", "source_path")
    )
    shown = {name: spreadsheet_safe(title) for name, title in found.items()}

    def records() -> Iterator[dict[str, Any]]:
        for row, file in zip(subset.rows, subset.files, strict=True):
            yield {
                file_column: f"./{file}" if file.startswith(_FORMULA) else file,
                "clip_id": row.clip.clip_id,
                "caption": spreadsheet_safe(row.clip.caption),
                **{title: spreadsheet_safe(row.clip.columns.get(name, "")) for name, title in shown.items()},
                **row.scores,
            }

    write_csv(path, records(), list(dict.fromkeys([*fixed, *shown.values(), *subset.score_names])))
    return shown


def spreadsheet_safe(text: str) -> str:
    """Text that a spreadsheet shows and does not run; numbers stay numbers."""
    return "'" + text if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
