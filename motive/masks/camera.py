"""Motion of the camera, separated from motion in front of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from motive.errors import ClipError, OptionError
from motive.extras import require
from motive.masks.base import MotionField

MODELS = ("still", "homography", "affine", "translation")
_MIN_INLIERS = {"homography": 0.5, "affine": 0.4}
_INLIER_PX = 1.0
_STATIC_PX = 0.1
_DOMINANT = 0.6
_ITERATIONS = 200  # more of them find no better camera where there is none, and cost several times the flow


@dataclass(frozen=True)
class CameraReport:
    """What the camera of a clip does.

    Attributes:
        camera: ``static`` (moves the picture by less than 0.1 pixels a frame), ``pan`` (sideways), ``tilt`` (up or
            down), ``zoom``, ``roll`` when one of them makes up 60 % of the movement, otherwise ``mixed``; ``unclear``
            where less than 40 % of the picture follows any camera.
        inlier_ratio: share of the flow grid that follows the camera, mean over frames; within a pixel, or less in
            frames of less than 480 rows.
        residual_share: energy (sum of squared displacements) that is left after removal, of the energy before;
            0 for a clip without motion.
        models: frames explained by each model: ``still``, ``homography``, ``affine``, ``translation``.
        pan_px, tilt_px: mean displacement of the picture's centre a frame, pixels; x right, y down.
        zoom: mean relative change of scale a frame; positive when the picture grows.
        roll_deg: mean rotation of the picture a frame, degrees; positive clockwise.
    """

    camera: str
    inlier_ratio: float
    residual_share: float
    models: Mapping[str, int]
    pan_px: float
    tilt_px: float
    zoom: float
    roll_deg: float


def remove_camera(field: MotionField, out: np.ndarray | None = None) -> tuple[MotionField, CameraReport]:
    """Subtract the camera's part of the motion, frame by frame.

    A frame is left as it is where the median displacement on a regular grid is below 0.1 pixels: the camera stands
    still. Otherwise a homography is fitted to the grid by MAGSAC; where fewer than half of the points follow it, or
    it is no plausible camera, an affine map is fitted, and failing that (40 %) the median displacement is taken.
    Pixels that the camera has just brought into view have no measured motion: their residual is zero.

    A camera close to a scene with depth (parallax) fits none of these maps; the residual then keeps part of its
    motion, and residual_share tells. So does a background without texture, whose motion no source sees.

    Args:
        field: motion of a clip.
        out: [T, H, W, 2] float32 for the residual; may be field.flow itself. None makes a new array.

    Returns:
        The motion that is left, on the same grid, and what was removed.

    Raises:
        ClipError: bad_motion, a displacement is not finite.
        OptionError: out does not fit.
    """
    residual = np.empty_like(field.flow) if out is None else out
    if residual.shape != field.flow.shape or residual.dtype != np.float32:
        raise OptionError(
            f"remove_camera: out must be float32 {list(field.flow.shape)}, got {residual.dtype} "
            f"{list(residual.shape)}; pass an array like field.flow"
        )
    _, height, width, _ = field.flow.shape
    pixels = _Pixels(height, width)
    before = after = 0.0
    fits: list[_Fit] = []
    for f, flow in enumerate(field.flow):
        # On frame f's own grid the flow says where a pixel came from; otherwise it says where it goes.
        sign = -1.0 if field.reference == "previous" and f > 0 else 1.0
        before += float(np.vdot(flow, flow))
        if not math.isfinite(before):
            raise ClipError("bad_motion", f"the motion of frame {f} is not finite")
        fit = _fit_camera(pixels, flow, sign)
        camera_flow, hidden = pixels.camera_flow(fit)
        np.subtract(flow, camera_flow, out=residual[f])
        residual[f][hidden] = 0
        after += float(np.vdot(residual[f], residual[f]))
        fits.append(fit)
    steps = [i if field.reference == "first" else 1 for i in range(len(fits))]
    report = _report(fits, steps, pixels, after / before if before > 0 else 0.0)
    return MotionField(residual, field.reference, field.confidence), report


@dataclass(frozen=True)
class _Fit:
    """Camera map of one frame: homogeneous matrix from a pixel to its place in the other frame.

    ``sign`` is 1 where the flow points to that place and -1 where it points away from it.
    """

    matrix: np.ndarray
    sign: float
    model: str
    inlier_ratio: float


class _Pixels:
    """Coordinates of a frame's pixels, and of the coarse grid that the camera is fitted on."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self._x = np.arange(width, dtype=np.float32)[None, :]
        self._y = np.arange(height, dtype=np.float32)[:, None]
        step = max(2, min(height, width) // 30)
        rows, columns = np.arange(step // 2, height, step), np.arange(step // 2, width, step)
        self.rows, self.columns = (index.ravel() for index in np.meshgrid(rows, columns, indexing="ij"))
        self.points = np.stack([self.columns, self.rows], axis=-1).astype(np.float32)
        self.inlier_px = _INLIER_PX * min(1.0, max(0.25, min(height, width) / 480))

    def camera_flow(self, fit: _Fit) -> tuple[np.ndarray, np.ndarray]:
        """The camera's flow [H, W, 2], and the pixels [H, W] whose other end lies outside the picture."""
        m = fit.matrix.astype(np.float32)
        scale = 1 / (m[2, 0] * self._x + m[2, 1] * self._y + m[2, 2])
        to_x = (m[0, 0] * self._x + m[0, 1] * self._y + m[0, 2]) * scale
        to_y = (m[1, 0] * self._x + m[1, 1] * self._y + m[1, 2]) * scale
        hidden = (to_x < -0.5) | (to_x > self.width - 0.5) | (to_y < -0.5) | (to_y > self.height - 0.5)
        flow = np.empty((self.height, self.width, 2), dtype=np.float32)
        np.subtract(to_x, self._x, out=flow[..., 0])
        np.subtract(to_y, self._y, out=flow[..., 1])
        if fit.sign < 0:
            np.negative(flow, out=flow)
        return flow, hidden


def _fit_camera(pixels: _Pixels, flow: np.ndarray, sign: float) -> _Fit:
    """The map of a frame that can be relied on: none, a homography, an affine map, or the median displacement."""
    cv2 = require("cv2", "motive.masks.camera", extra="video")
    moved = sign * flow[pixels.rows, pixels.columns]
    source, target = pixels.points, pixels.points + moved
    if float(np.median(np.linalg.norm(moved, axis=-1))) < _STATIC_PX:
        # A map fitted here would follow the flow that leaks from what moves into a plain background.
        return _Fit(np.eye(3), sign, "still", _inlier_ratio(np.eye(3), source, target, pixels.inlier_px))
    search = {
        "method": cv2.USAC_MAGSAC,
        "ransacReprojThreshold": pixels.inlier_px,
        "maxIters": _ITERATIONS,
        "confidence": 0.995,
    }
    matrices: dict[str, Callable[[], Any]] = {
        "homography": lambda: cv2.findHomography(source, target, **search)[0],
        "affine": lambda: cv2.estimateAffine2D(source, target, **search)[0],
    }
    for model, fit in matrices.items():
        try:
            found = fit()
        except cv2.error:  # a degenerate set of points; the next model needs fewer
            continue
        if found is None or not np.isfinite(found).all():
            continue
        matrix = np.vstack([found, [0.0, 0.0, 1.0]]) if model == "affine" else found
        ratio = _inlier_ratio(matrix, source, target, pixels.inlier_px)
        if ratio >= _MIN_INLIERS[model] and _is_plausible(matrix, pixels):
            return _Fit(matrix, sign, model, ratio)
    matrix = np.eye(3)
    matrix[:2, 2] = np.median(moved, axis=0)
    return _Fit(matrix, sign, "translation", _inlier_ratio(matrix, source, target, pixels.inlier_px))


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    return homogeneous[:, :2] / homogeneous[:, 2:]


def _inlier_ratio(matrix: np.ndarray, source: np.ndarray, target: np.ndarray, inlier_px: float) -> float:
    distance = np.linalg.norm(_apply(matrix, source.astype(np.float64)) - target, axis=-1)
    return float((distance < inlier_px).mean())


def _is_plausible(matrix: np.ndarray, pixels: _Pixels) -> bool:
    """Whether a camera could move so within a frame: nothing folds, scale within 2, corners move at most half."""
    width, height = pixels.width - 1.0, pixels.height - 1.0
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    if (corners @ matrix[2, :2] + matrix[2, 2] <= 1e-6).any():
        return False
    _, scale, _ = _movement(matrix, pixels)
    moved = np.linalg.norm(_apply(matrix, corners) - corners, axis=-1)
    return 0.5 <= scale <= 2 and bool((moved <= 0.5 * math.hypot(width, height)).all())


def _movement(matrix: np.ndarray, pixels: _Pixels) -> tuple[np.ndarray, float, float]:
    """(displacement [2], scale, rotation in radians) of the picture's centre under a map."""
    centre = np.array([(pixels.width - 1) / 2, (pixels.height - 1) / 2])
    homogeneous = matrix @ np.array([*centre, 1.0])
    place = homogeneous[:2] / homogeneous[2]
    jacobian = (matrix[:2, :2] - np.outer(place, matrix[2, :2])) / homogeneous[2]
    scale = math.sqrt(max(float(np.linalg.det(jacobian)), 0.0))
    roll = math.atan2(jacobian[1, 0] - jacobian[0, 1], jacobian[0, 0] + jacobian[1, 1])
    return place - centre, scale, roll


def _report(fits: Sequence[_Fit], steps: Sequence[int], pixels: _Pixels, residual_share: float) -> CameraReport:
    """Summary of a clip; frame 0 is left out, since it repeats frame 1 (previous) or stands still (first)."""
    moves = []
    for fit, step in list(zip(fits, steps, strict=True))[1:]:
        shift, scale, roll = _movement(np.linalg.inv(fit.matrix) if fit.sign < 0 else fit.matrix, pixels)
        moves.append([shift[0] / step, shift[1] / step, math.log(max(scale, 1e-6)) / step, roll / step])
    table = np.array(moves)
    radius = math.sqrt((pixels.width**2 + pixels.height**2) / 12)  # so that zoom and roll are in pixels as well
    amounts = np.abs(table).mean(axis=0) * np.array([1, 1, radius, radius])
    names = ("pan", "tilt", "zoom", "roll")
    camera = names[int(amounts.argmax())] if amounts.max() >= _DOMINANT * amounts.sum() else "mixed"
    mean = table.mean(axis=0)
    inlier_ratio = float(np.mean([fit.inlier_ratio for fit in fits[1:]]))
    if inlier_ratio < _MIN_INLIERS["affine"]:
        camera = "unclear"
    return CameraReport(
        camera="static" if amounts.sum() < _STATIC_PX else camera,
        inlier_ratio=inlier_ratio,
        residual_share=residual_share,
        models={model: sum(fit.model == model for fit in fits[1:]) for model in MODELS},
        pan_px=float(mean[0]),
        tilt_px=float(mean[1]),
        zoom=float(math.expm1(mean[2])),
        roll_deg=float(math.degrees(mean[3])),
    )
