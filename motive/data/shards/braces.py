"""Brace patterns as a shell and WebDataset expand them: ``shard-{000..127}.tar``, ``{train,val}.tar``."""

from __future__ import annotations

import re
from collections.abc import Iterator

_RANGE = re.compile(r"(-?[0-9]{1,18})\.\.(-?[0-9]{1,18})(?:\.\.(-?[0-9]{1,18}))?")
_LETTERS = re.compile(r"([a-z])\.\.([a-z])|([A-Z])\.\.([A-Z])")


def expand(text: str) -> Iterator[str]:
    """The texts that a pattern stands for, in its order; a text without a pattern stands for itself.

    A range counts up or down, with a step as its third number, and is as wide as its ends where one of them starts with
    0. Braces that hold neither a range nor a comma are characters.
    """
    at = text.find("{")
    while at >= 0:
        end = _closing(text, at)
        choices = None if end is None else _choices(text[at + 1 : end])
        if end is not None and choices is not None:
            for choice in choices:
                for rest in expand(text[end + 1 :]):
                    yield text[:at] + choice + rest
            return
        at = text.find("{", at + 1)
    yield text


def _closing(text: str, start: int) -> int | None:
    """Place of the brace that closes the one at a place."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if not depth:
            return at
    return None


def _choices(inner: str) -> Iterator[str] | None:
    """What may stand for a pair of braces; None where they are characters."""
    found, letters = _RANGE.fullmatch(inner), _LETTERS.fullmatch(inner)
    if found is not None:
        return _numbers(found[1], found[2], found[3])
    if letters is not None:
        first, last = (ord(letter) for letter in letters.groups() if letter)
        return (chr(code) for code in _steps(first, last, 1))
    parts = _split(inner)
    return (choice for part in parts for choice in expand(part)) if len(parts) > 1 else None


def _numbers(first: str, last: str, step: str | None) -> Iterator[str]:
    padded = any(re.match(r"-?0[0-9]", text) for text in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return (f"{number:0{width}d}" for number in _steps(int(first), int(last), abs(int(step or 1)) or 1))


def _steps(first: int, last: int, step: int) -> range:
    return range(first, last + 1, step) if first <= last else range(first, last - 1, -step)


def _split(inner: str) -> list[str]:
    """Parts between commas that lie in no inner pair of braces."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(inner):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and not depth:
            parts.append(inner[start:at])
            start = at + 1
    return [*parts, inner[start:]]
