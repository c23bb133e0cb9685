"""A JSON list of unknown origin, one item at a time: the captions of a million clips are one list of 700 MB."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

MAX_ITEM = 16 * 1024 * 1024
_CHUNK = 1 << 18
_PART_OF_NUMBER = re.compile(r"[0-9eE.+-]*")
_BLANK = re.compile(r"[ \t\n\r]*")


def items(path: Path) -> Iterator[Any]:
    """Items of the list that a file is, in order.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON, no list, or an item is longer than 16 MiB; after the items before that place.
        RecursionError: an item nests too deep.
    """
    with open(path, "rb") as file:
        text = _Text(file)
        first = text.peek()
        if first != "[":
            raise ValueError(f"a list must start with [, got {first!r}" if first else "the file is empty")
        text.take()
        if text.peek() == "]":
            text.take()
        else:
            yield from _items(text)
        if text.peek():
            raise ValueError(f"extra data after the list, at character {text.place}")


def _items(text: _Text) -> Iterator[Any]:
    while True:
        text.peek()
        yield text.value()
        after = text.peek()
        if after not in ("]", ","):
            raise ValueError(f"expected , or ] at character {text.place}, got {after or 'the end of the file'}")
        text.take()
        if after == "]":
            return


class _Text:
    """The characters of a file, decoded as they are needed.

    Bytes that are not UTF-8 become lone surrogates, by which the rows that hold them are refused.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._parse = json.JSONDecoder().raw_decode
        self._buffer, self._at, self._before, self._ended = "", 0, 0, False

    @property
    def place(self) -> int:
        """Characters before the next one."""
        return self._before + self._at

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            found = _BLANK.match(self._buffer, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def take(self) -> None:
        """Pass over one character."""
        self._at += 1

    def value(self) -> Any:
        """The JSON value that starts here."""
        while True:
            try:
                value, end = self._parse(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if len(self._buffer) - self._at > MAX_ITEM:
                    raise ValueError(f"no item of at most 16 MiB at character {self.place}: {error.msg}") from error
                if not self._more():
                    raise ValueError(f"{error.msg} at character {self._before + error.pos}") from error
                continue
            if _PART_OF_NUMBER.fullmatch(self._buffer, end) and isinstance(value, (int, float)) and self._more():
                continue  # the number may continue
            self._at = end
            return value

    def _more(self) -> bool:
        """Decode further bytes; as many as are waiting, so that a long item is not tried too often."""
        if self._ended:
            return False
        data = self._file.read(max(_CHUNK, len(self._buffer) - self._at))
        self._ended = not data
        self._before += self._at
        self._buffer = self._buffer[self._at :] + self._decoder.decode(data, final=self._ended)
        self._at = 0
        return True
