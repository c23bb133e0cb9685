"""A progress bar with rate and time left, on a terminal or a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from motive.extras import require

T = TypeVar("T")


def progress(items: Iterable[T], total: int, label: str, *, shown: bool, unit: str = "clip") -> Iterator[T]:
    """Pass items through, showing how many of ``total`` are done, the rate and the time left.

    On a terminal the bar redraws in place; in a log it writes a line at most every ten seconds.
    """
    if not shown:
        yield from items
        return
    tqdm = require("tqdm", "progress", "video").tqdm
    interval_s = 0.2 if sys.stderr.isatty() else 10.0
    yield from tqdm(
        items, total=total, desc=label, unit=unit, mininterval=interval_s, smoothing=0.05, dynamic_ncols=True
    )
