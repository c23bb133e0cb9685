"""A list of the selected clips and nothing else."""

from __future__ import annotations

from motive.data.writers.writer import Export, SelectionWriter, Training, quoted
from motive.errors import OptionError


class ListWriter(SelectionWriter):
    """``clips.txt``: the address of each original, one a line, best first. Videos stay where they are.

    A video inside an archive is ``tar://MEMBER::ARCHIVE`` or ``zip://MEMBER::ARCHIVE``, as fsspec writes it.
    """

    name = "list"
    names_parts = True
    has_columns = has_values = False
    placements = ()

    def check(self, export: Export) -> None:
        for row in export.rows:
            if len(str(row.clip.path).splitlines()) != 1:
                raise OptionError(
                    f"select: a list has one file a line, and the name {str(row.clip.path)!r} holds a line end; rename "
                    "the file and index again, or choose --format jsonl"
                )

    def write(self, export: Export) -> None:
        with open(export.folder / "clips.txt", "x", encoding="utf-8", newline="") as file:
            file.writelines(export.original(row) + "\n" for row in export.rows)

    def training(self, export: Export) -> Training:
        return Training("shell scripts", (f"wc -l {quoted(export.final / 'clips.txt')}",))
