"""Classes of one kind by name: those that the modules of a folder define, and those of installed packages."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterable
from importlib.metadata import EntryPoint
from typing import TypeVar

from motive.errors import DatasetError

T = TypeVar("T")


def built_in(package: str, base: type[T]) -> dict[str, T]:
    """One instance of every class with its own ``name`` that a module of a package defines.

    Args:
        package: dotted name of the package.
        base: that the classes extend.
    """
    folder = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(folder)]
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    return {vars(cls)["name"]: cls() for cls in classes if issubclass(cls, base) and "name" in vars(cls)}


def installed(points: Iterable[EntryPoint], base: type[T], what: str, known: Collection[str]) -> dict[str, T]:
    """One instance of every class that other packages bring.

    Args:
        points: their entry points; the name of each is that of its class.
        base: that the classes extend.
        what: the kind, for messages: ``dataset format``.
        known: names that another package cannot replace.

    Raises:
        DatasetError: an entry point cannot be imported, or is no such class.
    """
    found: dict[str, T] = {}
    for point in points:
        if point.name in known or point.name in found:
            continue
        try:
            cls = point.load()
        except (ImportError, AttributeError) as error:
            raise DatasetError(
                f"the {what} {point.name} of an installed package cannot be imported: {error}; fix or remove the package"
            ) from error
        if not (isinstance(cls, type) and issubclass(cls, base) and getattr(cls, "name", "") == point.name):
            raise DatasetError(
                f"the entry point {point.name} in {point.group} must name a {base.__name__} called {point.name}, got "
                f"{cls!r}; fix or remove the package"
            )
        found[point.name] = cls()
    return found
