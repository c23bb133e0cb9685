"""Interlaced frames become progressive ones, one for one."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from motive.data.video.combing import first_field, thinned
from motive.data.video.picture import Painter
from motive.data.video.video import DecodeLimits, Shot, Video, open_video
from motive.errors import ClipError
from motive.extras import require

_MEASURED_FRAMES = 49
"""Interlaced frames that the order of the fields is measured on."""

_PARITY = {"top first": "tff", "bottom first": "bff", "by flags": "auto"}


class Deinterlacer:
    """Takes a video's interlaced frames through libavfilter's bwdif; others stay as they are, to the bit.

    A stream that its header calls interlaced is filtered whole, of others the frames that are flagged. Which field is
    first is measured, since flags lie. The filter's graph is fixed; nothing in it comes from the file but the size,
    pixel format and time base of its frames.

    Args:
        video: open, and not decoded yet.
        path: of its file, which is opened a second time if a frame is interlaced.
        limits: what the file may cost.
        rule: ``deinterlace``, or ``error`` to refuse interlaced clips.

    Attributes:
        order: the first field (SourceFacts.deinterlaced); empty as long as no frame is interlaced.
    """

    def __init__(self, video: Video, path: Path, limits: DecodeLimits, rule: str) -> None:
        self._av = require("av", "motive.data.video.fields", extra="video")
        self._video, self._path, self._limits, self._rule = video, path, limits, rule
        self._waiting: deque[Shot] = deque()
        self._graph: Any = None
        self._form: tuple[int, int, str] | None = None
        self.order = ""

    def shots(self) -> Generator[Shot, None, None]:
        """The video's timeline, progressive.

        Raises:
            ClipError: interlaced, by the rule or because the frames cannot be filtered.
        """
        for shot in self._video.timeline():
            if not self.order:
                if not is_interlaced(self._video, shot):
                    yield shot
                    continue
                self._begin()
            form = (shot.frame.width, shot.frame.height, shot.frame.format.name)
            if form != self._form:
                yield from self._filter(None)
                self._graph, self._form = self._make_graph(shot.frame), form
            self._waiting.append(shot)
            yield from self._filter(shot.frame)
        yield from self._filter(None)

    def _begin(self) -> None:
        name = self._video.name
        if self._rule == "error":
            raise ClipError("interlaced", f"{name} is interlaced; interlaced=deinterlace reads it")
        measured = measure_order(self._path, replace(self._limits, timeout_s=max(self._video.seconds_left, 1e-3)))
        self.order = measured or "by flags"
        stated = self._video.stated_order
        text = f"{name} is interlaced, {self.order}"
        if measured and stated and measured != stated:
            text += f" as measured; its header says {stated}"
        self._video.note("deinterlaced", text)

    def _make_graph(self, frame: Any) -> Any:
        graph = self._av.filter.Graph()
        if hasattr(graph, "threads"):  # PyAV 18; threads do not change pixels
            graph.threads = 1
        which = "all" if self._video.stated_order else "interlaced"
        try:
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
            )
            bwdif = graph.add("bwdif", f"mode=send_frame:parity={_PARITY[self.order]}:deint={which}")
            graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
        except (self._av.error.FFmpegError, ValueError) as error:
            raise self._refused(error) from error
        return graph

    def _filter(self, frame: Any) -> Iterator[Shot]:
        """Put a frame in, or None for the end, and take out what is ready."""
        if self._graph is None:
            return
        ready = []
        try:
            self._graph.push(frame)
            while True:
                ready.append(self._graph.pull())
        except (self._av.error.BlockingIOError, self._av.error.EOFError):
            pass
        except (self._av.error.FFmpegError, ValueError) as error:
            raise self._refused(error) from error
        for progressive in ready:
            yield replace(self._waiting.popleft(), frame=progressive)
        if frame is None:
            if self._waiting:
                raise self._refused(f"{len(self._waiting)} frames were lost")
            self._graph = None

    def _refused(self, error: object) -> ClipError:
        return ClipError("interlaced", f"{self._video.name} is interlaced and cannot be deinterlaced: {error}")


def is_interlaced(video: Video, shot: Shot) -> bool:
    """Whether flags say so: the stream's or the frame's. Pixels do not decide."""
    return bool(video.stated_order) or bool(shot.frame.interlaced_frame)


def measure_order(path: Path, limits: DecodeLimits) -> str:
    """The field that comes first in a file's interlaced frames; empty where too little moves (combing.first_field).

    Raises:
        ClipError: as decode_at, if no two neighbouring frames decode.
    """
    return first_field(_neighbours(path, limits))


def _neighbours(path: Path, limits: DecodeLimits) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of neighbouring interlaced frames, as thinned gives them; damage after the first pair ends them."""
    with open_video(path, limits) as video, closing(video.timeline()) as timeline:
        painter = Painter(require("av", "motive.data.video.fields", extra="video"))
        number, plane, pairs, frames = -2, np.empty((0, 0), np.int16), 0, 0
        try:
            for shot in timeline:
                if not is_interlaced(video, shot):
                    continue
                before, plane, frames = plane, thinned(painter.luma(shot.frame)), frames + 1
                if shot.number == number + 1:
                    pairs += 1
                    yield before, plane
                number = shot.number
                if frames == _MEASURED_FRAMES:
                    return
        except ClipError as error:
            if not pairs or error.reason == "timeout":
                raise
