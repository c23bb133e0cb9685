"""Sequences that are computed while they are read, so that a large selection need not be in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Mapped(Sequence[B], Generic[A, B]):
    """A function of each item of a sequence, called anew whenever an item is read.

    Args:
        items: what is mapped.
        function: gives the same for the same item.
    """

    def __init__(self, items: Sequence[A], function: Callable[[A], B]) -> None:
        self._items = items
        self._function = function

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, at: Any) -> Any:
        found = self._items[at]
        return [self._function(item) for item in found] if isinstance(at, slice) else self._function(found)

    def __iter__(self) -> Iterator[B]:
        return map(self._function, self._items)
