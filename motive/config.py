"""Config dataclasses: their JSON form, their choices, and the help of their fields.

One place reads the annotations. The JSON of manifests and run records, the flags of the command line and the check of
choices all follow from them.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, TypeVar

from motive.errors import ConfigError, MotiveError, OptionError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A dataclass, or what is in one, as the dicts, lists, text and numbers that JSON knows; a path becomes text.

    Equal configs have equal JSON: 16 in a field of floats is 16.0.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(hint, getattr(value, name)) for name, hint in field_hints(type(value)).items()}
    if isinstance(value, Mapping):
        return {str(key): to_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(inner) for inner in value]
    return str(value) if isinstance(value, PurePath) else value


def _plain(hint: Any, value: Any) -> Any:
    return float(value) if field_type(hint)[0] is float and type(value) is int else to_json(value)


def from_json(cls: type[T], data: Any, where: str) -> T:
    """The dataclass that to_json wrote; fields that are absent take their defaults.

    Args:
        cls: a dataclass whose fields are JSON values, tuples of one type, mappings from text, or dataclasses.
        data: what JSON gave.
        where: the file or field, for messages.

    Raises:
        OptionError: a field that cls does not have, a field without default that is absent, or a value of the wrong
            type.
    """
    if not isinstance(data, Mapping):
        raise OptionError(f"{where}: {cls.__name__} must be an object, got {type(data).__name__}; restore the file")
    hints = field_hints(cls)
    unknown = sorted(set(map(str, data)) - set(hints))
    if unknown:
        raise OptionError(
            f"{where}: fields of {cls.__name__} must be among {sorted(hints)}, got {unknown[0]!r}; "
            "remove it or use the version that wrote it"
        )
    if absent := sorted(_required(cls) - set(data)):
        raise OptionError(f"{where}: {cls.__name__} must have {absent[0]}, which is absent; restore the file")
    values = {name: _value(hints[name], value, f"{where}: {cls.__name__}.{name}") for name, value in data.items()}
    try:
        return cls(**values)
    except MotiveError as error:
        raise OptionError(f"{where}: {error}") from error
    except (TypeError, ValueError) as error:  # a config of the kernels'
        raise OptionError(f"{where}: {str(error)[:500]}; restore the file") from error


@functools.cache
def field_hints(cls: type) -> Mapping[str, Any]:
    """Field name -> annotation, of a dataclass, in order."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _required(cls: type) -> set[str]:
    absent = dataclasses.MISSING
    return {f.name for f in dataclasses.fields(cls) if f.default is absent and f.default_factory is absent}


def field_type(hint: Any) -> tuple[Any, bool]:
    """(type without None, whether None is allowed)."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return kinds[0], len(kinds) < len(typing.get_args(hint))
    return hint, False


def check_choices(config: Any) -> None:
    """Refuse a value that a field's ``Literal`` does not list; called by ``__post_init__``.

    Raises:
        ConfigError: names the field and the choices.
    """
    for name, hint in field_hints(type(config)).items():
        kind, optional = field_type(hint)
        value = getattr(config, name)
        if typing.get_origin(kind) is typing.Literal and not (value is None and optional):
            check_choice(type(config).__name__, name, value, kind)


def check_choice(where: str, name: str, value: Any, choices: Any) -> None:
    """Refuse a value that a ``Literal`` does not list.

    Raises:
        ConfigError: names where, the field or parameter, and the choices.
    """
    known = typing.get_args(choices)
    if not isinstance(value, str) or value not in known:
        raise ConfigError(where, f"{{{name}}} must be one of {', '.join(known)}, got {value!r}; choose one")


def field_help(cls: type) -> dict[str, str]:
    """Field name -> its text in the Attributes section of the docstring of cls, or of the base that has the field."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found.update(_documented(base))
    return found


def _documented(cls: type) -> dict[str, str]:
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


def _value(hint: Any, value: Any, where: str) -> Any:
    kind, optional = field_type(hint)
    if (value is None and optional) or kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return from_json(kind, value, where)  # type: ignore[arg-type]
    origin = typing.get_origin(kind)
    if origin is tuple:
        item, _ = typing.get_args(kind)
        if not isinstance(value, (list, tuple)):
            raise OptionError(f"{where} must be a list, got {value!r}; correct it")
        return tuple(_value(item, inner, f"{where}[{place}]") for place, inner in enumerate(value))
    if origin is typing.Literal:
        if value not in typing.get_args(kind):
            raise OptionError(f"{where} must be one of {', '.join(typing.get_args(kind))}, got {value!r}; choose one")
        return value
    if origin is not None:
        _, item = typing.get_args(kind)
        if not isinstance(value, Mapping):
            raise OptionError(f"{where} must be an object, got {value!r}; correct it")
        return {str(name): _value(item, inner, f"{where}.{name}") for name, inner in value.items()}
    expected = (int, float) if kind is float else (kind,)
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        raise OptionError(f"{where} must be {_NAMES.get(kind, kind)}, got {value!r}; correct it")
    return float(value) if isinstance(value, int) and kind is float else value


_NAMES = {str: "text", int: "an integer", float: "a number", bool: "true or false"}
