"""Frames into a video file that every player and browser opens."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from motive.errors import OptionError
from motive.extras import require


def write_video(path: Path | str, frames: np.ndarray, fps: float, *, crf: int = 16) -> None:
    """Encode frames as H.264 in MP4 (yuv420p, index first, one thread: the same frames give the same bytes).

    Args:
        path: file to write.
        frames: [T, H, W, 3] uint8 RGB; H and W even, since colour is stored at half the resolution.
        fps: frames a second.
        crf: 0 (lossless luma) to 51; 16 is hard to tell from the source.

    Raises:
        OptionError: frames do not fit, or this build of FFmpeg has no H.264 encoder.
    """
    av = require("av", "write_video", extra="video")
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.shape[0]:
        raise OptionError(
            f"write_video: frames must be uint8 RGB [T, H, W, 3], got {frames.dtype} {list(frames.shape)}; convert them"
        )
    _, height, width, _ = frames.shape
    if height % 2 or width % 2:
        raise OptionError(f"write_video: frames must have even sides, got {height} x {width}; crop a row or column")
    if "libx264" not in av.codecs_available:
        raise OptionError("write_video: FFmpeg must have libx264, got a build without; install av from PyPI")
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        rate = Fraction(fps).limit_denominator(1001)
        options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
