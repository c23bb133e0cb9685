"""The ranking that a selection cuts, read from a scores file column by column."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motive.curate.amounts import GROUP_BY, QUERY_BY
from motive.curate.choose import Unwanted
from motive.curate.config import DROP_BOTTOM, WEIGHTED, SelectConfig
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


@dataclass(frozen=True)
class Ranked:
    """Clips in the order in which they may be taken.

    Attributes:
        keys: [n] each, what was ranked by, the first counting most.
        votes: [n].
        order: [n] the clips, first to take first.
        of_clip: [n] row of the scores that shows each clip.
        how: what a clip of segments counts by; None for whole clips.
        total: n.
        taken: how many the selection takes.
        scope: how many of the first may be taken at all.
    """

    keys: list[NDArray]
    votes: NDArray
    order: NDArray[np.int64]
    of_clip: NDArray[np.int64]
    how: str | None
    total: int
    taken: int
    scope: int


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
        self._weights = [(self._column_of(one.of, "mean"), one.weight) for one in config.weights]
        if any(name not in self.file.names for name in self.names if name != WEIGHTED):
            raise self._unknown(config.by, "by")
        read = [name for name in self.names if name != WEIGHTED]
        self._columns: dict[str, NDArray] = self.file.keys([*read, *SHOWN])
        if self._weights:
            self._columns[WEIGHTED] = self._weighted()

    def rank(self, segmented: bool = False) -> Ranked:
        """All clips in order, and how many of them the selection takes.

        Args:
            segmented: rows are segments; a clip is shown by its best one.

        Raises:
            OptionError: more clips are asked for than there are, none is left, or the scores cannot be brought together
                to clips so.
        """
        how = self._how(segmented)
        keys, votes = self._keys(), self._columns["votes"]
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
        total, config = len(votes), self._config
        taken = config.take(total)
        if taken == 0:
            raise OptionError(f"{self._where}: drop must leave a clip, got {config.amount} of {total}; drop less")
        known = int(np.count_nonzero(keys[0] > -np.inf))
        if taken > known or (known < total and config.bottom is not None):
            source = f", from {scored} segments in its top-k" if how else ""
            raise OptionError(
                f"{self._where}: top must be at most the {known} clips that the query has scores of{source}, got "
                f"{config.amount}; ask for fewer, or score with a larger top_k"
            )
        worst_first = [-key.astype(np.float64) for key in keys]
        order = rank_rows(keys if config.bottom is None else worst_first)
        return Ranked(keys, votes, order, of_clip, how, total, taken, taken if config.by == DROP_BOTTOM else known)

    def cut(self, segmented: bool = False) -> Cut:
        """The clips above the cut, by the ranking and min_votes alone; errors as in ``rank``."""
        ranked = self.rank(segmented)
        places = np.arange(ranked.taken)
        return self.cut_of(ranked, places[ranked.votes[ranked.order[places]] >= self._config.min_votes])

    def cut_of(self, ranked: Ranked, places: NDArray[np.int64]) -> Cut:
        """The clips at some places of the ranking.

        Raises:
            OptionError: there are none.
        """
        rows = ranked.order[places]
        if rows.size == 0:
            raise OptionError(
                f"{self._where}: min_votes must leave a clip, and none of the first {ranked.taken} has "
                f"{self._config.min_votes} votes; lower it"
                if not self._config.ruled
                else f"{self._where}: the rules leave no clip of {ranked.total}; loosen them"
            )
        head = rows.size == ranked.taken and not self._config.ruled and self._config.bottom is None
        ties = ties_at_cut(ranked.keys, ranked.order, ranked.taken) if head else None
        shown, first = ranked.of_clip[rows], ranked.keys[0]
        ids = self.file.clip_ids(shown).to_pylist() if ranked.how is not None else []
        names = tuple(row_id.rpartition(SEGMENT)[2] for row_id in ids)
        sums = first[rows] if ranked.how == "sum" else None
        return Cut(shown, self.names[0], float(first[rows[-1]]), ties, ranked.total, names, ranked.how, sums)

    def unwanted(self, ranked: Ranked, text: str) -> Unwanted:
        """The best clips for a query or group that the selection is made against.

        Raises:
            OptionError: there is no such query or group, or its scores do not go so far.
        """
        column = self._column_of(text, "mean")
        values = self.file.keys([column])[column]
        if ranked.how is not None:
            _, (values,) = by_clip(self.file.column("clip_id"), rank_rows([values]), [values], "best")
        most = self._config.against_amount.of(ranked.total, f"{self._where}: against_top")
        known = int(np.count_nonzero(values > -np.inf))
        if most > known:
            raise OptionError(
                f"{self._where}: against_top must be at most the {known} clips that {text} has scores of, got {most}; "
                "ask for fewer, or score with a larger top_k"
            )
        place = np.empty(ranked.total, np.int64)
        place[ranked.order] = np.arange(ranked.total)
        best = rank_rows([values])[:most]
        places = place[best].tolist()
        ranks, scores = range(1, most + 1), values[best].tolist()
        return Unwanted(text, dict(zip(places, ranks, strict=True)), dict(zip(places, scores, strict=True)))

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

    def _keys(self) -> list[NDArray]:
        return [self._columns[name] for name in self.names]

    def _weighted(self) -> NDArray[np.float64]:
        """[n] the sum of the scores by their weights, in the order given."""
        total = np.zeros(self.file.rows)
        for column, weight in self._weights:
            values = self.file.keys([column])[column].astype(np.float64)
            if not np.isfinite(values).all():
                raise OptionError(
                    f"{self._where}: weight must be of scores of every clip, got {column} with its top-k alone; score "
                    "with precision=float32"
                )
            total += weight * values
        return total

    def _column_of(self, text: str, of_group: str) -> str:
        """Column of ``query:<id>`` or ``group:<name>``.

        Raises:
            OptionError: the scores have none.
        """
        name = text.partition(":")[2]
        column = query_column(name) if text.startswith(QUERY_BY) else group_column(name, of_group)
        if column not in self.file.names:
            raise self._unknown(text, "against and weight")
        return column

    def _unknown(self, text: str, option: str) -> OptionError:
        return OptionError(
            f"{self._where}: {option} must name a query or group of {self.file.path}, got {text!r}; "
            "see the columns that start with query/ and group/"
        )

    def _key_names(self) -> list[str]:
        """Columns that the selection ranks by, the first counting most."""
        by = self._config.by
        if by.startswith(QUERY_BY):
            return [query_column(by[len(QUERY_BY) :])]
        if by.startswith(GROUP_BY):
            group = by[len(GROUP_BY) :]
            return [group_column(group, "votes"), group_column(group, "mean")]
        return {"mean": ["mean"], DROP_BOTTOM: ["mean"], WEIGHTED: [WEIGHTED]}.get(by, [by, "mean"])


def shown_name(column: str) -> str:
    """Name of a score in the selection's table; the prefix keeps it apart from the dataset's own columns."""
    return f"motive_{column}" if column in SHOWN else "motive_score"
