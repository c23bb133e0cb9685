"""Command-line flags made from the config dataclasses; their docstrings are the help."""

from __future__ import annotations

import argparse
import dataclasses
import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from motive.config import field_help, field_hints, field_type
from motive.errors import ConfigError, OptionError

T = TypeVar("T")

_METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
_SHORTER = {"clip_spec": "clip", "draws": "noise", "buckets": "bucket"}
"""Field of a config -> what its flags start with, where the whole name would be clumsy or unclear."""
_SHORT = {"bucket-sizes": "buckets"}
"""Flag by its place -> flag by its short name."""


def add_flags(parser: argparse.ArgumentParser, cls: type, prefix: str = "", skip: tuple[str, ...] = ()) -> None:
    """Add ``--prefix-field`` for every field of a config dataclass, nested dataclasses included.

    A flag that is not given leaves the field at its default.
    """
    hints, helps = field_hints(cls), field_help(cls)
    group = parser.add_argument_group(f"{prefix or 'run'} settings")
    for field in dataclasses.fields(cls):
        if field.name in skip:
            continue
        kind, _ = field_type(hints[field.name])
        name = _dest(prefix, field.name)
        if dataclasses.is_dataclass(kind):
            add_flags(parser, kind, name)  # type: ignore[arg-type]
            continue
        text = helps.get(field.name, "").replace("%", "%%")
        default = None if field.default is dataclasses.MISSING else field.default
        if default not in (None, ()):
            text += f" [{' '.join(default) if isinstance(default, tuple) else default}]"
        group.add_argument(f"--{name}", dest=name, help=text, **_reader(kind, bool(field.metadata.get("repeated"))))


def flag(name: str) -> str:
    """The flag of a field: ``--clip-fps`` of ``clip_spec.fps``."""
    first, *rest = name.split(".")
    return "--" + _dest("", "-".join([_SHORTER.get(first, first), *rest]).replace("_", "-"))


def _dest(prefix: str, name: str) -> str:
    name = _SHORTER.get(name, name)
    whole = (f"{prefix}-{name}" if prefix else name).strip("_").replace("_", "-")
    return _SHORT.get(whole, whole)


def _reader(kind: Any, repeated: bool = False) -> dict[str, Any]:
    """How argparse reads a value of this type."""
    if repeated:
        return {"action": "append", "metavar": "TEXT"}
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return {"choices": typing.get_args(kind)}
    if origin is tuple:
        return {"nargs": "+", "metavar": "TEXT"}
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if kind in _METAVARS:
        return {"type": kind, "metavar": _METAVARS[kind]}
    return {"type": _json, "metavar": "JSON"}


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be JSON, got {text!r}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'must be a JSON object such as {{"name": "value"}}, got {text!r}')
    return value


def config_from(args: argparse.Namespace, base: T, prefix: str = "") -> T:
    """``base`` with every given flag put in.

    Raises:
        OptionError: a value that the config refuses, in the words of the command line.
    """
    hints = field_hints(type(base))
    given = vars(args)
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(base):  # type: ignore[arg-type]
        kind, _ = field_type(hints[field.name])
        name = _dest(prefix, field.name)
        if dataclasses.is_dataclass(kind):
            current = getattr(base, field.name)
            if current is not None or _any_given(given, kind, name):
                changes[field.name] = config_from(args, kind() if current is None else current, name)  # type: ignore[operator]
        elif given.get(name) is not None:
            value = given[name]
            if field.metadata.get("commas"):
                value = [item for text in value for item in text.split(",")]
            changes[field.name] = tuple(value) if typing.get_origin(kind) is tuple else value
    try:
        return dataclasses.replace(base, **changes)  # type: ignore[type-var]
    except ConfigError as error:
        raise error.with_flags(lambda name: f"--{_dest(prefix, name)}") from error
    except ValueError as error:
        raise error if isinstance(error, OptionError) else OptionError(str(error)) from error


def _any_given(given: Mapping[str, Any], kind: Any, prefix: str) -> bool:
    return any(given.get(_dest(prefix, field.name)) is not None for field in dataclasses.fields(kind))
