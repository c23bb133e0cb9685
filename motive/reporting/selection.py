"""What a selection took: read from its record, and its clips found again in the scores."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.errors import OptionError
from motive.reporting.facts import Fact, dig
from motive.reporting.tally import SAMPLE, evenly
from motive.reporting.text import clean, compact, count, decimal, percent, plural
from motive.scores.file import ScoreFile
from motive.store.segments import by_clip

_WHERE = "motive.reporting"
_RECORD = "selection.json"
_FORMAT = "motive.selection"
_LABELS = 40
"""Labels compared at most, the commonest ones."""


@dataclass(frozen=True)
class Chosen:
    """A selection of the scored clips.

    Attributes:
        record: selection.json.
        mask: [n] whether each row of the scores is selected.
        sample_ids: clip ids of an evenly spaced sample of the selected rows (pyarrow Array).
    """

    record: Mapping[str, Any]
    mask: NDArray[np.bool_]
    sample_ids: Any


def read_selection(folder: Path, file: ScoreFile) -> Chosen:
    """Read a selection's record and find its rows again: the ranking is defined by columns of the scores alone.

    Raises:
        OptionError: not a selection, or one made from other scores.
    """
    record = _read_record(Path(folder))
    keys = [file.column(name).to_numpy() for name in record["ranked_by"]]
    votes = file.column("votes").to_numpy()
    of_clip = np.arange(file.rows)
    if record.get("segmented"):
        every = np.lexsort([-key.astype(np.float64) for key in reversed(keys)])
        how = str(dig(record, "config.segments"))
        of_clip, (*keys, votes) = by_clip(file.column("clip_id"), every, [*keys, votes], how)
    # Ascending by the negated keys; a stable sort leaves equal clips in the order of their ids.
    order = np.lexsort([-key.astype(np.float64) for key in reversed(keys)])
    order = order[votes[order] >= dig(record, "config.min_votes")]
    rows = order[: record["clips"]["selected"]]
    last = float(keys[0][rows[-1]]) if rows.size else math.nan
    if (
        record["clips"]["scored"] != of_clip.size
        or record.get("store_version") != file.metadata.get("store_version")
        or rows.size != record["clips"]["selected"]
        or not math.isclose(last, record["last_score"], rel_tol=1e-6)
    ):
        raise OptionError(
            f"{_WHERE}: selection must be made from the scores that are reported, got {folder} made from "
            f"{clean(record.get('scores'), 200)}; run motive select on {file.path}"
        )
    mask = np.zeros(file.rows, np.bool_)
    mask[of_clip[rows]] = True
    selected = np.flatnonzero(mask)
    sample = selected[evenly(selected.size, SAMPLE)]
    return Chosen(record, mask, file.column("clip_id").take(sample).combine_chunks())


def _read_record(folder: Path) -> dict[str, Any]:
    problem = f"{_WHERE}: selection must be a folder written by motive select, got {folder}"
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OptionError(f"{problem} ({error}); give that folder") from error
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise OptionError(f"{problem} without its record; give that folder")
    wanted = {
        "ranked_by": list,
        "clips.selected": int,
        "clips.scored": int,
        "last_score": (int, float),
        "config.min_votes": int,
    }
    for name, kind in wanted.items():
        if not isinstance(dig(record, name), kind):
            raise OptionError(f"{problem} without {name} in {_RECORD}; select again")
    return record


def selection_facts(
    chosen: Chosen, magnitudes: NDArray[np.float32], pool_magnitudes: NDArray[np.float32]
) -> list[Fact]:
    """The tiles of the selection.

    Args:
        chosen: the selection.
        magnitudes: mean motion magnitude of its sample, NaN where unknown.
        pool_magnitudes: the same for the sample of all clips.
    """
    record = chosen.record
    selected, scored = record["clips"]["selected"], record["clips"]["scored"]
    names = {"votes": "votes", "mean": "mean score", "max": "largest score"}
    first = str(record["ranked_by"][0])
    by = clean(names.get(first, first), 80)
    facts = [
        Fact("Selected", plural(selected, "clip"), f"{percent(selected / max(1, scored))} of {count(scored)}"),
        Fact("Ranked by", by, f"the last clip taken has {compact(float(record['last_score']))}"),
        _ties(record, by),
    ]
    if np.isfinite(magnitudes).any() and np.isfinite(pool_magnitudes).any():
        everywhere = f"{decimal(float(np.nanmean(pool_magnitudes)))} px over all clips"
        facts.append(Fact("Mean motion", f"{decimal(float(np.nanmean(magnitudes)))} px a frame", everywhere))
    return facts


def _ties(record: Mapping[str, Any], by: str) -> Fact:
    ties = record.get("ties")
    if not isinstance(ties, Mapping):
        return Fact("Ties at the cut", "none", "clips below the least votes were left out")
    tied, above, undecided = (int(ties.get(name, 0)) for name in ("tied", "tied_above", "undecided"))
    if not tied:
        return Fact("Ties at the cut", "none", f"the cut falls between two values of {by}")
    detail = f"{count(above)} of them taken; {count(undecided)} told apart by their ids alone"
    return Fact("Ties at the cut", f"{plural(tied, 'clip')} equal in {by}", detail)


def composition(pool: Counter[str], chosen: Counter[str]) -> list[dict[str, Any]]:
    """Each label's share of the selection beside its share of all clips, largest gain first.

    Args:
        pool, chosen: clips by label, in a sample or in all.
    """
    total, taken = max(1, pool.total()), max(1, chosen.total())
    shares = {name: (chosen[name] / taken, number / total) for name, number in pool.most_common(_LABELS) if name}
    scale = max([0.01, *(share for pair in shares.values() for share in pair)])
    return [
        {
            "name": clean(name, 60),
            "chosen": percent(mine),
            "chosen_width": round(100 * mine / scale, 2),
            "pool_width": round(min(100 * everywhere / scale, 99.8), 2),
            "summary": f"{percent(mine)} of the selection, {percent(everywhere)} of all clips",
        }
        for name, (mine, everywhere) in sorted(shares.items(), key=lambda item: (item[1][1] - item[1][0], item[0]))
    ]
