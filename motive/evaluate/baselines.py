"""Similarities that need no model: what attribution has to beat.

A baseline turns a clip into a feature vector and two sets of features into scores [n, q], higher meaning
more alike. Magnitudes are read from a store's index, where indexing has put them; the others are computed
from standardised frames.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

GRID = (8, 16, 16)
"""Time x height x width that frames are averaged down to."""


def pixel_features(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the clip looks like: its frames averaged down, without their mean colour, at unit length.

    Args:
        frames: uint8 [T, H, W, 3].

    Returns:
        float32 [8 * 16 * 16 * 3]; zeros for a clip of one flat colour.
    """
    small = _average_down(frames.astype(np.float32))
    return _unit((small - small.mean(axis=(0, 1, 2))).ravel())


def frame_difference_features(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Where and when the clip changes: absolute differences of successive frames, averaged down, at unit length.

    Args:
        frames: uint8 [T, H, W, 3], T at least 2.

    Returns:
        float32 [8 * 16 * 16 * 3]; zeros for a still clip.
    """
    steps = np.abs(np.diff(frames.astype(np.int16), axis=0)).astype(np.float32)
    return _unit(_average_down(steps).ravel())


def cosine_scores(clips: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of unit features, [n, q]; 0 for a feature without length.

    Args:
        clips: [n, d] unit or zero vectors.
        queries: [q, d] unit or zero vectors.
    """
    return clips @ queries.T


def magnitude_closeness_scores(clips: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Minus the distance between mean motion magnitudes, [n, q].

    Args:
        clips: [n] pixels a frame.
        queries: [q] pixels a frame.
    """
    return -np.abs(clips[:, None] - queries[None, :]).astype(np.float32)


def magnitude_scores(clips: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """The clip's own mean motion magnitude for every query, [n, q]: the most moving clips first.

    Args:
        clips: [n] pixels a frame.
        queries: [q]; only their number counts.
    """
    return np.repeat(clips[:, None].astype(np.float32), queries.size, axis=1)


def _average_down(video: NDArray[np.float32]) -> NDArray[np.float32]:
    channels_first = torch.from_numpy(np.ascontiguousarray(video)).permute(3, 0, 1, 2)
    pooled = torch.nn.functional.adaptive_avg_pool3d(channels_first, GRID)
    return pooled.permute(1, 2, 3, 0).contiguous().numpy()


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector
