"""Optional packages, asked for where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from motive.errors import MissingExtra


def require(package: str, where: str, extra: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Args:
        package: import name, e.g. ``av`` or ``pyarrow.parquet``.
        where: what needs it, for the message.
        extra: the extra of this distribution that installs it.

    Raises:
        MissingExtra: the package is not installed. A package that is installed but broken raises its own error.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package.split(".")[0]:
            raise
        raise MissingExtra(where, package, extra) from error
