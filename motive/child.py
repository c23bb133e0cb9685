"""Our own processes: they import what this process imports, and nothing from the folder it was started in."""

from __future__ import annotations

import sys
from pathlib import Path


def python_command(module: str, function: str, *numbers: int) -> list[str]:
    """The command of a Python process that calls ``module.function(*numbers)``.

    It searches for modules where this process does, so that an uninstalled tree works, but never in its current
    folder: that may be a dataset with a ``numpy.py`` in it.
    """
    paths = [str(Path(__file__).resolve().parent.parent), *(path for path in sys.path if path)]
    call = f"{function}({', '.join(map(str, numbers))})"
    return [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {paths!r}; from {module} import {function}; {call}"]


def describe_exit(code: int | None) -> str:
    """An exit code for people: ``signal 9``, ``exit code 1``."""
    if code is None:
        return "no exit code"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
