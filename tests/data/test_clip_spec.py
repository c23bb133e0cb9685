"""Frames are scaled to cover and cropped at the centre, at a cost that the source's shape cannot drive up."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motive.data import ClipSpec
from motive.data.video.clip_spec import apply_fit, centre_start, fit_to, sample_times


def _cover_then_crop(frame: np.ndarray, clip_spec: ClipSpec) -> np.ndarray:
    """The definition: resize the whole frame, then crop its centre."""
    height, width = frame.shape[:2]
    scale = max(clip_spec.height / height, clip_spec.width / width)
    size = (max(clip_spec.width, round(width * scale)), max(clip_spec.height, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    whole = cv2.resize(frame, size, interpolation=method)
    top, left = (size[1] - clip_spec.height) // 2, (size[0] - clip_spec.width) // 2
    return whole[top : top + clip_spec.height, left : left + clip_spec.width]


@pytest.mark.parametrize(
    ("height", "width"), [(48, 96), (96, 192), (60, 200), (200, 60), (33, 47), (480, 641), (20, 21)]
)
def test_crop_equals_resizing_the_whole_frame(height: int, width: int) -> None:
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([255 * y / height, 255 * x / width, 127 + 100 * np.sin(6 * x / width + 4 * y / height)], -1)
    frame = smooth.astype(np.uint8)
    clip_spec = ClipSpec(height=48, width=96)
    fit = fit_to(clip_spec, height, width)
    ours, definition = apply_fit(frame, fit, clip_spec), _cover_then_crop(frame, clip_spec)
    error = np.abs(ours.astype(int) - definition).max()
    # Half a pixel of the result, where rounding puts the two crops differently.
    assert error <= 1 + 255 / 48, f"{height} x {width} differs by {error} of 255"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 20000), st.integers(1, 20000), st.integers(8, 900), st.integers(8, 900))
def test_every_size_fits(height: int, width: int, target_height: int, target_width: int) -> None:
    clip_spec = ClipSpec(height=target_height, width=target_width)
    fit = fit_to(clip_spec, height, width)
    assert 0 <= fit.top <= height - fit.keep_height
    assert 0 <= fit.left <= width - fit.keep_width
    assert 0 <= fit.crop_top <= fit.height - target_height
    assert 0 <= fit.crop_left <= fit.width - target_width
    scale = max(target_height / height, target_width / width)
    bound = (target_height + 7 * scale + 1) * (target_width + 7 * scale + 1)
    assert fit.height * fit.width <= bound, "what is cropped away must not be resized"


@pytest.mark.parametrize(
    ("height", "width", "method"),
    [(48, 96, "none"), (24, 48, "linear"), (96, 192, "area"), (24, 192, "area+linear")],
)
def test_stretch_fills_the_frame_and_names_its_method(height: int, width: int, method: str) -> None:
    clip_spec = ClipSpec(height=48, width=96, fit="stretch")
    fit = fit_to(clip_spec, height, width)
    assert fit.method == method
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    frame[: height // 2, : width // 2] = 200
    out = apply_fit(frame, fit, clip_spec).astype(int)
    assert out.shape == (48, 96, 3)
    assert out[:20, :40].min() > 190
    assert out[28:, 56:].max() < 10


def test_times_and_centre() -> None:
    clip_spec = ClipSpec(fps=8, frames=5, height=48, width=96)
    np.testing.assert_allclose(sample_times(clip_spec, 1.0), [1, 1.125, 1.25, 1.375, 1.5])
    assert centre_start(clip_spec, 2.625) == pytest.approx(1.0)
    assert centre_start(clip_spec, 0.3) == 0.0
