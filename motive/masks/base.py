"""The contract of a motion source: the displacement of every pixel of a clip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from motive.config import check_choices
from motive.errors import OptionError

Reference = Literal["previous", "first"]


@dataclass(frozen=True)
class MotionField:
    """Displacement of the pixels of a clip, in pixels, x to the right and y downwards.

    Attributes:
        flow: [T, H, W, 2] float32, (dx, dy).
        reference: ``previous``: flow[f] lies on frame f's grid and is what came to each pixel since frame
            f - 1; flow[0] is the displacement to frame 1. ``first``: flow[f] lies on frame 0's grid and is the
            displacement of its pixels from frame 0 to frame f; flow[0] is near zero.
        confidence: [T, H, W] float32 in [0, 1], how far a pixel's flow can be trusted (visibility times
            confidence where a source gives both), or None.
    """

    flow: np.ndarray
    reference: Reference
    confidence: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.flow.ndim != 4 or self.flow.shape[-1] != 2 or self.flow.dtype != np.float32:
            raise OptionError(
                f"MotionField: flow must be float32 [T, H, W, 2], got {self.flow.dtype} {list(self.flow.shape)}; "
                "put (dx, dy) last"
            )
        check_choices(self)
        if self.confidence is not None and self.confidence.shape != self.flow.shape[:3]:
            raise OptionError(
                f"MotionField: confidence must be {list(self.flow.shape[:3])}, got {list(self.confidence.shape)}; "
                "give one number a pixel"
            )


class MotionSource(ABC):
    """An estimator of motion, ready to use; one file each."""

    name: str
    """Registry name, e.g. ``dis``."""

    version: str
    """Changes whenever the same frames and settings may give another field; part of a store's identity."""

    gives_confidence: bool = False
    """Whether its fields have a confidence; without one, MaskConfig(confidence="weight") is refused."""

    @abstractmethod
    def estimate(self, frames: np.ndarray, fps: float) -> MotionField:
        """Motion of one clip; equal input gives equal bits.

        Args:
            frames: [T, H, W, 3] uint8 RGB, T >= 2.
            fps: frames a second, for sources that care.

        Raises:
            OptionError: the frames do not fit this source.
        """

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Every option that changes the field, resolved and JSON-able; part of a store's identity."""


def check_frames(frames: np.ndarray, where: str) -> None:
    """Refuse what is not a clip of at least two RGB frames.

    Raises:
        OptionError: frames are not uint8 [T >= 2, H, W, 3].
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or frames.shape[0] < 2:
        raise OptionError(
            f"{where}: frames must be uint8 RGB [T, H, W, 3] with T >= 2, got {frames.dtype} {list(frames.shape)}; "
            "standardise the clip first"
        )
