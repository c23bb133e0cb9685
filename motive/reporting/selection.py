"""A selection, read from its record, with its clips looked up in the scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.errors import OptionError
from motive.reporting.facts import Fact
from motive.reporting.tally import SAMPLE, evenly
from motive.reporting.text import clean, compact, count, decimal, percent, plural
from motive.scores.file import ScoreFile
from motive.scores.selection import read_record, selected_rows

_WHERE = "motive.reporting"
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
    record = read_record(Path(folder), _WHERE)
    rows = selected_rows(record, file)
    if rows is None:
        raise OptionError(
            f"{_WHERE}: selection must be made from the scores that are reported, got {folder} made from "
            f"{clean(record.get('scores'), 200)}; run motive select on {file.path}"
        )
    mask = np.zeros(file.rows, np.bool_)
    mask[rows] = True
    selected = np.flatnonzero(mask)
    return Chosen(record, mask, file.clip_ids(selected[evenly(selected.size, SAMPLE)]))


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
    detail = f"{count(above)} of them taken; {count(undecided)} that differ only in their ids"
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
