"""Printing text of any origin: file names and captions must not move the cursor or retitle the window."""

from __future__ import annotations

import re
import sys
from typing import TextIO

from motive.result import Result

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def say(text: object, file: TextIO | None = None) -> None:
    """Print with control characters, terminal escapes and changes of direction shown as ``?``."""
    out = file or sys.stdout
    encoding = out.encoding or "utf-8"
    print(_CONTROL.sub("?", str(text)).encode(encoding, "replace").decode(encoding), file=out)


def show(result: Result) -> int:
    """Print a result for a person; the exit code of success."""
    say("\n".join(result.lines()))
    return 0
