"""Log lines on stderr, for -v."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from motive.cli.terminal import say

LOGGERS = ("motive", "motive_kernels")


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.name}: {record.getMessage()}", file=sys.stderr)


@contextmanager
def logs_shown(verbosity: int) -> Iterator[None]:
    """Inside, print log lines of motive and motive_kernels on stderr.

    Args:
        verbosity: 0 warnings only; 1 device, dtype, routes, back ends and caches; 2 everything.
    """
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    handler = _Stderr()
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, level_before in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level_before)
