"""Scores of clips against queries: similarity in sketch space, thresholds, votes and ranks."""

from __future__ import annotations

from motive.scoring.config import ScoreConfig
from motive.scoring.engine import score, topk
from motive.scoring.export import ExportConfig, Exported, export
from motive.scoring.summary import QuerySummary, ScoreSummary

__all__ = [
    "ExportConfig",
    "Exported",
    "QuerySummary",
    "ScoreConfig",
    "ScoreSummary",
    "export",
    "score",
    "topk",
]
