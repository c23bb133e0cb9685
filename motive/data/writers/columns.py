"""The columns of a selection's clips: their names, their order, and which are numbers in a table with types."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_KINDS = (int, float)


@dataclass(frozen=True)
class Columns:
    """Columns of clips, which are text where clips come from.

    Attributes:
        kinds: name to ``int``, ``float`` or ``str``, in the order in which the rows name them. A column is of numbers
            where every row has one that is written as Python writes it, so no digit is lost by the reading.
    """

    kinds: Mapping[str, type]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, str]], taken: Sequence[str] = ()) -> Columns:
        """From the columns of every row.

        Args:
            rows: column name to text.
            taken: names that are left out, those of the scores.
        """
        kinds: dict[str, int] = {}
        counts: dict[str, int] = {}
        total = 0
        for row in rows:
            total += 1
            for name, text in row.items():
                counts[name] = counts.get(name, 0) + 1
                kinds[name] = max(kinds.get(name, 0), _kind(text, kinds.get(name, 0)))
        found = {
            name: (*_KINDS, str)[kind if counts[name] == total else len(_KINDS)]
            for name, kind in kinds.items()
            if name not in set(taken)
        }
        return cls(found)

    def values(self, columns: Mapping[str, str], names: Mapping[str, str]) -> dict[str, Any]:
        """One row's values under all names, in order; empty text where the row has none.

        Args:
            columns: of the row.
            names: of each column in the table, as titles gives them.
        """
        return {names[name]: kind(columns.get(name, "")) for name, kind in self.kinds.items()}


def titles(
    names: Iterable[str], fixed: Iterable[str], rename: Callable[[str], str] = lambda name: name
) -> dict[str, str]:
    """Name of each of a dataset's columns in a table that gives some names a meaning; no two share one.

    A column of such a name becomes ``source_<name>``, with a number after it where that name is taken.

    Args:
        names: the dataset's columns.
        fixed: names of the table's own columns and of the scores.
        rename: what else a layout makes of a name.
    """
    taken, found = set(fixed), dict[str, str]()
    kept = [name for name in names if name not in taken and rename(name) == name]
    taken.update(kept)
    for name in names:
        wanted = name if name in kept else rename(f"source_{name}" if name in taken else name)
        free = (wanted, *(f"{wanted}_{number}" for number in range(2, len(taken) + 3)))
        found[name] = name if name in kept else next(title for title in free if title not in taken)
        taken.add(found[name])
    return found


def _kind(text: str, least: int) -> int:
    """0 for an integer, 1 for a number, 2 for text, and no less than ``least``.

    Only what Python would write so is a number, and integers that a float can hold, so that nothing is lost.
    """
    for kind, parse in enumerate(_KINDS):
        try:
            value = parse(text)
        except ValueError:
            continue
        if str(value) == text and math.isfinite(value) and (parse is float or abs(value) < 1 << 53):
            return max(kind, least)
    return len(_KINDS)
