"""Opening of every clip of a dataset: headers, or all frames that indexing would take."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motive.data.check.duplicates import fingerprint
from motive.data.check.shapes import UNKNOWN, Shape
from motive.data.video.buckets import ClipSpecs
from motive.data.video.clip_spec import ClipSpec
from motive.data.video.clips import LoadedClip
from motive.data.video.isolated import DecoderPool
from motive.errors import ClipError

_SIDE = 32
_AHEAD = 4


@dataclass(frozen=True)
class Opened:
    """One clip as its file has it.

    Attributes:
        shape: NaN for what the header does not say.
        error: why the file cannot be used; None for a usable one. A clip that is too short is usable here.
        notes: (kind, text) of what decoding remarked.
        fingerprint: of its frames; None where it was not decoded or has too little in it.
    """

    shape: Shape = UNKNOWN
    error: ClipError | None = None
    notes: tuple[tuple[str, str], ...] = ()
    fingerprint: NDArray[np.bool_] | None = None


class Opener:
    """Opens clips in separate processes, as indexing does.

    Decoding brings the frames that a clip spec takes to 32 x 32 pixels: that fails where indexing fails, costs less, and
    is what fingerprints are made from.

    Args:
        clip_specs: which frames are decoded: those of the clip spec, or of each clip's bucket.
        decode: decode them; otherwise headers and first frames are read.
        threads: clips at the same time.
    """

    def __init__(self, clip_specs: ClipSpecs, decode: bool, threads: int) -> None:
        self._specs, self._decode, self._threads = clip_specs, decode, threads
        self._holding = replace(clip_specs, base=replace(clip_specs.base, short="hold"))
        frames = max((bucket.frames for bucket in clip_specs.buckets), default=clip_specs.base.frames)
        self._pool = DecoderPool(_small(replace(clip_specs.base, frames=frames)))

    def __enter__(self) -> Opener:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.close()

    def open_all(self, paths: Sequence[Path | None], on_done: Callable[[], None]) -> list[Opened]:
        """Each clip in order; None is passed over. Bad files never raise.

        Args:
            paths: of the videos.
            on_done: called after each.
        """
        found = []
        with ThreadPoolExecutor(self._threads) as pool:
            for future in _ahead(pool, self._open, paths, _AHEAD * self._threads):
                found.append(future.result())
                on_done()
        return found

    def _open(self, path: Path | None) -> Opened:
        if path is None:
            return Opened()
        try:
            return self._decoded(path) if self._decode else self._header(path)
        except ClipError as error:
            return Opened(error=error)

    def _header(self, path: Path) -> Opened:
        header = self._pool.read_header(path)
        shape = Shape(header.fps, header.seconds or math.nan, header.height, header.width * header.aspect)
        return Opened(shape)

    def _decoded(self, path: Path) -> Opened:
        try:
            clip = self._load(path, self._specs)
        except ClipError as error:
            if error.reason != "too_short":
                raise
            clip = self._load(path, self._holding)
        return Opened(_shape(clip), None, clip.notes, fingerprint(clip.frames))

    def _load(self, path: Path, specs: ClipSpecs) -> LoadedClip:
        spec = specs.base
        if specs.buckets:
            spec = specs.of(specs.choose(self._pool.measure_shape(path), path.name))
        return self._pool.load_clip(path, _small(spec))


def _small(clip_spec: ClipSpec) -> ClipSpec:
    return replace(clip_spec, height=_SIDE, width=_SIDE, fit="stretch")


def _shape(clip: LoadedClip) -> Shape:
    across, _, down = clip.sample_aspect.partition(":")
    width = clip.source_width * int(across) / int(down)
    return Shape(clip.source_fps, clip.source_seconds, clip.source_height, width)


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Path | None], Opened], items: Sequence[Path | None], depth: int
) -> Iterator[Future[Opened]]:
    """Each item's future in order, with at most ``depth`` of them ahead of the consumer."""
    waiting: deque[Future[Opened]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > depth:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for future in waiting:
            future.cancel()
