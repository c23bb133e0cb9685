"""Procedural clips with a known motion: frames and a caption from (motion, seed)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motive.errors import OptionError
from motive.toy.motions import MOVES, Camera, Poses, moving_camera, still_camera
from motive.toy.scene import Scene, Thing, backdrop_colour, sample_scene, shape_distance, texture_share

MOTIONS = ("compress", "bounce", "roll", "explode", "float", "free_fall", "slide", "spin", "stretch", "swing")
"""The ten motion types of the paper's queries."""

CONTROLS = ("static", "camera", "shuffled")
"""No motion, motion of the camera only, and a moving clip whose frames are in random order."""

FPS = 24
FRAMES = 34
SIZE = 128


@dataclass(frozen=True)
class Rendered:
    """One clip.

    Attributes:
        frames: uint8 RGB [T, H, W, 3].
        caption: appearance and setting in words; it neither names nor implies the motion.
        motion: one of MOTIONS or CONTROLS.
        seed: what the clip was drawn from.
    """

    frames: NDArray[np.uint8]
    caption: str
    motion: str
    seed: int


def render_clip(motion: str, seed: int, *, size: int = SIZE, frames: int = FRAMES, fps: float = FPS) -> Rendered:
    """Render one clip, the same bytes for the same arguments.

    Appearance and motion come from two independent random streams of the seed, so what a clip looks
    like says nothing about how it moves.

    Args:
        motion: one of MOTIONS or CONTROLS.
        seed: non-negative integer; see motive.toy.pool for the ranges in use.
        size: height and width in pixels.
        frames: number of frames.
        fps: frames a second; time runs from 0 to (frames - 1) / fps seconds.

    Raises:
        OptionError: unknown motion, or a size or number of frames that cannot be drawn.
    """
    if motion not in MOTIONS + CONTROLS:
        raise OptionError(
            f"render_clip: motion must be one of {', '.join(MOTIONS + CONTROLS)}, got {motion!r}; choose one"
        )
    if size < 16 or frames < 1 or seed < 0:
        raise OptionError(
            f"render_clip: size, frames and seed must be at least 16, 1 and 0, got {size}, {frames} and {seed}; "
            "give larger ones"
        )
    looks, moves = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    scene = sample_scene(looks)
    t = np.arange(frames) / fps
    order = np.arange(frames)
    move = motion
    if motion == "shuffled":
        move = MOTIONS[int(moves.integers(len(MOTIONS)))]
        order = moves.permutation(frames)
    camera = still_camera(t)
    if motion == "camera":
        move, camera = "static", moving_camera(moves, t)
    poses = MOVES[move](moves, scene, t)
    video = _compose(scene, poses, camera, size)
    return Rendered(video[order], scene.caption(), motion, seed)


def _compose(scene: Scene, poses: Poses, camera: Camera, size: int) -> NDArray[np.uint8]:
    """Wall and floor, then the still things, then the thing that moves."""
    frames = len(camera.x)
    moving = bool(np.ptp(camera.x) or np.ptp(camera.y) or np.ptp(camera.zoom))
    views = frames if moving else 1
    axis = (np.arange(size) + 0.5) / size - 0.5
    zoom = camera.zoom[:views, None, None]
    x = (camera.x[:views, None, None] + axis[None, None, :] / zoom).astype(np.float32)
    y = (camera.y[:views, None, None] + axis[None, :, None] / zoom).astype(np.float32)
    x, y = np.broadcast_arrays(x, y)
    canvas = backdrop_colour(scene, x, y, softness=1.5 / size)
    for other in scene.others:
        _draw(canvas, other, _still(other, views), Camera(camera.x[:views], camera.y[:views], camera.zoom[:views]))
    canvas = np.array(np.broadcast_to(canvas, (frames, size, size, 3)))
    _draw(canvas, scene.thing, poses, camera)
    return np.rint(canvas * (255 * scene.light)).clip(0, 255).astype(np.uint8)


def _still(thing: Thing, frames: int) -> Poses:
    row = np.ones((1, frames))
    return Poses(row * thing.x, row * thing.y, row * thing.angle, row, row, np.zeros((1, 2)), np.zeros(frames, bool))


def _draw(canvas: NDArray[np.float32], thing: Thing, poses: Poses, camera: Camera) -> None:
    """Blend the thing's pieces onto the canvas [T, S, S, 3] in place, each within its own box."""
    frames, size = canvas.shape[:2]
    for piece in range(poses.x.shape[0]):
        shown = poses.apart if piece else np.ones(frames, bool)
        index = np.flatnonzero(shown)
        if not len(index):
            continue
        x = ((poses.x[piece, index] - camera.x[index]) * camera.zoom[index] + 0.5) * size
        y = ((poses.y[piece, index] - camera.y[index]) * camera.zoom[index] + 0.5) * size
        radius = thing.radius * size * camera.zoom[index]
        half = int(np.ceil(float((radius * np.maximum(poses.scale_x, poses.scale_y)[piece, index]).max()) + 1))
        left, top = (np.rint(a).astype(int) - half for a in (x, y))
        offsets = np.arange(2 * half + 1) + 0.5
        dx = (left[:, None] + offsets - x[:, None]) / (radius * poses.scale_x[piece, index])[:, None]
        dy = (top[:, None] + offsets - y[:, None]) / (radius * poses.scale_y[piece, index])[:, None]
        alpha, colour = _shade(thing, poses, piece, index, dx.astype(np.float32), dy.astype(np.float32), radius)
        for i, frame in enumerate(index):
            _blend(canvas[frame], alpha[i], colour[i], int(top[i]), int(left[i]))


def _shade(
    thing: Thing,
    poses: Poses,
    piece: int,
    index: NDArray[np.intp],
    dx: NDArray[np.float32],
    dy: NDArray[np.float32],
    radius_px: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coverage [m, B, B] and colour [m, B, B, 3] of one piece at offsets dx, dy (in radii) from its centre."""
    angle = poses.angle[piece, index].astype(np.float32)
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    u = cos * dx[:, None, :] + sin * dy[:, :, None]
    v = cos * dy[:, :, None] - sin * dx[:, None, :]
    thinnest = np.minimum(poses.scale_x, poses.scale_y)[piece, index]
    per_px = (radius_px * thinnest).astype(np.float32)[:, None, None]
    alpha = np.clip(0.5 - shape_distance(thing.shape, u, v) * per_px, 0, 1)
    apart = poses.apart[index]
    if apart.any():
        gap = [(u - sx) ** 2 + (v - sy) ** 2 for sx, sy in poses.sites.astype(np.float32)]
        nearest = np.argmin(np.stack(gap), axis=0) == piece
        alpha = np.where(apart[:, None, None] & ~nearest, 0, alpha)
    share = texture_share(thing.texture, u, v)[..., None]
    return alpha.astype(np.float32), (thing.second + share * (thing.first - thing.second)).astype(np.float32)


def _blend(
    frame: NDArray[np.float32], alpha: NDArray[np.float32], colour: NDArray[np.float32], top: int, left: int
) -> None:
    size, box = frame.shape[0], alpha.shape[0]
    y0, y1 = max(top, 0), min(top + box, size)
    x0, x1 = max(left, 0), min(left + box, size)
    if y0 >= y1 or x0 >= x1:
        return
    inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    target = frame[y0:y1, x0:x1]
    target += alpha[inside][..., None] * (colour[inside] - target)
