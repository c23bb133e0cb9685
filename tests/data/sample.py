"""Parts of the datasets in tests/data/samples.py: videos, rows with columns that no format knows, and tables."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from motive.data.formats.tables import read_rows

CAPTIONS = ('says "hi", then; goes', "=1+1", "caf\u00e9 \u732b \u2603")
NAMES = ("a.mp4", "sub/b.mp4", "c \u00e9.mp4")
BROKEN, GONE = "broken.mp4", "gone.mp4"
NOT_A_VIDEO = b"no video at all"
Row = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """How to make a dataset of one layout, and what must come out of it again.

    Attributes:
        format: that it is read as.
        make: from an empty folder and the bytes of three videos to the path to read.
        variant: of several layouts of one format.
        bad: reasons of the entries that name no usable clip.
        read_as: format that a selection is read as; None for the same.
        inside: what to read of a selection, relative to it.
        paths: columns that name the file, and so change.
        values: from what is read, of the dataset and of a selection alike, the values of its unknown columns as the
            files have them, by ``note``; None where the layout has no columns.
        renames: a selection has other file names and so other ids; its clips.csv has the dataset's ids.
    """

    format: str
    make: Callable[[Path, Sequence[bytes]], Path]
    variant: str = ""
    bad: tuple[str, ...] = ("missing_file",)
    read_as: str | None = None
    inside: str = ""
    paths: frozenset[str] = frozenset()
    values: Callable[[Path], Mapping[str, Mapping[str, Any]]] | None = None
    renames: bool = False

    @property
    def name(self) -> str:
        return f"{self.format}-{self.variant}" if self.variant else self.format


def place(folder: Path, videos: Sequence[bytes], names: Sequence[str] = NAMES) -> None:
    """Put the videos and the broken one under their names."""
    for name, data in zip((*names, BROKEN), (*videos, NOT_A_VIDEO), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def unknown(number: int, typed: bool) -> Row:
    """Columns that no format knows: numbers as text and as numbers, and where there are types every JSON type."""
    plain: Row = {"note": f"00{number} \u00fc", "n": number, "x": number / 8}
    if not typed:
        return plain
    return {**plain, "big": 2**53 + number, "flag": number % 2 == 0, "none": None, "tags": ["a", str(number)],
            "deep": {"k": [1.5, None], "\u00fc": {"n": number}}}  # fmt: skip


def rows(path: str, caption: str, typed: bool, suffix: str = ".mp4") -> Iterator[Row]:
    """A row for each clip, one for the broken video, and one without a file."""
    names = [name.removesuffix(".mp4") + suffix for name in (*NAMES, BROKEN, GONE)]
    for number, (name, text) in enumerate(zip(names, (*CAPTIONS, "broken", "gone"), strict=True)):
        yield {path: name, caption: text, **unknown(number, typed)}


def write_table(file: Path, table: Sequence[Row]) -> Path:
    """The rows in the kind of table that the suffix says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".csv":
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    elif file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(table)), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    else:
        file.write_text(json.dumps(list(table)), encoding="utf-8")
    return file


def by_note(found: Iterator[Mapping[str, Any]] | Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The unknown columns of rows."""
    names = unknown(0, typed=True)
    return {row["note"]: {name: row[name] for name in names if name in row} for row in found if "note" in row}


def table_values(path: Path) -> dict[str, Mapping[str, Any]]:
    """Those of the table that is read of a folder, or is given."""
    if path.is_file():
        return by_note(row.values for row in read_rows(path))
    found = [file for file in sorted(path.rglob("*")) if file.suffix in (".csv", ".json", ".jsonl", ".parquet")]
    known = [by_note(row.values for row in read_rows(file)) for file in found if file.name != "selection.json"]
    return next(values for values in known if values)


def table(format: str, name: str, path: str, caption: str, **more: Any) -> Sample:
    """A format that is one table; in a selection, DiffSynth's JSON has another name."""
    kind = Path(name).suffix
    extra, folder = more.pop("extra", {}), more.pop("videos", "")
    renamed = {("diffsynth", ".json"): "clips.json", ("diffsynth", ".jsonl"): "selection.jsonl"}.get(
        (format, kind), name
    )

    def make(root: Path, videos: Sequence[bytes]) -> Path:
        place(root / folder, videos)
        return write_table(root / name, [{**row, **extra} for row in rows(path, caption, kind != ".csv")])

    return Sample(
        format, make, kind[1:], inside=more.pop("inside", renamed), paths=frozenset({path}), values=table_values, **more
    )


def zipped(path: Path, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)


def members(videos: Sequence[bytes], escape: bool = True) -> dict[str, bytes]:
    """The videos by their names, the broken one, and one whose name leads out of the archive."""
    found = dict(zip((*NAMES, BROKEN), (*videos, NOT_A_VIDEO), strict=True))
    return found | ({"../out.mp4": b"x"} if escape else {})
