"""The ranking that a selection cuts, read from a scores file column by column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motive.curate.config import DROP_BOTTOM, GROUP_BY, QUERY_BY, SelectConfig
from motive.errors import OptionError
from motive.scores.file import ScoreFile
from motive.scores.format import group_column, query_column
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
        self.file = ScoreFile(scores, where)
        self._config, self._where = config, where
        self.names = self._key_names()
        if any(name not in self.file.names for name in self.names):
            raise OptionError(
                f"{where}: by must name a query or group of {scores}, got {config.by!r}; "
                "see the columns that start with query/ and group/"
            )
        self._columns: Mapping[str, NDArray] = self.file.keys([*self.names, *SHOWN])

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
            every = self.file.column("clip_id")
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
                f"{self._where}: min_votes must leave a clip, and none of the first {taken} has "
                f"{self._config.min_votes} votes; lower it"
            )
        ties = ties_at_cut(keys, order, taken) if rows.size == taken else None
        shown = of_clip[rows]
        names = [row_id.rpartition(SEGMENT)[2] for row_id in self.file.clip_ids(shown).to_pylist()] if segmented else []
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

    def shown(self, rows: NDArray[np.int64]) -> list[dict[str, float | int]]:
        """The scores that a selection carries along: one dict a row, under their own names."""
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


def shown_name(column: str) -> str:
    """Name of a score in the selection's table; the prefix keeps it apart from the dataset's own columns."""
    return f"motive_{column}" if column in SHOWN else "motive_score"
