"""Motion masks on a model's latent grid, with every choice that the paper leaves open as an option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

import motive_kernels as mk
from motive.config import check_choices
from motive.errors import ClipError, ConfigError, OptionError
from motive.masks.base import MotionField, MotionSource, Reference
from motive.masks.camera import CameraReport, remove_camera
from motive.masks.registry import motion_source


@dataclass(frozen=True)
class MaskConfig:
    """How a clip's motion becomes the weights of its loss (paper, Eq. 12-14); all of it is in a store's identity.

    Attributes:
        source: motion source, by registry name.
        preset: quality preset of the source; ``default`` is the source's own.
        weighting: ``motion``, or ``uniform`` for weights of one (the paper's comparison without a mask).
        reference: displacement since the ``previous`` frame, or since the ``first`` one on its grid.
        order: ``normalise_first`` (Eq. 13, then 14) or ``resize_first`` (Algorithm 1).
        pooling: T frames to F latent frames: ``causal_mean``, ``causal_max`` or ``stride`` over the frames that a
            latent frame holds, or ``trilinear`` across them.
        spatial: ``bilinear`` (Eq. 14) or ``area`` resize to the latent grid.
        camera: ``keep`` its motion as the paper does, ``report`` it without touching the mask, or ``remove`` it.
        confidence: ``weight`` multiplies the magnitude by the source's confidence, and is refused with a source that
            gives none, such as dis; ``ignore`` does not.
        static_px: a clip counts as static when no pixel moves by this much a frame, on average over the clip. The
            average leaves out the single frames where a compressed still picture jumps; the largest displacement
            of a still clip can be several pixels.
    """

    source: str = "dis"
    preset: str = "default"
    weighting: Literal["motion", "uniform"] = "motion"
    reference: Reference = "previous"
    order: mk.MotionOrder = "normalise_first"
    pooling: mk.MotionPooling = "causal_mean"
    spatial: mk.MotionSpatial = "bilinear"
    camera: Literal["keep", "report", "remove"] = "keep"
    confidence: Literal["ignore", "weight"] = "ignore"
    static_px: float = 0.1

    def __post_init__(self) -> None:
        check_choices(self)
        if not 0 <= self.static_px < float("inf"):
            raise ConfigError(
                "MaskConfig", f"{{static_px}} must be 0 or more pixels, got {self.static_px}; 0 turns it off"
            )

    def source_identity(self) -> dict[str, Any]:
        """Name, version and resolved settings of the motion source; goes into a store's identity beside the options.

        Raises:
            OptionError: the source is not installed, refuses its options, or lacks the confidence that is asked for.
        """
        source = _source(self)
        return {"name": source.name, "version": source.version, "settings": dict(source.settings())}


def _source(config: MaskConfig) -> MotionSource:
    """The motion source, if it gives what the config asks for."""
    source = motion_source(config.source, config.preset, config.reference)
    if config.confidence == "weight" and not source.gives_confidence:
        raise ConfigError(
            "masks",
            f"{{mask.confidence}} must be ignore with {{mask.source}} {config.source}, which gives no confidence, got "
            "weight; leave it out, or choose a source that gives one",
        )
    return source


@dataclass(frozen=True)
class MotionMask:
    """Weights of one clip's loss, and how much the clip moves.

    Attributes:
        weights: [F, h, w] float32 in [0, 1].
        static: nothing moves, by MaskConfig.static_px. Motion weights are then all zero, and the clip has no
            gradient: the caller leaves it out with reason ``static``. Uniform weights stay one.
        magnitude_px_mean, magnitude_px_max: displacement over all frames and pixels, in pixels, after the camera
            is removed if it is.
        camera: None where the camera is kept and not looked at.
    """

    weights: np.ndarray
    static: bool
    magnitude_px_mean: float
    magnitude_px_max: float
    camera: CameraReport | None = None


def motion_mask(
    frames: np.ndarray, fps: float, grid: tuple[int, int, int], config: MaskConfig = MaskConfig()
) -> MotionMask:
    """Estimate a clip's motion and turn it into weights on the latent grid (paper, Eq. 12-14).

    Args:
        frames: [T, H, W, 3] uint8 RGB, T >= 2.
        fps: frames a second.
        grid: (F, h, w) of the latents. Latent frame 0 holds frame 0, latent frame j >= 1 holds frames
            g (j - 1) + 1 .. g j with g = (T - 1) / (F - 1).
        config: every choice.

    Raises:
        OptionError: an option does not fit the frames or the source.
        ClipError: bad_motion, the source gave numbers that are not finite.
    """
    source = _source(config)
    return mask_from_field(source.estimate(frames, fps), grid, config, own_field=True)


def mask_from_field(
    field: MotionField, grid: tuple[int, int, int], config: MaskConfig, own_field: bool = False
) -> MotionMask:
    """Weights from motion that is already there; as motion_mask.

    Args:
        field: motion of a clip, with the reference that config names.
        grid: (F, h, w) of the latents.
        config: every choice; source and preset are not used.
        own_field: the field may be overwritten, which saves a copy where the camera is removed.

    Raises:
        OptionError: the field has another reference, or no confidence where config weights by it.
        ClipError: bad_motion.
    """
    _check_field(field, grid, config)
    camera: CameraReport | None = None
    if config.camera != "keep":
        out = field.flow if own_field and config.camera == "remove" else None
        residual, camera = remove_camera(field, out)
        field = residual if config.camera == "remove" else field
    mean_px, max_px, sustained_px = _magnitude(field.flow)
    static = sustained_px < config.static_px
    if config.weighting == "uniform":
        weights = np.ones(grid, dtype=np.float32)
    elif static:
        weights = np.zeros(grid, dtype=np.float32)
    else:
        weights = _motion_weights(field, grid, config)
    return MotionMask(weights, static, mean_px, max_px, camera)


def _check_field(field: MotionField, grid: tuple[int, int, int], config: MaskConfig) -> None:
    if field.reference != config.reference:
        raise OptionError(
            f"masks: reference must be {field.reference} for this field, got {config.reference}; "
            f"choose a source that gives {config.reference}"
        )
    if config.confidence == "weight" and field.confidence is None:
        raise OptionError(
            f"masks: confidence must be ignore for source {config.source}, got weight; choose a source that gives one"
        )
    if len(grid) != 3 or min(grid) < 1:
        raise OptionError(f"masks: grid must be three positive numbers (F, h, w), got {grid}; take the latents' shape")
    frames = field.flow.shape[0]
    fits = (frames - 1) % (grid[0] - 1) == 0 and frames >= grid[0] if grid[0] > 1 else frames == 1
    if config.pooling != "trilinear" and not fits:
        raise OptionError(
            f"masks: frames must be g ({grid[0]} - 1) + 1 for {grid[0]} latent frames, got {frames}; "
            "use the model's own ClipSpec, or pooling trilinear"
        )


def _magnitude(flow: np.ndarray) -> tuple[float, float, float]:
    """(mean, largest, largest mean over time of any pixel) displacement in pixels, without a clip-sized array."""
    total, magnitude, square = (np.zeros(flow.shape[1:3], dtype=np.float32) for _ in range(3))
    largest = 0.0
    for frame in flow:
        np.square(frame[..., 0], out=magnitude)
        np.square(frame[..., 1], out=square)
        np.sqrt(np.add(magnitude, square, out=magnitude), out=magnitude)
        largest = max(largest, float(magnitude.max()))
        total += magnitude
    if not np.isfinite(total).all():
        raise ClipError("bad_motion", "the motion source gave numbers that are not finite")
    return float(total.mean(dtype=np.float64)) / len(flow), largest, float(total.max()) / len(flow)


def _motion_weights(field: MotionField, grid: tuple[int, int, int], config: MaskConfig) -> np.ndarray:
    confidence = field.confidence if config.confidence == "weight" else None
    weights = mk.motion_weights(
        torch.from_numpy(field.flow)[None],
        grid,
        order=config.order,
        pooling=config.pooling,
        spatial=config.spatial,
        confidence=None if confidence is None else torch.from_numpy(confidence)[None],
    )
    return weights[0].numpy()
