"""Motion sources by name: the embedded one, and those that installed packages bring."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from motive.errors import OptionError
from motive.masks.base import MotionSource, Reference
from motive.masks.dis import DisSource

GROUP = "motive.motion_sources"
"""Entry points of other packages: name = module:factory, a callable as in SourceFactory."""

SourceFactory = Callable[[str, Reference], MotionSource]
"""(preset, reference) -> source. A preset of ``default`` is the source's own; OptionError refuses the others."""

_EMBEDDED: dict[str, SourceFactory] = {"dis": DisSource}


def motion_source_names() -> list[str]:
    """Names of the sources that are installed, without importing them."""
    return sorted({*_EMBEDDED, *(point.name for point in entry_points(group=GROUP))})


def motion_source(name: str, preset: str = "default", reference: Reference = "previous") -> MotionSource:
    """Make a motion source.

    Args:
        name: ``dis``, or the name of an entry point in the group ``motive.motion_sources``.
        preset: quality preset of that source.
        reference: the frame that displacements start from.

    Raises:
        OptionError: no such source, or it has no such preset or reference.
    """
    if name in _EMBEDDED:
        return _EMBEDDED[name](preset, reference)
    for point in entry_points(group=GROUP):
        if point.name == name:
            return point.load()(preset, reference)
    raise OptionError(
        f"masks: source must be one of {', '.join(motion_source_names())}, got {name!r}; "
        "choose one or install the package that brings it"
    )
