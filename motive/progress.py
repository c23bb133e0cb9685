"""Progress bars: how many items are done, the rate, and the time left."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from motive.extras import require

T = TypeVar("T")

_TERMINAL_S, _LOG_S = 0.2, 10.0


class Bar:
    """A bar on stderr, or nothing.

    On a terminal it redraws in place; in a log it writes a line at most every ten seconds.

    Args:
        total: items to come; None if only ``to`` will tell, which then starts the bar.
        label: what is being done.
        shown: draw the bar; if False, every method does nothing.
        unit: what an item is.
    """

    def __init__(self, total: int | None, label: str, *, shown: bool, unit: str = "clip") -> None:
        self._label, self._shown, self._unit = label, shown, unit
        self._tqdm: Any = None
        if total is not None:
            self._start(total)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Add finished items, and show a note behind the figures."""
        if self._tqdm is not None:
            self._tqdm.set_postfix_str(note, refresh=False)
            self._tqdm.update(count)

    def to(self, done: int, total: int) -> None:
        """Show ``done`` of ``total`` items: the form in which motive.score reports its progress."""
        if self._tqdm is None:
            self._start(total)
        if self._tqdm is not None:
            self._tqdm.total = total
            self._tqdm.update(done - self._tqdm.n)

    def _start(self, total: int) -> None:
        if self._shown:
            self._tqdm = require("tqdm", "progress", "video").tqdm(
                total=total,
                desc=self._label,
                unit=self._unit,
                mininterval=_TERMINAL_S if sys.stderr.isatty() else _LOG_S,
                smoothing=0.05,
                dynamic_ncols=True,
            )

    def close(self) -> None:
        """Stop drawing; the last state stays on the screen."""
        if self._tqdm is not None:
            self._tqdm.close()
            self._tqdm = None


def track(items: Iterable[T], total: int, label: str, *, shown: bool, unit: str = "clip") -> Iterator[T]:
    """Pass items through while a bar counts them; the arguments are those of Bar."""
    with Bar(total, label, shown=shown, unit=unit) as bar:
        for item in items:
            yield item
            bar.advance()
