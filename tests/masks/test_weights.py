"""Masks show where and when something moves, on the latent grid, with every option doing what it says."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motive.cli.main import main
from motive.data import ClipSpec, load_clip, write_video
from motive.errors import ClipError, ConfigError, OptionError
from motive.indexing.config import IndexConfig
from motive.indexing.setup import set_up
from motive.masks import (
    MaskConfig,
    MotionField,
    MotionSource,
    mask_from_field,
    motion_mask,
    motion_source,
    motion_source_names,
    registry,
)
from tests.masks.scenes import box_mask, scene

GRID = (3, 15, 20)


def cells(mask: np.ndarray) -> np.ndarray:
    """[H, W] pixels to the share of each latent cell."""
    return mask.reshape(15, 8, 20, 8).mean((1, 3))


def field_of(magnitudes: list[float], height: int = 16, width: int = 24) -> MotionField:
    """Frames that move to the right by a given number of pixels in their left half."""
    flow = np.zeros((len(magnitudes), height, width, 2), dtype=np.float32)
    for t, magnitude in enumerate(magnitudes):
        flow[t, :, : width // 2, 0] = magnitude
    return MotionField(flow, "previous")


def test_the_mask_is_where_the_object_is() -> None:
    mask = motion_mask(scene(9, box=(3.0, 0.0)), 16, GRID)
    assert mask.weights.shape == GRID
    assert mask.weights.dtype == np.float32
    assert 0 <= mask.weights.min() <= mask.weights.max() <= 1
    groups = [[0], [1, 2, 3, 4], [5, 6, 7, 8]]
    for latent, frames in enumerate(groups):
        inside = cells(np.logical_and.reduce([box_mask(t, (3.0, 0.0), margin=-4) for t in frames])) == 1
        outside = cells(np.logical_or.reduce([box_mask(t, (3.0, 0.0), margin=16) for t in frames])) == 0
        assert mask.weights[latent][inside].min() > 0.5, f"latent frame {latent} misses the object"
        assert mask.weights[latent][outside].max() < 0.15, f"latent frame {latent} weights the background"
    assert not mask.static
    assert mask.magnitude_px_max == pytest.approx(3, rel=0.3)
    assert 0.05 < mask.magnitude_px_mean < 1
    assert mask.camera is None


@pytest.mark.parametrize("t", range(9))
def test_a_latent_frame_holds_its_own_frames(t: int) -> None:
    """Frame 0 is latent frame 0; frames 4 j - 3 .. 4 j are latent frame j."""
    magnitudes = [0.0] * 9
    magnitudes[t] = 5.0
    weights = mask_from_field(field_of(magnitudes), (3, 2, 3), MaskConfig()).weights
    lit = [bool(frame.any()) for frame in weights]
    assert lit == [t == 0, 1 <= t <= 4, t >= 5]
    assert weights.max() == pytest.approx(1.0 if t == 0 else 0.25, abs=1e-3)


def test_static_clips_have_no_weights() -> None:
    still = np.repeat(scene(1), 9, axis=0)
    mask = motion_mask(still, 16, GRID)
    assert mask.static
    assert not mask.weights.any()
    slow = field_of([0.3] * 9)
    assert not mask_from_field(slow, (3, 2, 3), MaskConfig()).static
    assert mask_from_field(slow, (3, 2, 3), MaskConfig(static_px=0.4)).static


def test_a_jump_of_one_frame_is_not_motion() -> None:
    """Compression makes a still picture jump at single frames; the statistics still show it."""
    jump = mask_from_field(field_of([0.0, 0.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]), (3, 2, 3), MaskConfig())
    assert jump.static
    assert not jump.weights.any()
    assert jump.magnitude_px_max == pytest.approx(0.8)


def test_uniform_weights_keep_the_statistics() -> None:
    frames = scene(9, box=(3.0, 0.0))
    motion, uniform = (motion_mask(frames, 16, GRID, MaskConfig(weighting=w)) for w in ("motion", "uniform"))
    assert np.array_equal(uniform.weights, np.ones(GRID, dtype=np.float32))
    assert uniform.magnitude_px_mean == motion.magnitude_px_mean
    still = motion_mask(np.repeat(frames[:1], 9, axis=0), 16, GRID, MaskConfig(weighting="uniform"))
    assert still.static
    assert still.weights.all()


def test_camera_options() -> None:
    frames = scene(9, pan=(-2.0, 0.0), box=(3.0, 0.0))
    keep, report, remove = (motion_mask(frames, 16, GRID, MaskConfig(camera=c)) for c in ("keep", "report", "remove"))
    assert keep.camera is None
    assert report.camera is not None
    assert report.camera.camera == "pan"
    assert np.array_equal(report.weights, keep.weights)
    assert remove.camera == report.camera
    away = cells(np.logical_or.reduce([box_mask(t, (3.0, 0.0), margin=16) for t in range(5, 9)])) == 0
    assert keep.weights[2][away].mean() > 0.3, "the pan is motion as long as the camera is kept"
    assert remove.weights[2][away].mean() < 0.1
    pan_only = scene(9, 240, 320, pan=(-2.0, 0.0), box=None)
    assert motion_mask(pan_only, 16, (3, 30, 40), MaskConfig(camera="remove", static_px=1.5)).static


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
@pytest.mark.parametrize("reference", ["previous", "first"])
def test_options_of_the_source_are_used(preset: str, reference: str) -> None:
    frames = scene(5, box=(2.0, 0.0))
    config = MaskConfig(preset=preset, reference=reference)  # type: ignore[arg-type]
    field = motion_source("dis", preset, reference).estimate(frames, 16)  # type: ignore[arg-type]
    assert np.array_equal(
        motion_mask(frames, 16, (2, 15, 20), config).weights, mask_from_field(field, (2, 15, 20), config).weights
    )
    identity = config.source_identity()
    assert identity == {"name": "dis", "version": "1", "settings": {"preset": preset, "reference": reference}}


def test_options_of_the_arithmetic_are_used() -> None:
    field = motion_source("dis").estimate(scene(9, box=(3.0, 1.0)), 16)
    choices: list[dict[str, Any]] = [
        {},
        {"order": "resize_first"},
        {"pooling": "causal_max"},
        {"pooling": "stride"},
        {"pooling": "trilinear"},
        {"spatial": "area"},
    ]
    weights = [mask_from_field(field, GRID, MaskConfig(**choice)).weights for choice in choices]
    for i, first in enumerate(weights):
        for j in range(i):
            assert not np.array_equal(first, weights[j]), f"{choices[i]} gives the mask of {choices[j]}"
    assert weights[2].min() >= 0
    assert (weights[2] >= weights[0] - 1e-6).all(), "a group's largest is at least its mean"


def test_confidence_scales_the_magnitude() -> None:
    field = field_of([4.0] * 9)
    confidence = np.ones(field.flow.shape[:3], dtype=np.float32)
    confidence[:, :8] = 0.25
    sure = MotionField(field.flow, "previous", confidence)
    weighted = mask_from_field(sure, (3, 2, 2), MaskConfig(confidence="weight")).weights
    np.testing.assert_allclose(weighted[:, :, 0], [[0.25, 1]] * 3, atol=1e-5)
    ignored = mask_from_field(sure, (3, 2, 2), MaskConfig()).weights
    np.testing.assert_allclose(ignored[:, :, 0], 1, atol=1e-5)
    with pytest.raises(OptionError, match="confidence"):
        mask_from_field(field, (3, 2, 2), MaskConfig(confidence="weight"))


def test_motion_that_is_not_a_number_is_the_clips_fault() -> None:
    for bad in (np.nan, np.inf):
        field = field_of([1.0] * 5)
        field.flow[2, 3, 4, 0] = bad
        for camera in ("keep", "remove"):
            with pytest.raises(ClipError, match="bad_motion"):
                mask_from_field(field, (2, 2, 3), MaskConfig(camera=camera))  # type: ignore[arg-type]


def test_the_callers_field_is_left_alone() -> None:
    field = motion_source("dis").estimate(scene(5, pan=(2.0, 0.0)), 16)
    kept = field.flow.copy()
    mask_from_field(field, (2, 15, 20), MaskConfig(camera="remove"))
    assert np.array_equal(field.flow, kept)


@pytest.mark.parametrize(
    "option",
    [
        {"weighting": "none"},
        {"reference": "next"},
        {"order": "never"},
        {"pooling": "mean"},
        {"spatial": "cubic"},
        {"camera": "drop"},
        {"confidence": "yes"},
        {"static_px": -1.0},
        {"static_px": float("nan")},
    ],
)
def test_wrong_options_name_the_field(option: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(option))):
        MaskConfig(**option)


def test_what_does_not_fit_is_refused() -> None:
    frames = scene(9)
    with pytest.raises(OptionError, match="nosuch"):
        motion_mask(frames, 16, GRID, MaskConfig(source="nosuch"))
    with pytest.raises(OptionError, match="latent frames"):
        motion_mask(frames[:8], 16, GRID)
    assert motion_mask(frames[:8], 16, GRID, MaskConfig(pooling="trilinear")).weights.shape == GRID
    with pytest.raises(OptionError, match="grid"):
        motion_mask(frames, 16, (3, 0, 20))
    field = motion_source("dis", reference="first").estimate(frames, 16)
    with pytest.raises(OptionError, match="reference"):
        mask_from_field(field, GRID, MaskConfig())


class Sideways(MotionSource):
    """A source from another package: everything moves to the right by the frame rate."""

    name = "sideways"
    gives_confidence = True
    version = "7"

    def __init__(self, preset: str, reference: str) -> None:
        if preset != "default" or reference != "first":
            raise OptionError("sideways: preset must be default and reference first; choose them")

    def settings(self) -> Mapping[str, Any]:
        return {"size": 3}

    def estimate(self, frames: np.ndarray, fps: float) -> MotionField:
        flow = np.zeros((*frames.shape[:3], 2), dtype=np.float32)
        flow[1:, :, 4:, 0] = fps
        return MotionField(flow, "first", np.ones(frames.shape[:3], dtype=np.float32))


def test_other_packages_bring_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("sideways", f"{__name__}:Sideways", registry.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Sideways)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    assert motion_source_names() == ["dis", "sideways"]
    config = MaskConfig(source="sideways", reference="first", confidence="weight")
    mask = motion_mask(scene(9), 12.5, GRID, config)
    assert mask.magnitude_px_max == 12.5
    assert config.source_identity() == {"name": "sideways", "version": "7", "settings": {"size": 3}}
    with pytest.raises(OptionError, match="sideways"):
        motion_mask(scene(9), 12.5, GRID, MaskConfig(source="sideways"))


def test_confidence_is_refused_at_once_where_the_source_gives_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first clip, by name of the parameter; a source that gives one is weighted (the test above)."""
    with pytest.raises(
        ConfigError, match=r"mask\.confidence must be ignore with mask\.source dis, which gives no conf"
    ):
        set_up(IndexConfig(mask=MaskConfig(confidence="weight")))
    write_video(tmp_path / "box.mp4", scene(9), 16)
    assert main(["index", str(tmp_path), "--out", str(tmp_path / "store"), "--mask-confidence", "weight"]) == 2
    assert "--mask-confidence must be ignore with --mask-source dis" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_from_a_video_file(tmp_path: Path) -> None:
    """Compression does not move the mask, and a still file is static."""
    clip_spec = ClipSpec(fps=16, frames=9, height=120, width=160)
    write_video(tmp_path / "box.mp4", scene(9, box=(3.0, 0.0)), 16, crf=23)
    write_video(tmp_path / "still.mp4", np.repeat(scene(1), 9, axis=0), 16, crf=23)
    mask = motion_mask(load_clip(tmp_path / "box.mp4", clip_spec).frames, 16, GRID)
    inside = cells(np.logical_and.reduce([box_mask(t, (3.0, 0.0), margin=-4) for t in range(5, 9)])) == 1
    assert mask.weights[2][inside].min() > 0.4
    assert motion_mask(load_clip(tmp_path / "still.mp4", clip_spec).frames, 16, GRID).static
