"""The selection writers by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path

from motive.data.writers.writer import SelectionWriter
from motive.errors import DatasetError, OptionError

ENTRY_POINTS = "motive.writers"
"""Group of entry points through which another package adds writers: name = layout, object = SelectionWriter subclass."""

SAME = "same"
"""The format of the dataset that was read."""


def selection_writers() -> Mapping[str, SelectionWriter]:
    """The known writers by name; another package cannot replace ours.

    Raises:
        DatasetError: an entry point cannot be imported or is no SelectionWriter.
    """
    found = dict(_built_in())
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in found or point.name == SAME:
            continue
        try:
            cls = point.load()
        except (ImportError, AttributeError) as error:
            raise DatasetError(
                f"the selection writer {point.name} of an installed package cannot be imported: {error}; fix or remove "
                "the package"
            ) from error
        if not (isinstance(cls, type) and issubclass(cls, SelectionWriter) and getattr(cls, "name", "") == point.name):
            raise DatasetError(
                f"the entry point {point.name} in {ENTRY_POINTS} must name a SelectionWriter called {point.name}, got "
                f"{cls!r}; fix or remove the package"
            )
        found[point.name] = cls()
    return dict(sorted(found.items()))


@lru_cache(maxsize=1)
def _built_in() -> Mapping[str, SelectionWriter]:
    """One instance of every writer that a module of this folder defines."""
    package = __name__.rpartition(".")[0]
    modules = [
        importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules([str(Path(__file__).parent)])
    ]
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    return {cls.name: cls() for cls in classes if issubclass(cls, SelectionWriter) and "name" in vars(cls)}


def selection_writer(name: str) -> SelectionWriter:
    """The writer of that name.

    Raises:
        OptionError: there is none.
    """
    known = _built_in() if name in _built_in() else selection_writers()
    if name not in known:
        raise OptionError(f"format must be {SAME} or one of {', '.join(known)}, got {name!r}; choose one")
    return known[name]
