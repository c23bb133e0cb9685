"""A decoded frame as an upright RGB picture."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

EXACT_BILINEAR = 0x2 | 0x40000 | 0x80000
"""libswscale's flags bilinear, accurate_rnd and bitexact. Without the last two, its SIMD code for conversions between
RGB and YUV rounds unlike its C code, so pixels would depend on the processor."""

_TILT = 0.03
"""Sine of the largest angle (1.7 degrees) by which a display matrix may miss a right angle."""


@dataclass(frozen=True)
class Orientation:
    """How a stored frame becomes upright: rows and columns change places first, then the axes flip.

    Attributes:
        transpose: rows become columns.
        flip_rows, flip_columns: upside down; mirrored.
        degrees: counter-clockwise angle that is left as it is, since it is not a multiple of 90.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    degrees: float = 0.0

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The image [H, W, ...] upright, as a view."""
        image = image.swapaxes(0, 1) if self.transpose else image
        image = image[::-1] if self.flip_rows else image
        return image[:, ::-1] if self.flip_columns else image

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the upright frame."""
        return (width, height) if self.transpose else (height, width)

    def aspect(self, stored: Fraction) -> Fraction:
        """Width to height of an upright frame's pixels."""
        return 1 / stored if self.transpose else stored


AS_STORED = Orientation()


def orientation_of(frame: Any) -> Orientation:
    """The orientation that a frame's display matrix states, mirrored ones included."""
    matrix = next((item for item in frame.side_data if item.type.name == "DISPLAYMATRIX"), None)
    return AS_STORED if matrix is None else read_matrix(bytes(matrix), frame.rotation)


def read_matrix(matrix: bytes, degrees: float) -> Orientation:
    """The orientation in a display matrix of nine native 32-bit integers.

    A stored point (x, y), y down, is displayed at (a x + c y, b x + d y); only the signs count, since FFmpeg puts what
    the matrix scales into the sample aspect ratio.
    """
    if len(matrix) < 36:
        return AS_STORED
    a, b, _, c, d = struct.unpack("=9i", matrix[:36])[:5]
    if a and d and max(abs(b), abs(c)) <= _TILT * min(abs(a), abs(d)):
        return Orientation(False, d < 0, a < 0)
    if b and c and max(abs(a), abs(d)) <= _TILT * min(abs(b), abs(c)):
        return Orientation(True, b < 0, c < 0)
    return Orientation(degrees=degrees)


class Painter:
    """Converts frames to RGB; one for a file, since it remembers what it met.

    Attributes:
        transparent: a pixel was not opaque.
    """

    def __init__(self, av: Any) -> None:
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._grey = av.video.reformatter.VideoReformatter()
        self.transparent = False

    def rgb(self, frame: Any) -> np.ndarray:
        """The frame as stored, [H, W, 3] RGB uint8; transparent pixels are composited on black."""
        if not has_alpha(frame.format):
            return self._reformatter.reformat(frame, format="rgb24", interpolation=EXACT_BILINEAR).to_ndarray()
        image = self._reformatter.reformat(frame, format="rgba", interpolation=EXACT_BILINEAR).to_ndarray()
        colour, alpha = image[..., :3], image[..., 3:]
        if alpha.min() == 255:
            return np.ascontiguousarray(colour)
        self.transparent = True
        return ((colour.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)

    def luma(self, frame: Any) -> np.ndarray:
        """The frame as stored, [H, W] uint8 without colour, whose lines no resampling has mixed."""
        return self._grey.reformat(frame, format="gray", interpolation=EXACT_BILINEAR).to_ndarray()


def has_alpha(pixel_format: Any) -> bool:
    """Whether a pixel format can hold transparent pixels; a palette can."""
    return pixel_format.name == "pal8" or any(component.is_alpha for component in pixel_format.components)


def ratio_text(ratio: Fraction) -> str:
    """A ratio as ``16:11``."""
    return f"{ratio.numerator}:{ratio.denominator}"
