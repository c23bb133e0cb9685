"""The record of a selection, selection.json, and the rows of the scores that it took."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.data.formats.selected import FORMAT, RECORD
from motive.errors import OptionError
from motive.scores.file import ScoreFile
from motive.scores.ranking import rank_rows
from motive.store.segments import by_clip

VERSION = 2


def read_record(folder: Path, where: str) -> dict[str, Any]:
    """The record of a selection.

    Raises:
        OptionError: the folder holds none, or one with fields missing.
    """
    problem = f"{where}: selection must be a folder written by motive select, got {folder}"
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OptionError(f"{problem} ({error}); give that folder") from error
    if not isinstance(record, dict) or (record.get("format"), record.get("version")) not in (
        (FORMAT, 1),
        (FORMAT, VERSION),
    ):
        raise OptionError(f"{problem} without its record; give that folder")
    clips, config = record.get("clips"), record.get("config")
    for name, value, kind in (
        ("ranked_by", record.get("ranked_by"), list),
        ("clips.selected", clips.get("selected") if isinstance(clips, dict) else None, int),
        ("clips.scored", clips.get("scored") if isinstance(clips, dict) else None, int),
        ("last_score", record.get("last_score"), (int, float)),
        ("config.min_votes", config.get("min_votes") if isinstance(config, dict) else None, int),
    ):
        if not isinstance(value, kind):
            raise OptionError(f"{problem} without {name} in {RECORD}; select again")
    return record


def selected_rows(record: Mapping[str, Any], file: ScoreFile) -> NDArray[np.int64] | None:
    """Rows of the scores that a selection took, best first; None if it was made from other scores.

    The head of a ranking is a function of the columns of the scores, so the record lists the rows only where rules left
    some out.

    Args:
        record: what read_record gave.
        file: the scores.

    Raises:
        OptionError: the record ranks by a column that the scores lack.
    """
    if "rows" in record:
        return _listed_rows(record, file)
    if any(name not in file.names for name in record["ranked_by"]):
        return None
    columns = file.keys([*record["ranked_by"], "votes"])
    keys, votes = [columns[name] for name in record["ranked_by"]], columns["votes"]
    of_clip = np.arange(file.rows)
    if record.get("segmented"):
        how = str(record["config"].get("segments"))
        of_clip, (*keys, votes) = by_clip(file.column("clip_id"), rank_rows(keys), [*keys, votes], how)
    order = rank_rows(keys)
    selected = record["clips"]["selected"]
    rows = order[votes[order] >= record["config"]["min_votes"]][:selected]
    last = float(keys[0][rows[-1]]) if rows.size else math.nan
    same = (
        record["clips"]["scored"] == of_clip.size
        and record.get("store_version") == file.metadata.get("store_version")
        and rows.size == selected
        and math.isclose(last, record["last_score"], rel_tol=1e-6)
    )
    return of_clip[rows] if same else None


def _listed_rows(record: Mapping[str, Any], file: ScoreFile) -> NDArray[np.int64] | None:
    """The rows that a record lists; None if they cannot be of these scores."""
    try:
        rows = np.asarray(record["rows"], np.int64)
    except (TypeError, ValueError, OverflowError):
        return None
    fits = rows.ndim == 1 and rows.size == record["clips"]["selected"] and np.unique(rows).size == rows.size
    fits = fits and rows.size > 0 and int(rows.min()) >= 0 and int(rows.max()) < file.rows
    return rows if fits and record.get("store_version") == file.metadata.get("store_version") else None
