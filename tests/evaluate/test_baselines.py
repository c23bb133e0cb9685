"""Baseline features see what they are meant to see."""

from __future__ import annotations

import numpy as np
import pytest

from motive.evaluate.baselines import (
    GRID,
    cosine_scores,
    frame_difference_features,
    magnitude_closeness_scores,
    magnitude_scores,
    pixel_features,
)


def moving_square(start: int, step: int, colour: int = 200, ground: int = 20) -> np.ndarray:
    frames = np.full((9, 45, 61, 3), ground, np.uint8)
    for t in range(9):
        x = start + step * t
        frames[t, 10:20, x : x + 10] = colour
    return frames


@pytest.mark.parametrize("features", [pixel_features, frame_difference_features])
def test_features_are_unit_vectors_of_the_documented_size(features) -> None:
    found = features(moving_square(2, 5))
    assert found.shape == (GRID[0] * GRID[1] * GRID[2] * 3,)
    assert found.dtype == np.float32
    assert np.linalg.norm(found) == pytest.approx(1.0, rel=1e-5)


def test_pixels_ignore_brightness_and_contrast_but_not_place() -> None:
    a = pixel_features(moving_square(2, 5))
    brighter = pixel_features(moving_square(2, 5, colour=240, ground=60))
    elsewhere = pixel_features(moving_square(2, 5)[:, ::-1])
    assert a @ brighter == pytest.approx(1.0, abs=1e-5)
    assert a @ elsewhere < 0.3


def test_frame_differences_ignore_what_stands_still() -> None:
    plain = moving_square(2, 5)
    furnished = plain.copy()
    furnished[:, 30:44, 5:50] = 130
    assert frame_difference_features(plain) @ frame_difference_features(furnished) == pytest.approx(1.0, abs=1e-5)
    assert pixel_features(plain) @ pixel_features(furnished) < 0.8


def test_clips_without_content_have_no_direction() -> None:
    flat = np.full((5, 16, 16, 3), 77, np.uint8)
    assert not pixel_features(flat).any()
    assert not frame_difference_features(flat).any()
    assert not np.isnan(cosine_scores(pixel_features(flat)[None], pixel_features(moving_square(2, 5))[None])).any()


def test_magnitudes_rank_by_closeness_or_by_size() -> None:
    clips, queries = np.array([0.5, 3.0, 9.0], np.float32), np.array([4.0, 0.0], np.float32)
    close = magnitude_closeness_scores(clips, queries)
    assert close.shape == (3, 2)
    assert close.argmax(axis=0).tolist() == [1, 0]
    assert magnitude_scores(clips, queries).argmax(axis=0).tolist() == [2, 2]
