"""The columns of a selection's clips: their names, their order, and which are numbers in a table with types."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
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

    def values(self, columns: Mapping[str, str], fixed: Iterable[str]) -> dict[str, Any]:
        """One row's values under all names, in order; empty text where the row has none.

        Args:
            columns: of the row.
            fixed: names that a table gives meaning to; a column of such a name becomes ``source_<name>``.
        """
        taken = set(fixed)
        return {title(name, taken): kind(columns.get(name, "")) for name, kind in self.kinds.items()}


def title(name: str, fixed: Container[str]) -> str:
    """Name of a dataset's column in a table whose own columns are ``fixed``."""
    return f"source_{name}" if name in fixed else name


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
