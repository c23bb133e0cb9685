"""The selection writers by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import entry_points

from motive.data.plugins import built_in, installed
from motive.data.writers.writer import SelectionWriter
from motive.errors import OptionError

ENTRY_POINTS = "motive.writers"
"""Group of entry points through which another package adds writers: name = layout, object = SelectionWriter subclass."""

SAME = "same"
"""The format of the dataset that was read."""


def selection_writers() -> Mapping[str, SelectionWriter]:
    """The known writers by name; another package cannot replace ours.

    Raises:
        DatasetError: an entry point cannot be imported or is no SelectionWriter.
    """
    known = _built_in()
    points = entry_points(group=ENTRY_POINTS)
    return dict(sorted({**known, **installed(points, SelectionWriter, "selection writer", {*known, SAME})}.items()))


@lru_cache(maxsize=1)
def _built_in() -> Mapping[str, SelectionWriter]:
    return built_in(__name__.rpartition(".")[0], SelectionWriter)


def selection_writer(name: str) -> SelectionWriter:
    """The writer of that name.

    Raises:
        OptionError: there is none.
    """
    known = _built_in() if name in _built_in() else selection_writers()
    if name not in known:
        raise OptionError(f"format must be {SAME} or one of {', '.join(known)}, got {name!r}; choose one")
    return known[name]
