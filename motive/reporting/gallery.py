"""The report's media folder: every shown clip once, under names that the report chose itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from motive.data import write_video
from motive.errors import ClipError
from motive.reporting.config import ReportConfig
from motive.reporting.media import ClipFrames, Recipe, fit_height, motion_overlay
from motive.reporting.text import clean

FOLDER = "media"
_CRF = 24

MediaSource = Callable[[Path, Recipe], ClipFrames]
"""Reads a clip and its mask; ClipError if it cannot."""


@dataclass(frozen=True)
class Media:
    """Two films of one clip, or why there are none.

    Attributes:
        original, overlay: addresses relative to the page; empty if ``problem`` is set.
        width, height: pixels.
        problem: why the clip cannot be shown, for a person.
    """

    original: str = ""
    overlay: str = ""
    width: int = 0
    height: int = 0
    problem: str = ""


class Gallery:
    """Collects the clips to show, then encodes them all.

    Args:
        folder: directory for the files; must exist.
        config: sizes and number of workers.
        source: reads a clip and its mask.
    """

    def __init__(self, folder: Path, config: ReportConfig, source: MediaSource) -> None:
        self._folder = folder
        self._config = config
        self._source = source
        self._wanted: dict[str, tuple[Path, Recipe]] = {}

    def want(self, role: str, clip_id: str, path: str, recipe: Recipe) -> str:
        """Ask for a clip and return the key of its media; asking again for the same clip costs nothing.

        Args:
            role: which store the clip is of; two stores may use one id for different clips.
            clip_id: untrusted.
            path: untrusted; the file is read only if it is a plain file.
            recipe: how its store saw it.
        """
        text = "\0".join((role, clip_id, path))
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]
        self._wanted[key] = (Path(path), recipe)
        return key

    def make(self) -> dict[str, Media]:
        """Encode everything asked for; a clip that cannot be read becomes a Media with its problem."""
        keys = sorted(self._wanted)
        with ThreadPoolExecutor(self._config.workers) as threads:
            return dict(zip(keys, threads.map(self._make_one, keys), strict=True))

    def _make_one(self, key: str) -> Media:
        path, recipe = self._wanted[key]
        try:
            clip = self._source(path, recipe)
        except ClipError as error:
            return Media(problem=clean(error.detail, 200))
        low, high = self._config.min_height_px, self._config.max_height_px
        frames = fit_height(clip.frames, low, high)
        # The overlay is laid over whichever is smaller: the same picture for a fraction of the work.
        if frames.size > clip.frames.size:
            overlay = fit_height(motion_overlay(clip.frames, clip.weights), low, high)
        else:
            overlay = motion_overlay(frames, clip.weights)
        names = (f"{key}.mp4", f"{key}-motion.mp4")
        write_video(self._folder / names[0], frames, clip.fps, crf=_CRF)
        write_video(self._folder / names[1], overlay, clip.fps, crf=_CRF)
        height, width = frames.shape[1:3]
        return Media(f"{FOLDER}/{names[0]}", f"{FOLDER}/{names[1]}", width, height)
