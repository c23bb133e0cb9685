"""Video files with the same bytes on every machine; the home of all encoder options."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from motive.data.video.picture import EXACT_BILINEAR
from motive.errors import OptionError
from motive.extras import require

MUXER_OPTIONS = {"fflags": "+bitexact"}
"""Containers without a creation time, a random identifier or the version of the library that wrote them."""


def encoder_options(codec: str) -> dict[str, str]:
    """Options under which an encoder gives the same bytes for the same frames on any processor.

    One thread, FFmpeg's bit-exact arithmetic, and for x264 only algorithms that all processors share: its
    AVX-512 code for macroblock trees is not repeatable even on one machine.

    Args:
        codec: FFmpeg's name of the encoder.
    """
    options = {"threads": "1", "flags": "+bitexact"}
    if codec == "libx264":
        options["x264-params"] = "cpu-independent=1"
    return options


def to_pixels(image: np.ndarray, pixel_format: str) -> Any:
    """An av.VideoFrame in another pixel format, rounded the same way by every processor.

    Args:
        image: [H, W, 3] uint8 RGB.
        pixel_format: FFmpeg's name, such as ``yuv420p``.
    """
    av = require("av", "to_pixels", extra="video")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return frame.reformat(format=pixel_format, interpolation=EXACT_BILINEAR)


def write_video(path: Path | str, frames: np.ndarray, fps: float, *, crf: int = 16) -> None:
    """Encode frames as H.264 in MP4 (yuv420p, index first); the same frames give the same bytes everywhere.

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
    muxer = {**MUXER_OPTIONS, "movflags": "+faststart"}
    options = {**encoder_options("libx264"), "crf": str(crf), "preset": "veryfast"}
    with av.open(str(path), "w", format="mp4", options=muxer) as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in frames:
            container.mux(stream.encode(to_pixels(image, "yuv420p")))
        container.mux(stream.encode(None))
