"""A short hash of a clip's pictures: clips that look alike differ in few of its bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motive.data.video.clip_spec import ClipSpec
from motive.data.video.clips import LoadedClip, load_clip

HASH_FRAMES = 4
HASH_BYTES = 8 * HASH_FRAMES
_SIDE = 8


Load = Callable[[Path | str, ClipSpec], LoadedClip]
"""Decodes a clip by a clip spec: load_clip, or a DecoderPool's, which does it in a process that a bad file may end."""

HASHED = ClipSpec(frames=HASH_FRAMES, height=_SIDE, width=_SIDE + 1, short="hold", fit="stretch")
"""What hashes are made from, at a rate that depends on the length."""


def frame_hash(path: Path | str, seconds: float, load: Load = load_clip) -> NDArray[np.uint8]:
    """The difference hash of four frames, HASH_BYTES of uint8.

    Each frame is shrunk to 9 x 8 grey pixels; a bit says whether a pixel is brighter than its right neighbour. Encoding,
    size and brightness hardly change it.

    Args:
        path: of the video.
        seconds: length over which the frames are spread, from the start; a shorter clip repeats its last frame.
        load: decodes it.

    Raises:
        ClipError: the video cannot be decoded.
    """
    spec = replace(HASHED, fps=min(1000.0, (HASH_FRAMES - 1) / max(seconds, 1e-3)))
    frames = load(path, spec).frames.astype(np.int32)
    grey = frames @ np.array([299, 587, 114], np.int32)
    return np.packbits((grey[:, :, 1:] < grey[:, :, :-1]).reshape(-1))
