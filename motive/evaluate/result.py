"""Result of an evaluation, as plain data that can be saved, loaded and shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from motive.config import to_json
from motive.errors import OptionError
from motive.publish import published
from motive.result import Result

_FORMAT = "motive.evaluation"
_VERSION = 2


@dataclass(frozen=True)
class MethodResult:
    """How well one method's ranking brings up clips of the query's own label.

    Attributes:
        method: name for people.
        kind: ``attribution`` for a scores file, ``baseline`` for a similarity that needs no model.
        precision: precision@k, the mean over queries of the fraction of same-label clips among the top k.
        low, high: bootstrap interval of ``precision`` over queries.
        ratio: precision / chance; None if chance is 0.
        difference: precision of the first method minus this one, over the same queries; 0 for the first.
        difference_low, difference_high: bootstrap interval of ``difference``, paired by query.
        per_label: label of the queries -> their mean precision.
    """

    method: str
    kind: str
    precision: float
    low: float
    high: float
    ratio: float | None
    difference: float
    difference_low: float
    difference_high: float
    per_label: Mapping[str, float]


@dataclass(frozen=True)
class LabelCount:
    """One label of the queries: how many clips and queries carry it, and its precision by chance."""

    label: str
    clips: int
    queries: int
    chance: float


@dataclass(frozen=True)
class EvaluationResult(Result):
    """Retrieval by label, for several methods over the same clips and queries.

    Attributes:
        label: dataset column that holds the label.
        top: k, the clips counted for each query.
        clips: clips ranked by every method.
        clips_left_out: clips that some methods scored and others did not; no method ranks them here.
        queries: queries counted.
        queries_left_out: queries that some methods scored and others did not.
        unreadable: clips whose frames could not be read again for the baselines; these never rank there.
        chance: expected precision of a random ranking.
        confidence, resamples, seed: of the bootstrap.
        labels: counts by label.
        rows: one result a method, in the order given.
    """

    label: str
    top: int
    clips: int
    clips_left_out: int
    queries: int
    queries_left_out: int
    unreadable: int
    chance: float
    confidence: float
    resamples: int
    seed: int
    labels: tuple[LabelCount, ...]
    rows: tuple[MethodResult, ...]

    def lines(self) -> list[str]:
        """The result for people: a line for each method, precision@k with its interval over queries."""
        head = f"precision@{self.top} by {self.label}: {self.clips} clips, {self.queries} queries, chance {self.chance:.3f}"
        width = max((len(row.method) for row in self.rows), default=0)
        return [
            head,
            *(f"{row.method:{width}}  {row.precision:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in self.rows),
        ]


def save(result: EvaluationResult, path: Path) -> None:
    """Write a result as JSON; the file appears whole or not at all."""
    path = Path(path)
    text = json.dumps({"format": _FORMAT, "version": _VERSION, **to_json(result)}, indent=2, ensure_ascii=False)
    with published(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def load(path: Path) -> EvaluationResult:
    """Read what :func:`save` wrote.

    Raises:
        OptionError: no such file, or not one of this format and version.
    """
    problem = f"motive.evaluate.load: path must be a file written by motive.evaluate.save, got {path}"
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OptionError(f"{problem} ({error}); run the evaluation again") from error
    if not isinstance(data, dict) or data.get("format") != _FORMAT or data.get("version") not in (1, _VERSION):
        raise OptionError(f"{problem} of another format or version; run the evaluation again")
    try:
        values = {field.name: data[field.name] for field in fields(EvaluationResult)}
        values["labels"] = tuple(LabelCount(**row) for row in data["labels"])
        values["rows"] = tuple(MethodResult(**_current(row)) for row in data["rows"])
    except (KeyError, TypeError) as error:
        raise OptionError(f"{problem} with fields missing or unknown ({error}); run the evaluation again") from error
    return EvaluationResult(**values)


def _current(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with today's names; version 1 called the precision ``share``."""
    return {"precision" if name == "share" else name: value for name, value in row.items()}
