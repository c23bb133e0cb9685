"""Contract suite of motion sources."""

from __future__ import annotations

import json

import numpy as np
import pytest

from motive.errors import OptionError
from motive.masks.base import MotionSource, Reference
from motive.masks.registry import motion_source


class MotionSourceContract:
    """Tests of a motion source. Subclass with the name ``Test...`` and set ``source``.

    Attributes:
        source: name of the source, as it is registered.
        preset: its quality preset.
        size: (H, W) of the frames that are tried.
        tolerance_px: error of the median displacement that is accepted.
        references: which of ``previous`` and ``first`` the source has.
    """

    source: str
    preset = "default"
    size = (64, 96)
    tolerance_px = 0.5
    references: tuple[Reference, ...] = ("previous", "first")

    def make(self, reference: Reference = "previous") -> MotionSource:
        """The source under test."""
        return motion_source(self.source, self.preset, reference)

    def moving(self, dx: int, dy: int, frames: int = 4) -> np.ndarray:
        """A smooth random texture that moves by whole pixels a frame, [T, H, W, 3] uint8."""
        height, width = self.size
        grain = np.random.default_rng(0).random((height // 4 + 2, width // 4 + 2))
        rows, columns = (np.arange(n) / 4 for n in (height, width))
        top, left = rows.astype(int), columns.astype(int)
        v, u = (rows - top)[:, None], (columns - left)[None]
        grain_at = [grain[np.ix_(top + j, left + i)] for j in (0, 1) for i in (0, 1)]
        smooth = (1 - v) * ((1 - u) * grain_at[0] + u * grain_at[1]) + v * ((1 - u) * grain_at[2] + u * grain_at[3])
        image = np.repeat((255 * smooth).astype(np.uint8)[..., None], 3, axis=-1)
        return np.stack([np.roll(image, (t * dy, t * dx), axis=(0, 1)) for t in range(frames)])

    def test_it_says_what_it_is(self) -> None:
        source = self.make()
        assert source.name == self.source
        assert isinstance(source.version, str)
        assert source.version
        assert json.loads(json.dumps(dict(source.settings()))) == dict(source.settings()), "settings must be plain"

    def test_the_field_has_the_clips_shape(self) -> None:
        frames = self.moving(1, 0)
        for reference in self.references:
            field = self.make(reference).estimate(frames, 12.0)
            assert field.flow.shape == (*frames.shape[:3], 2)
            assert field.flow.dtype == np.float32
            assert field.reference == reference
            assert np.isfinite(field.flow).all()
            if field.confidence is not None:
                assert field.confidence.shape == frames.shape[:3]
                assert field.confidence.min() >= 0
                assert field.confidence.max() <= 1

    def test_equal_clips_give_equal_bits_and_stay_as_they_are(self) -> None:
        frames = self.moving(1, 2)
        before = frames.copy()
        first, second = self.make().estimate(frames, 12.0), self.make().estimate(frames, 12.0)
        np.testing.assert_array_equal(first.flow, second.flow)
        np.testing.assert_array_equal(frames, before)

    @pytest.mark.parametrize("shift", [(2, 0), (0, 2), (-2, 1)])
    def test_a_moving_texture_has_its_displacement(self, shift: tuple[int, int]) -> None:
        """x to the right and y downwards, in pixels."""
        frames = self.moving(*shift)
        inner = np.s_[:, self.size[0] // 4 : -self.size[0] // 4, self.size[1] // 4 : -self.size[1] // 4]
        for reference in self.references:
            flow = self.make(reference).estimate(frames, 12.0).flow[inner]
            steps = np.arange(len(frames)) if reference == "first" else np.ones(len(frames))
            found = np.median(flow.reshape(len(frames), -1, 2), axis=1)
            np.testing.assert_allclose(found, steps[:, None] * np.array(shift), atol=self.tolerance_px)

    def test_a_still_clip_does_not_move(self) -> None:
        for reference in self.references:
            flow = self.make(reference).estimate(self.moving(0, 0), 12.0).flow
            assert np.abs(flow).max() < 0.1

    def test_what_is_no_clip_is_refused(self) -> None:
        frames = self.moving(1, 0)
        for wrong in (frames[:1], frames[0], frames.astype(np.float32), frames[..., :1]):
            with pytest.raises(OptionError):
                self.make().estimate(wrong, 12.0)

    def test_another_preset_is_refused(self) -> None:
        with pytest.raises(OptionError):
            motion_source(self.source, "no such preset")
