"""Config dataclasses as JSON, and what their annotations and docstrings say."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, TypeVar

from motive.errors import MotiveError, OptionError

T = TypeVar("T")


def to_json(config: Any) -> Any:
    """A dataclass as the dicts, lists, text and numbers that JSON knows; a path becomes text."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): to_json(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_json(value) for value in config]
    return str(config) if isinstance(config, PurePath) else config


def from_json(cls: type[T], data: Any, where: str) -> T:
    """The config that to_json wrote; fields that are absent take their defaults.

    Raises:
        OptionError: a field that cls does not have, or a value of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise OptionError(f"{where}: {cls.__name__} must be an object, got {type(data).__name__}; restore the file")
    hints = typing.get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - names)
    if unknown:
        raise OptionError(
            f"{where}: fields of {cls.__name__} must be among {sorted(names)}, got {unknown[0]!r}; "
            "remove it or use the version that wrote it"
        )
    values = {name: _value(hints[name], value, f"{where}: {cls.__name__}.{name}") for name, value in data.items()}
    try:
        return cls(**values)
    except MotiveError:
        raise
    except (TypeError, ValueError) as error:  # a field without default that is absent, or a config of the kernels'
        raise OptionError(f"{where}: {str(error)[:500]}; restore the file") from error


def field_type(hint: Any) -> tuple[Any, bool]:
    """(type without None, whether None is allowed)."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return kinds[0], len(kinds) < len(typing.get_args(hint))
    return hint, False


def _value(hint: Any, value: Any, where: str) -> Any:
    kind, optional = field_type(hint)
    if value is None and optional:
        return None
    if dataclasses.is_dataclass(kind):
        return from_json(kind, value, where)  # type: ignore[arg-type]
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        expected: tuple[type, ...] = (str,)
    elif origin is tuple:
        if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise OptionError(f"{where} must be a list of text, got {value!r}; correct it")
    elif origin is not None:
        expected = (Mapping,)
    else:
        expected = (int, float) if kind is float else (kind,)
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        raise OptionError(f"{where} must be {getattr(kind, '__name__', kind)}, got {value!r}; correct it")
    return float(value) if isinstance(value, int) and kind is float else value


def field_help(cls: type) -> dict[str, str]:
    """Field name -> its text in the class docstring's Attributes section."""
    section = re.split(r"\n\s*Attributes:\n", cls.__doc__ or "")
    if len(section) < 2:
        return {}
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section[1].splitlines():
        entry = re.match(r"\s*((?:\w+, )*\w+): (.*)", line)
        if entry and all(hasattr(cls, n) or n in cls.__annotations__ for n in entry[1].split(", ")):
            names = entry[1].split(", ")
            found.update(dict.fromkeys(names, entry[2].strip()))
        elif names and line.strip():
            for name in names:
                found[name] += " " + line.strip()
        elif not line.strip():
            names = []
    return found
