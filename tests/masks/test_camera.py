"""Camera motion is removed, named and measured; what moves in front of it stays."""

from __future__ import annotations

import numpy as np
import pytest

from motive.errors import OptionError
from motive.masks import MotionField, motion_source, remove_camera
from tests.masks.scenes import box_mask, scene

MOVES = {
    "pan": {"pan": (-3.0, 0.0)},
    "tilt": {"pan": (0.0, 2.5)},
    "zoom": {"zoom": 1.02},
    "roll": {"roll_deg": 1.5},
    "mixed": {"pan": (2.0, 2.0), "roll_deg": 1.0},
}


@pytest.mark.parametrize("reference", ["previous", "first"])
@pytest.mark.parametrize("name", list(MOVES))
def test_the_camera_goes_and_is_named(name: str, reference: str) -> None:
    frames = scene(5, 240, 320, box=None, **MOVES[name])
    field = motion_source("dis", "medium", reference).estimate(frames, 16)  # type: ignore[arg-type]
    residual, report = remove_camera(field)
    before, after = (np.linalg.norm(f.flow, axis=-1)[1:].mean() for f in (field, residual))
    assert before > 1
    assert after < 0.12 * before, f"{name}: {after:.2f} of {before:.2f} pixels are left"
    assert report.camera == name
    assert report.inlier_ratio > 0.8
    assert report.residual_share < 0.05


def test_its_numbers_are_right() -> None:
    report = {
        name: remove_camera(motion_source("dis", "medium").estimate(scene(5, 240, 320, box=None, **move), 16))[1]
        for name, move in MOVES.items()
    }
    assert report["pan"].pan_px == pytest.approx(-3, abs=0.1)
    assert report["pan"].tilt_px == pytest.approx(0, abs=0.1)
    assert report["tilt"].tilt_px == pytest.approx(2.5, abs=0.1)
    assert report["zoom"].zoom == pytest.approx(0.02, rel=0.1)
    assert report["roll"].roll_deg == pytest.approx(1.5, rel=0.1)
    assert report["pan"].models == {"still": 0, "homography": 4, "affine": 0, "translation": 0}


def test_an_object_before_a_panning_camera_stays() -> None:
    """Its residual is its motion against the background, and the background's is nothing."""
    frames = scene(9, pan=(-2.0, 0.0), box=(3.0, 0.0))
    residual, report = remove_camera(motion_source("dis").estimate(frames, 16))
    for t in range(1, 9):
        inside, near = box_mask(t, (3.0, 0.0), margin=-6), box_mask(t, (3.0, 0.0), margin=14)
        np.testing.assert_allclose(np.median(residual.flow[t][inside], axis=0), [5, 0], atol=0.4)
        background = np.linalg.norm(residual.flow[t][~near], axis=-1)
        assert background.mean() < 0.25, f"frame {t} keeps {background.mean():.2f} pixels of the pan"
    assert report.camera == "pan"
    assert 0.02 < report.residual_share < 0.9


def test_a_still_camera_is_called_static() -> None:
    field = motion_source("dis").estimate(scene(5), 16)
    same, report = remove_camera(field)
    assert report.camera == "static"
    assert report.residual_share == 1
    assert np.array_equal(same.flow, field.flow), "nothing is taken from a still camera's clip"
    still = MotionField(np.zeros((3, 40, 50, 2), dtype=np.float32), "previous")
    nothing, report = remove_camera(still)
    assert (report.camera, report.residual_share, report.inlier_ratio) == ("static", 0, 1)
    assert not np.abs(nothing.flow).max() > 1e-3


def test_pixels_new_to_the_picture_have_no_residual() -> None:
    """Where the other end of the camera's motion lies outside the picture, nothing was measured."""
    flow = np.zeros((2, 60, 80, 2), dtype=np.float32)
    flow[..., 0] = 10  # the picture moved to the right, so ten columns on the left are new
    flow[1, :, :9, 0] = -7  # whatever the source made up there
    residual, _ = remove_camera(MotionField(flow, "previous"))
    assert not residual.flow[1, :, :9].any()


def test_models_fall_back() -> None:
    """Motion that no camera makes leaves a translation, and the report says so."""
    rng = np.random.default_rng(0)
    flow = rng.normal(0, 20, (3, 60, 80, 2)).astype(np.float32)
    flow[..., 0] += 3
    residual, report = remove_camera(MotionField(flow, "previous"))
    assert report.models["translation"] == 2
    assert report.inlier_ratio < 0.4
    assert report.camera == "unclear"
    assert np.isfinite(residual.flow).all()
    assert report.residual_share > 0.8


def test_removal_is_repeatable_and_leaves_its_input() -> None:
    field = motion_source("dis").estimate(scene(4, pan=(1.5, 0.5), roll_deg=0.7), 16)
    kept = field.flow.copy()
    one, two = remove_camera(field)[0].flow, remove_camera(field)[0].flow
    assert np.array_equal(one, two)
    assert np.array_equal(field.flow, kept)
    in_place, _ = remove_camera(field, out=field.flow)
    assert in_place.flow is field.flow
    assert np.array_equal(field.flow, one)
    with pytest.raises(OptionError, match="out must be"):
        remove_camera(field, out=np.zeros((1, 2, 3, 2), dtype=np.float32))
