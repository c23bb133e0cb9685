"""``OLD=NEW`` pairs, by which paths of another machine become paths of this one."""

from __future__ import annotations

import os
from collections.abc import Sequence

from motive.errors import OptionError


def parse_path_map(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(OLD, NEW) of every ``OLD=NEW``.

    Raises:
        OptionError: it has no OLD, or NEW is no folder of this machine.
    """
    pairs = []
    for text in texts:
        old, _, new = text.partition("=")
        if not old.strip() or not os.path.isdir(new):
            raise OptionError(
                f"path_map must be OLD=NEW with NEW a folder on this machine, got {text!r}; "
                "for example /data/videos=/mnt/videos"
            )
        pairs.append((old, os.path.abspath(new)))
    return tuple(pairs)
