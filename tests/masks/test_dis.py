"""DIS flow has the right sign, size, place and grid."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from motive.errors import OptionError
from motive.masks import MotionField, motion_source
from tests.masks.scenes import box_mask, scene

PRESETS = ["ultrafast", "fast", "medium"]


@pytest.fixture
def keep_cv2_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shift", [(4.0, 0.0), (0.0, -3.0), (-2.0, 2.0)])
def test_a_moving_picture(preset: str, shift: tuple[float, float]) -> None:
    field = motion_source("dis", preset).estimate(scene(5, pan=shift, box=None), 16)
    assert field.reference == "previous"
    inner = field.flow[:, 12:-12, 12:-12].reshape(5, -1, 2)
    np.testing.assert_allclose(np.median(inner, axis=1), [shift] * 5, atol=0.15)


def test_flow_lies_on_each_frames_own_grid() -> None:
    """A box that moves 4 pixels a frame has its motion where it is now, not where it was; frame 0 looks ahead."""
    field = motion_source("dis").estimate(scene(9, box=(4.0, 1.0)), 16)
    for t in range(9):
        inside = box_mask(t, (4.0, 1.0), margin=-6)
        np.testing.assert_allclose(np.median(field.flow[t][inside], axis=0), [4, 1], atol=0.2, err_msg=f"frame {t}")
        outside = ~box_mask(t, (4.0, 1.0), margin=14)
        assert np.linalg.norm(field.flow[t][outside], axis=-1).max() < 0.5, f"frame {t} moves outside the box"


def test_flow_from_the_first_frame() -> None:
    """Displacements add up, on frame 0's grid."""
    field = motion_source("dis", reference="first").estimate(scene(5, box=(2.0, 0.0)), 16)
    inside = box_mask(0, (2.0, 0.0), margin=-6)
    assert field.reference == "first"
    assert not field.flow[0].any()
    for t in range(1, 5):
        np.testing.assert_allclose(np.median(field.flow[t][inside], axis=0), [2 * t, 0], atol=0.3)


def test_a_still_clip_has_no_flow() -> None:
    frames = np.repeat(scene(1, box=(0.0, 0.0)), 5, axis=0)
    for reference in ("previous", "first"):
        assert np.abs(motion_source("dis", reference=reference).estimate(frames, 16).flow).max() < 0.05  # type: ignore[arg-type]


@pytest.mark.usefixtures("keep_cv2_threads")
@pytest.mark.parametrize("preset", PRESETS)
def test_equal_input_gives_equal_bits(preset: str) -> None:
    """Also for other numbers of threads, which a run does not record."""
    frames = scene(4, 250, 334, pan=(2.5, -1.0), zoom=1.01)
    fields = []
    for threads in (1, 2, 5, 1):
        cv2.setNumThreads(threads)
        fields.append(motion_source("dis", preset).estimate(frames, 16).flow)
    for field in fields[1:]:
        assert np.array_equal(field, fields[0])


def test_ragged_sizes() -> None:
    """Also frames that are wide and low, where OpenCV by itself reads past their end."""
    for height, width in ((12, 12), (13, 40), (97, 33), (12, 200), (40, 12)):
        frames = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
        field = motion_source("dis").estimate(frames, 16)
        assert field.flow.shape == (3, height, width, 2)
        assert np.isfinite(field.flow).all()


def test_what_does_not_fit_is_refused() -> None:
    source = motion_source("dis")
    frames = scene(3, 40, 48, box=None)
    for bad in (frames[:1], frames[:, :11], frames.astype(np.float32), frames[..., :2], frames[0]):
        with pytest.raises(OptionError, match="frames must be"):
            source.estimate(bad, 16)
    with pytest.raises(OptionError, match="slow"):
        motion_source("dis", "slow")
    with pytest.raises(OptionError, match="third"):
        motion_source("dis", "fast", "third")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="raft"):
        motion_source("raft")


def test_settings_are_resolved() -> None:
    assert motion_source("dis").settings() == {"preset": "fast", "reference": "previous"}
    assert motion_source("dis", "fast").settings() == motion_source("dis", "default").settings()


def test_a_field_says_what_it_is() -> None:
    flow = np.zeros((3, 4, 5, 2), dtype=np.float32)
    with pytest.raises(OptionError, match="flow must be"):
        MotionField(flow.astype(np.float64), "previous")
    with pytest.raises(OptionError, match="reference"):
        MotionField(flow, "next")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="confidence"):
        MotionField(flow, "previous", np.ones((3, 4, 4), dtype=np.float32))
