"""Buckets of a trainer's configuration: the shapes that its entries train on, as a list."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NoReturn

from motive.data.base import Part
from motive.data.video.buckets import Bucket, in_order, side_step
from motive.data.video.clip_spec import ClipSpec
from motive.errors import ConfigError

MOST = 1000
"""Buckets that a run may have; a configuration that means more is refused."""

_MAX_SIDE = 16384


def trainer_buckets(parts: Sequence[Part], base: ClipSpec, fits: Callable[[ClipSpec], bool]) -> tuple[Bucket, ...]:
    """The buckets of all entries together, in order; docs/buckets.md has what each trainer's settings become.

    Args:
        parts: entries of the configuration.
        base: rate of the clips.
        fits: whether the model takes clips of a clip spec; called only where sizes or lengths are derived.

    Raises:
        ConfigError: there is no configuration, or an entry's shapes are not stated or are no list.
    """
    if not parts:
        raise ConfigError(
            "index",
            "{buckets.sizes} dataset takes the buckets of a trainer's configuration, and the dataset is none; give the path "
            "of the configuration (of musubi-tuner, diffusion-pipe, finetrainers or ai-toolkit), or list the buckets",
        )
    found = in_order([bucket for part in parts for bucket in _part_buckets(part, base, fits)])
    if not found:
        _refuse(parts[0], "trains on single frames, as all its entries do", _LENGTHS)
    if len(found) > MOST:
        raise ConfigError(
            "index",
            f"{{buckets.sizes}} dataset gives {len(found)} buckets, and at most {MOST} are taken; list those needed",
        )
    return found


def _part_buckets(part: Part, base: ClipSpec, fits: Callable[[ClipSpec], bool]) -> list[Bucket]:
    """The buckets of one entry; none of one that trains on single frames."""
    if part.fps is not None and part.fps != base.fps:
        _refuse(
            part,
            f"takes {part.fps:g} frames a second and the clip spec {base.fps:g}",
            f"set {{clip_spec.fps}} {part.fps:g}",
        )
    whole = [Bucket(*shape) for shape in part.buckets if shape[2] > 1]
    if whole:
        return whole
    if part.whole_clips:
        _refuse(part, "takes clips of any length, which no list of buckets has", _LENGTHS)
    if not part.sizes:
        _refuse(part, "states no resolution", "list the buckets, or give {buckets.resolutions}")
    lengths = [count for count in part.frames if count > 1]
    if not lengths:
        return []
    if max(max(size) for size in part.sizes) > _MAX_SIDE or len(part.frames) * len(part.sizes) > MOST:
        _refuse(part, f"has sides above {_MAX_SIDE} pixels or more than {MOST} shapes", "list the buckets")
    taken = [_taken(part, count, base, fits) for count in lengths]
    return [Bucket(*size, count) for size in _sizes(part, base, fits) for count in taken]


_LENGTHS = "list the buckets, or give {buckets.frames} and {buckets.resolutions}"


def _refuse(part: Part, why: str, remedy: str) -> NoReturn:
    raise ConfigError("index", f"{{buckets.sizes}} dataset cannot be taken from {part.name}, which {why}; {remedy}")


def _taken(part: Part, frames: int, base: ClipSpec, fits: Callable[[ClipSpec], bool]) -> int:
    """The most frames up to a number that the model takes, as trainers round them down."""
    for count in range(min(frames, 1 << 16), 1, -1):
        if fits(replace(base, frames=count)):
            return count
    _refuse(part, f"takes {frames} frames, too few for the model", _LENGTHS)


def _sizes(part: Part, base: ClipSpec, fits: Callable[[ClipSpec], bool]) -> list[tuple[int, int]]:
    """(width, height) of each size of an entry, where a size stands for its area also those of other aspect ratios."""
    if not part.keeps_aspect:
        return list(part.sizes)
    step, found = side_step(base, fits), []
    for width, height in part.sizes:
        area = width * height
        if part.aspect_ratios:
            wide = [math.sqrt(area * ratio) for ratio in part.aspect_ratios]
            found += [(max(1, round(w / step)) * step, max(1, round(area / w / step)) * step) for w in wide]
        else:
            found += _sizes_of_area(part, area, step)
    return list(dict.fromkeys(found))


def _sizes_of_area(part: Part, area: int, step: int) -> list[tuple[int, int]]:
    """Every width from half the side of the square to that side, the largest height within the area, and transposes."""
    side = math.isqrt(area)
    least = side // 2 // step * step
    if not least:
        _refuse(part, f"has an area of {area} pixels, too small for sides of {step} pixels", "list the buckets")
    pairs = [(width, area // width // step * step) for width in range(least, side + step, step)]
    return [size for w, h in pairs if h for size in ((w, h), (h, w))]
