"""Why the vectors of two stores cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from motive.errors import IdentityMismatch

_LISTED = 4
_MAX_TEXT = 80
ABSENT = "(absent)"


class HasIdentity(Protocol):
    """Anything that says how its vectors were made."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Nested dict of JSON values."""
        ...


Comparable = HasIdentity | Mapping[str, Any]


def require_same_identity(a: Comparable, b: Comparable, where: str, ignore: Sequence[str] = ()) -> None:
    """Refuse two stores whose vectors were made in different ways.

    Args:
        a, b: the stores, or their identities.
        where: the operation that needs them to agree, for the message.
        ignore: dotted paths that may differ, e.g. ``gradient.weights``; a path covers all below it.

    Raises:
        IdentityMismatch: they differ; its ``fields`` hold dotted path -> the two values.
    """
    differing = compare_identities(_identity_of(a), _identity_of(b), ignore)
    if differing:
        raise IdentityMismatch(where, differing)


def compare_identities(
    a: Mapping[str, Any], b: Mapping[str, Any], ignore: Sequence[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Dotted path -> the two values, for each field that differs; empty if the identities are equal.

    Where many entries of one dict or list differ, the first few are given and the others counted.
    """
    groups: dict[str, list[tuple[str, Any, Any]]] = {}
    for parent, path, left, right in _differences(a, b, "", ""):
        if not any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in ignore):
            groups.setdefault(parent, []).append((path, _short(left), _short(right)))
    fields: dict[str, tuple[Any, Any]] = {}
    for parent, found in groups.items():
        listed = found if len(found) <= _LISTED + 1 else found[:_LISTED]
        fields.update({path: (left, right) for path, left, right in listed})
        if rest := len(found) - len(listed):
            fields[f"{parent}.*"] = (f"{rest} more entries differ", f"{rest} more entries differ")
    return fields


def _differences(a: Any, b: Any, parent: str, path: str) -> Iterator[tuple[str, str, Any, Any]]:
    """(path of the container, path, left, right) of the leaves that differ."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b}):
            inner = f"{path}.{key}" if path else str(key)
            yield from _differences(a.get(key, ABSENT), b.get(key, ABSENT), path, inner)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for position, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _differences(left, right, path, f"{path}[{position}]")
    elif a != b or isinstance(a, bool) != isinstance(b, bool):
        yield parent, path, a, b


def _identity_of(value: Comparable) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else value.identity


def _short(value: Any) -> Any:
    text = repr(value)
    return value if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."
