"""Configuration of a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from motive.errors import ConfigError


@dataclass(frozen=True)
class ReportConfig:
    """Options of a report; every limit bounds the page, whatever the size of the store.

    Attributes:
        title: the page's heading.
        max_queries: queries shown at most; with more in the scores, evenly spaced ones are taken.
        top: clips shown for each query from the head of its ranking.
        bottom: clips shown for each query from the tail of its ranking.
        selection: directory written by ``motive select``, for the selection's summary; None leaves it out.
        evaluation: evaluation.json written by ``motive.evaluate``, for the quality table; None leaves it out.
        store: where the clips' store is now; None takes the place recorded in the scores.
        query_store: where the queries' store is now; None takes the place recorded in the scores.
        label: column of the dataset that names each clip's motion, shown on every card; None takes the
            evaluation's column, or shows no labels without one.
        overlap_top: k of the overlap between two queries' top-k lists (at most a tenth of the clips, at least 10).
        max_failures: rows of the failures table; the counts by reason always cover all failures.
        min_height_px: smaller clips are enlarged to this height.
        max_height_px: larger clips are reduced to this height.
        workers: clips decoded, masked and encoded at the same time.
    """

    title: str = "Motion influence report"
    max_queries: int = 24
    top: int = 5
    bottom: int = 5
    selection: Path | None = None
    evaluation: Path | None = None
    store: Path | None = None
    query_store: Path | None = None
    label: str | None = None
    overlap_top: int = 100
    max_failures: int = 100
    min_height_px: int = 160
    max_height_px: int = 240
    workers: int = 2

    def __post_init__(self) -> None:
        limits = {
            "max_queries": (1, 200),
            "top": (1, 100),
            "bottom": (0, 100),
            "overlap_top": (1, 10_000),
            "max_failures": (0, 10_000),
            "min_height_px": (16, 2160),
            "max_height_px": (16, 2160),
            "workers": (1, 256),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(
                    "ReportConfig",
                    f"{{{name}}} must be an integer from {low} to {high}, got {value!r}; choose one in range",
                )
        if self.min_height_px > self.max_height_px:
            raise ConfigError(
                "ReportConfig",
                f"{{min_height_px}} must be at most {{max_height_px}} ({self.max_height_px}), "
                f"got {self.min_height_px}; lower it",
            )
