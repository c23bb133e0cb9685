"""Rendered clips whose motion is known."""

from __future__ import annotations

import cv2
import numpy as np


def texture(rng: np.random.Generator, height: int, width: int, grain: float = 3.0) -> np.ndarray:
    """[H, W, 3] uint8 smooth random colours over the full range."""
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), grain)
    return cv2.normalize(blurred, np.empty_like(blurred), 0, 255, cv2.NORM_MINMAX)


def scene(
    count: int = 9,
    height: int = 120,
    width: int = 160,
    *,
    pan: tuple[float, float] = (0.0, 0.0),
    zoom: float = 1.0,
    roll_deg: float = 0.0,
    box: tuple[float, float] | None = (3.0, 0.0),
    box_at: tuple[int, int] = (20, 40),
    box_size: int = 32,
    seed: int = 0,
) -> np.ndarray:
    """A textured box that moves by ``box`` pixels a frame before a background that the camera moves.

    ``pan`` is the displacement of the background, ``roll_deg`` clockwise, ``zoom`` its growth, all a frame.
    ``box_at`` is (left, top) in frame 0; the box moves on the picture, not with the background.
    """
    rng = np.random.default_rng(seed)
    background = texture(rng, 2 * height, 2 * width)
    thing = texture(rng, box_size, box_size, 2.0)
    frames = np.empty((count, height, width, 3), dtype=np.uint8)
    for t in range(count):
        move = cv2.getRotationMatrix2D((width, height), -roll_deg * t, zoom**t)
        move[:, 2] += [pan[0] * t - width / 2, pan[1] * t - height / 2]
        frames[t] = cv2.warpAffine(background, move, (width, height), borderMode=cv2.BORDER_REFLECT)
        if box is not None:
            left, top = round(box_at[0] + box[0] * t), round(box_at[1] + box[1] * t)
            frames[t, top : top + box_size, left : left + box_size] = thing
    return frames


def box_mask(t: int, box: tuple[float, float], height: int = 120, width: int = 160, margin: int = 0) -> np.ndarray:
    """[H, W] bool: where the box of ``scene`` (default place and size) is in frame t, grown by a margin."""
    left, top = round(20 + box[0] * t), round(40 + box[1] * t)
    mask = np.zeros((height, width), dtype=bool)
    mask[max(top - margin, 0) : top + 32 + margin, max(left - margin, 0) : left + 32 + margin] = True
    return mask
