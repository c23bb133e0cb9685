"""Summary of a scoring run, beyond the table itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motive.config import to_json
from motive.result import Result
from motive.scores.ranking import CutTies


@dataclass(frozen=True)
class QuerySummary:
    """One query's scores over all clips.

    Attributes:
        clip_id: the query.
        group: its group; None if it is in none.
        threshold: score that a clip must reach to get its vote.
        voted: clips that reach it.
        tied: clips whose score is the threshold.
        low, mean, high: of its scores.
        top: clip ids of its ten best clips, best first.
    """

    clip_id: str
    group: str | None
    threshold: float
    voted: int
    tied: int
    low: float
    mean: float
    high: float
    top: tuple[str, ...]


@dataclass(frozen=True)
class ScoreSummary(Result):
    """Result of score.

    Attributes:
        path: the scores file.
        summary_path: the JSON file beside it, which holds all of this.
        clips: clips scored.
        queries: one entry a query, in order of clip id.
        vote_count: clips that each query votes for, ties at its threshold aside.
        ties: share -> ties at the cut after that share of the ranking.
        voted_clips: clips with at least one vote.
        voteless_clips: clips that are in the top share of no query.
        zero_clips: clips with a zero vector, which score 0 against every query.
        zero_examples: ids of the first of them.
        metadata: what the scores file itself says about how it was made.
        segmented: how many clips the rows are segments of, where all else that counts clips counts segments; None for
            rows of whole clips.
    """

    path: Path
    summary_path: Path
    clips: int
    queries: tuple[QuerySummary, ...]
    vote_count: int
    ties: Mapping[str, CutTies]
    voted_clips: int
    voteless_clips: int
    zero_clips: int
    zero_examples: tuple[str, ...]
    metadata: Mapping[str, Any]
    segmented: int | None = None

    def lines(self) -> list[str]:
        """The result for people, in a few lines."""
        share = f"{self.metadata['vote_share']:g}"
        tie = self.ties[share]
        rows, of = ("clips", "") if self.segmented is None else ("segments", f" of {self.segmented} clips")
        lines = [
            f"{self.path}: {self.clips} {rows}{of} scored for {len(self.queries)} queries",
            f"votes: {self.vote_count} {rows} a query; {self.voted_clips} {rows} have one, {self.voteless_clips} none",
            f"ties: {tie.tied} {rows} share the rank of the cut at {share}, {tie.undecided} of them in every key",
        ]
        if self.zero_clips:
            lines.append(f"zero vectors: {self.zero_clips} {rows} score 0 for every query")
        return lines

    def to_json(self) -> dict[str, Any]:
        """The JSON summary."""
        return {
            **self.metadata,
            "scores": self.path.name,
            "coverage": {"voted_clips": self.voted_clips, "voteless_clips": self.voteless_clips},
            "zero_vectors": {"clips": self.zero_clips, "examples": list(self.zero_examples)},
            "query_summaries": to_json(self.queries),
        }
