"""Rows of a fault section, and the one check that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motive.store import Store, verify_store


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        fault: what was done.
        count: how often.
        held: what was true every time.
        note: figures and limits of the run.
    """

    fault: str
    count: int
    held: str
    note: str = ""


class BrokenPromise(AssertionError):
    """A fault lost, doubled or changed something."""


def require(condition: bool, message: str) -> None:
    """Stop the harness where a promise does not hold."""
    if not condition:
        raise BrokenPromise(message)


def check_whole(location: str, after: str) -> Store:
    """The store opens and verifies, as it must after every fault."""
    report = verify_store(location)
    require(report.ok, f"{after}: {report}")
    require(not [n for n in report.notes if "committed" in n.reason], f"{after}: a clip is doubled: {report}")
    return Store.open(location)


def check_equal(location: str, expected: Mapping[str, NDArray[np.float32]], after: str) -> None:
    """The store holds what an undisturbed run holds, bit for bit."""
    store = check_whole(location, after)
    ids = sorted(expected)
    require(store.clip_ids == ids, f"{after}: {len(store)} clips, {len(ids)} expected")
    same = store.vectors().tobytes() == np.stack([expected[clip_id] for clip_id in ids]).tobytes()
    require(same, f"{after}: vectors differ from an undisturbed run's")
