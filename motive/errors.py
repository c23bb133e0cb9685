"""Errors that motive raises on purpose.

    MotiveError
    ├── OptionError (ValueError)      an argument or option is wrong
    │   └── ConfigError               a field of a config has a value that cannot be used
    ├── DatasetError                  a dataset cannot be read at all
    ├── ClipError                     one clip cannot be used; the run continues
    ├── ModelError                    a model cannot be loaded or does not fit the request
    ├── WorkerLost                    workers die and nothing gets done any more
    ├── StoreError                    a store is missing, damaged or of another version
    │   └── IdentityMismatch          two stores hold vectors that cannot be compared
    └── MissingExtra (ImportError)    an optional package is needed and absent

Messages have one form: ``where: name must be X, got Y; do Z``. The command line prints the message
alone, without a traceback, and calls the fields of configs by their flags.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any


class MotiveError(Exception):
    """Base class of every error that motive raises on purpose."""


class OptionError(MotiveError, ValueError):
    """An argument or option has a value that cannot be used."""


class ConfigError(OptionError):
    """A field of a config has a value that cannot be used.

    Python calls a field by its name, the command line by its flag, so the text has names of fields in braces.

    Args:
        where: the config's class, or the verb.
        text: the message, such as ``{sigma} must be below 1, got 2; see {strategy}``. A dot leads into a config
            inside a config: ``{draws.low}``.
    """

    def __init__(self, where: str, text: str) -> None:
        super().__init__(f"{where}: {_FIELD.sub(lambda field: field[1], text)}")
        self.where = where
        self.text = text

    def with_flags(self, flag: Callable[[str], str]) -> OptionError:
        """The same in the words of the command line.

        Args:
            flag: from the name of a field to its flag.
        """
        return OptionError(_FIELD.sub(lambda field: flag(field[1]), self.text))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.where, self.text)


_FIELD = re.compile(r"\{([A-Za-z_][\w.]*)\}")


class DatasetError(MotiveError):
    """A dataset as a whole cannot be read (one bad clip is a ClipError instead)."""


class ClipError(MotiveError):
    """One clip cannot be used.

    Args:
        reason: short stable code, such as ``too_short``; it is what ``failed.parquet`` groups by.
        detail: one sentence for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.detail)


class ModelError(MotiveError):
    """A model cannot be loaded, or lacks what was asked of it."""


class WorkerLost(MotiveError):
    """Workers of a run die, or cannot be started, and no single clip is to blame."""


class StoreError(MotiveError):
    """A store is missing, damaged, or written by a version that this one cannot read."""


class IdentityMismatch(StoreError):
    """Two stores hold vectors that cannot be compared.

    Args:
        where: the operation that was refused.
        fields: the fields that differ, each with its two values.
    """

    def __init__(self, where: str, fields: Mapping[str, tuple[Any, Any]]) -> None:
        listed = "; ".join(f"{name}: {a!r} against {b!r}" for name, (a, b) in sorted(fields.items()))
        super().__init__(
            f"{where}: identities must be equal, got differences in {listed}; "
            "make both with the same settings (motive query --like STORE does)"
        )
        self.where = where
        self.fields = dict(fields)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.where, self.fields)


class MissingExtra(MotiveError, ImportError):
    """An optional package is needed for what was asked.

    Args:
        where: what needs it.
        package: the import name that is missing.
        extra: the extra of this distribution that brings it.
    """

    def __init__(self, where: str, package: str, extra: str) -> None:
        super().__init__(f"{where}: this needs the package {package}; pip install 'motive[{extra}]'")
        self.where = where
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.where, self.package, self.extra)
