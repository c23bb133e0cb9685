"""The ranking that a selection cuts, read from a scores file column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.curate.config import DROP_BOTTOM, GROUP_BY, QUERY_BY, SelectConfig
from motive.errors import OptionError, StoreError
from motive.extras import require
from motive.scores.format import QUERY_PREFIX, group_column, query_column, read_header
from motive.scores.ranking import CutTies, rank_rows, ties_at_cut
from motive.store.ids import SEGMENT
from motive.store.segments import by_clip

SHOWN = ("votes", "mean", "max", "rank", "percentile")
"""Columns of the scores that a selection carries along."""


@dataclass(frozen=True)
class Cut:
    """The clips that a selection takes.

    Attributes:
        rows: [s] their rows in the scores file, best first.
        key: the column that was ranked by first.
        last: that column's value for the last clip taken.
        ties: what the cut separated; None if min_votes ended the selection before it.
        total: clips in the scores file.
        segments: name of the segment in each row; empty without segments.
        how: what a clip of segments counts by, ``best`` or ``sum``; None for whole clips.
        sums: [s] with ``sum``, the values of the key; None without.
    """

    rows: NDArray[np.int64]
    key: str
    last: float
    ties: CutTies | None
    total: int
    segments: tuple[str, ...] = ()
    how: str | None = None
    sums: NDArray | None = None


class Ranking:
    """The columns of a scores file that a selection needs.

    Args:
        scores: the file.
        config: the selection.
        where: the operation, for messages.

    Raises:
        OptionError: there is no such file, query or group.
        StoreError: it is not a scores file.
    """

    def __init__(self, scores: Path, config: SelectConfig, where: str) -> None:
        self.header = read_header(scores, where)
        self._scores, self._config, self._where = scores, config, where
        self.names = self._key_names()
        self._columns: Mapping[str, NDArray] = self._read([*self.names, *SHOWN])

    def cut(self, segmented: bool = False) -> Cut:
        """The clips above the cut.

        Args:
            segmented: rows are segments; a clip is shown by its best one.

        Raises:
            OptionError: more clips are asked for than there are, none is left, or the scores cannot be brought together
                to clips so.
        """
        how = self._how(segmented)
        keys, votes = [self._columns[name] for name in self.names], self._columns["votes"]
        of_clip = np.arange(len(votes))
        scored = int(np.count_nonzero(keys[0] > -np.inf))
        if how is not None:
            if how == "sum" and scored < len(votes):
                raise OptionError(
                    f"{self._where}: segments must be best for scores of a query's top-k alone, got sum; "
                    "score with precision=float32 (or choose best)"
                )
            every = self._table(["clip_id"]).column("clip_id")
            of_clip, (*keys, votes) = by_clip(every, rank_rows(keys), [*keys, votes], how)
        total = len(votes)
        order = rank_rows(keys)
        taken = self._config.take(total)
        if taken == 0:
            raise OptionError(f"{self._where}: drop must leave a clip, got {self._config.amount} of {total}; drop less")
        rows = order[:taken]
        if rows.size and keys[0][rows[-1]] == -np.inf:
            clips = int(np.count_nonzero(keys[0] > -np.inf))
            source = f", from {scored} segments in its top-k" if how else ""
            raise OptionError(
                f"{self._where}: top must be at most the {clips} clips that the query has scores of{source}, got "
                f"{self._config.amount}; ask for fewer, or score with a larger top_k"
            )
        rows = rows[votes[rows] >= self._config.min_votes]
        if rows.size == 0:
            raise OptionError(
                f"{self._where}: min_votes must leave a clip, got none with {self._config.min_votes} votes among the "
                f"first {taken}; lower it"
            )
        ties = ties_at_cut(keys, order, taken) if rows.size == taken else None
        shown = of_clip[rows]
        names = [row_id.rpartition(SEGMENT)[2] for row_id in self.clip_ids(shown).to_pylist()] if segmented else []
        sums = keys[0][rows] if how == "sum" else None
        return Cut(shown, self.names[0], float(keys[0][rows[-1]]), ties, total, tuple(names), how, sums)

    def _how(self, segmented: bool) -> str | None:
        """What a clip of segments counts by; None for whole clips."""
        if segmented:
            return self._config.segments or "best"
        if self._config.segments is not None:
            raise OptionError(
                f"{self._where}: segments must be left out for scores of whole clips, got {self._config.segments}; "
                "leave it out, or score stores made with --segments"
            )
        return None

    def clip_ids(self, rows: NDArray[np.int64]) -> Any:
        """Ids of some rows, as a pyarrow array."""
        pa = require("pyarrow", self._where, extra="tables")
        return self._table(["clip_id"]).column("clip_id").take(pa.array(rows)).combine_chunks()

    def shown(self, rows: NDArray[np.int64]) -> list[dict[str, float | int]]:
        """The scores that a selection carries along: one dict a row, with names of their own."""
        names = [*dict.fromkeys([*SHOWN, self.names[0]])]
        values = {shown_name(name): self._columns[name][rows].tolist() for name in names}
        return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]

    def _key_names(self) -> list[str]:
        """Columns that the selection ranks by, the first counting most."""
        by = self._config.by
        if by.startswith(QUERY_BY):
            return [query_column(by[len(QUERY_BY) :])]
        if by.startswith(GROUP_BY):
            group = by[len(GROUP_BY) :]
            return [group_column(group, "votes"), group_column(group, "mean")]
        return {"mean": ["mean"], DROP_BOTTOM: ["mean"]}.get(by, [by, "mean"])

    def _read(self, names: Sequence[str]) -> dict[str, NDArray]:
        table = self._table(list(dict.fromkeys(names)))
        for name in table.column_names:
            if table.column(name).null_count and not self._lists(name):
                raise StoreError(f"{self._where}: {name} must have no nulls, got some in {self._scores}; score again")
        compute = require("pyarrow.compute", self._where, extra="tables")
        filled = {
            name: compute.fill_null(table.column(name), -np.inf) if self._lists(name) else table.column(name)
            for name in table.column_names
        }
        return {name: column.to_numpy() for name, column in filled.items()}

    def _lists(self, name: str) -> bool:
        """Whether a column has the scores of a query's top-k clips alone."""
        return self.header.get("precision") == "int8" and name.startswith(QUERY_PREFIX)

    def _table(self, names: list[str]) -> Any:
        pa = require("pyarrow", self._where, extra="tables")
        parquet = require("pyarrow.parquet", self._where, extra="tables")
        try:
            with parquet.ParquetFile(self._scores, page_checksum_verification=True) as file:
                missing = [name for name in names if name not in file.schema_arrow.names]
                if missing:
                    raise OptionError(
                        f"{self._where}: by must name a query or group of {self._scores}, got {self._config.by!r}; "
                        "see the columns that start with query/ and group/"
                    )
                table = file.read(columns=names)
                table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise StoreError(
                f"{self._where}: scores must be readable, got {error} for {self._scores}; run motive score again"
            ) from error
        if table.num_rows != self.header.get("clips"):
            raise StoreError(
                f"{self._where}: scores must hold {self.header.get('clips')!r} clips, got {table.num_rows} in "
                f"{self._scores}; run motive score again"
            )
        return table


def shown_name(column: str) -> str:
    """Name of a score in the selection's table; the prefix keeps it apart from the dataset's own columns."""
    return f"motive_{column}" if column in SHOWN else "motive_score"
