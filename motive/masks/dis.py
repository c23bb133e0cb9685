"""Dense inverse search flow (Kroeger et al. 2016) as OpenCV has it; needs no weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from motive.errors import OptionError
from motive.extras import require
from motive.masks.base import MotionField, MotionSource, Reference, check_frames

PRESETS = {"ultrafast": 2, "fast": 2, "medium": 1}
"""Preset to the finest pyramid level it works on: a half or a quarter of the resolution."""

_SMALLEST_PX = 12
_LEVELS = 3


class DisSource(MotionSource):
    """DIS optical flow on grey frames, pair by pair.

    With reference ``previous``, flow[f] is minus the flow that DIS finds from frame f back to frame f - 1, so it
    lies on frame f's own grid. With ``first``, flow[f] is DIS from frame 0 straight to frame f: good for as long
    as things stay within DIS's reach of roughly a tenth of the frame, and weak for long clips, where a point
    tracker is the better source.

    Frames of less than about 230 pixels have a shallow pyramid; there the search continues to finer levels than the
    preset's own, down to full resolution, so that it has three levels where the frame is large enough for them.

    Args:
        preset: ``ultrafast`` | ``fast`` (default) | ``medium``.
        reference: ``previous`` | ``first``.
    """

    name = "dis"
    version = "1"

    def __init__(self, preset: str = "default", reference: Reference = "previous") -> None:
        self._preset = "fast" if preset == "default" else preset
        self._reference: Reference = reference
        if self._preset not in PRESETS:
            raise OptionError(f"dis: preset must be one of {', '.join(PRESETS)}, got {preset!r}; choose one")
        if reference not in get_args(Reference):
            raise OptionError(
                f"dis: reference must be one of {', '.join(get_args(Reference))}, got {reference!r}; choose one"
            )

    def settings(self) -> Mapping[str, Any]:
        return {"preset": self._preset, "reference": self._reference}

    def estimate(self, frames: np.ndarray, fps: float) -> MotionField:
        cv2 = require("cv2", "motive.masks.dis", extra="video")
        check_frames(frames, "dis")
        count, height, width, _ = frames.shape
        if min(height, width) < _SMALLEST_PX:
            raise OptionError(
                f"dis: frames must be at least {_SMALLEST_PX} x {_SMALLEST_PX} pixels, got {height} x {width}; "
                "standardise to a larger size"
            )
        dis = cv2.DISOpticalFlow_create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{self._preset.upper()}"))
        dis.setFinestScale(_finest_level(PRESETS[self._preset], height, width))
        grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames]
        flow = np.empty((count, height, width, 2), dtype=np.float32)
        if self._reference == "first":
            flow[0] = 0
            for f in range(1, count):
                flow[f] = dis.calc(grey[0], grey[f], None)
        else:
            flow[0] = dis.calc(grey[0], grey[1], None)
            for f in range(1, count):
                np.negative(dis.calc(grey[f], grey[f - 1], None), out=flow[f])
        return MotionField(flow, self._reference)


def _finest_level(preset_level: int, height: int, width: int) -> int:
    """Finest pyramid level to work on.

    It must not lie above OpenCV's coarsest level. OpenCV then picks levels by the width alone, reads past the end
    of frames that are wide and low, and keeps what it picked for the next call.
    """
    by_reach = int(math.log2(max(height, width) / 32) + 0.5)  # a quarter of the frame
    by_patch = int(math.log2(min(height, width) // 8))  # a patch of 8 pixels
    return min(preset_level, max(min(by_reach, by_patch) - (_LEVELS - 1), 0))
