"""Motion of procedural clips: one small function of time per motion type.

Lengths are shares of the frame's side, y points down, times are seconds. Each function draws its own
speeds, phases and directions and returns the poses of the thing's pieces, frame by frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motive.toy.scene import Scene

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Poses:
    """Where the thing is: each array is [pieces, T].

    Attributes:
        x, y: centre; angle: radians; scale_x, scale_y: along the frame's axes.
        sites: [pieces, 2] Voronoi sites in the thing's own coordinates that cut it into pieces.
        apart: [T] whether the pieces fly apart yet; the whole thing is drawn until then.
    """

    x: Array
    y: Array
    angle: Array
    scale_x: Array
    scale_y: Array
    sites: Array
    apart: NDArray[np.bool_]


def _whole(
    t: Array,
    x: Array | float,
    y: Array | float,
    angle: Array | float,
    scale_x: Array | float = 1.0,
    scale_y: Array | float = 1.0,
) -> Poses:
    """The poses of a thing in one piece."""
    x, y, angle, scale_x, scale_y = (np.broadcast_to(a, t.shape)[None] for a in (x, y, angle, scale_x, scale_y))
    return Poses(x, y, angle, scale_x, scale_y, np.zeros((1, 2)), np.zeros(t.shape, bool))


def _sign(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _ease(t: Array, start: float, duration: float) -> Array:
    s = np.clip((t - start) / duration, 0, 1)
    return s * s * (3 - 2 * s)


def _path(rng: np.random.Generator, travel: Array) -> Array:
    """Offset a one-way travel so that its middle is near the middle of the frame, in either direction."""
    direction = _sign(rng)
    return 0.5 + rng.uniform(-0.08, 0.08) + direction * (travel - travel.max() / 2)


def _static(rng: np.random.Generator, scene: Scene, t: Array) -> Poses:
    return _whole(t, scene.thing.x, scene.thing.y, scene.thing.angle)


def _bounce(rng: np.random.Generator, scene: Scene, t: Array) -> Poses:
    """Falls under gravity and rebounds with restitution, drifting sideways."""
    top = rng.uniform(0.10, 0.35)
    drop = scene.floor_y - scene.thing.radius - top
    fall_s = rng.uniform(0.28, 0.42)
    gravity = 2 * drop / fall_s**2
    restitution = rng.uniform(0.72, 0.90)
    elapsed = t + rng.uniform(0, 0.8) * fall_s
    height = drop - 0.5 * gravity * elapsed**2
    start, speed = fall_s, gravity * fall_s * restitution
    while start < elapsed[-1]:
        since = elapsed - start
        height = np.where(since >= 0, speed * since - 0.5 * gravity * since**2, height)
        start, speed = start + 2 * speed / gravity, speed * restitution
    x = _path(rng, rng.uniform(0.10, 0.35) * t)
    return _whole(t, x, scene.floor_y - scene.thing.radius - np.maximum(height, 0), scene.thing.angle)


def _free_fall(rng: np.random.Generator, scene: Scene, t: Array) -> Poses:
    """Falls from rest with constant acceleration and stays where it lands."""
    top = rng.uniform(-0.05, 0.15)
    drop = scene.floor_y - scene.thing.radius - top
    fall_s = rng.uniform(0.75, 1.20)
    fallen = np.minimum(drop * (t / fall_s) ** 2, drop)
    return _whole(t, rng.uniform(0.25, 0.75), top + fallen, scene.thing.angle)


def _roll(rng: np.random.Generator, scene: Scene, t: Array) -> Poses:
    """Travels along the floor and turns without slipping."""
    x = _path(rng, rng.uniform(0.40, 0.75) * t)
    turned = (x - x[0]) / scene.thing.radius
    return _whole(t, x, scene.floor_y - scene.thing.radius, scene.thing.angle + turned)


def _slide(rng: np.random.Generator, scene: Scene, t: Array) -> Poses:
    """Travels along the floor without turning, slowed by friction."""
    stop_s, length = rng.uniform(1.0, 1.6), rng.uniform(0.45, 0.75)
    s = np.minimum(t / stop_s, 1)
    return _whole(t, _path(rng, length * s * (2 - s)), scene.floor_y - scene.thing.radius, scene.thing.angle)


def _float(rng: np.random.Generator, scene: Scene, t: Array) -> Poses:
    """Drifts slowly upwards and sways."""
    phase, period_s = rng.uniform(0, 2 * math.pi), rng.uniform(0.9, 1.5)
    sway = np.sin(2 * math.pi * t / period_s + phase)
    x = rng.uniform(0.30, 0.70) + rng.uniform(0.04, 0.09) * sway
    y = rng.uniform(0.50, 0.65) - rng.uniform(0.14, 0.30) * t
    return _whole(t, x, y, scene.thing.angle + rng.uniform(0.10, 0.30) * sway)


def _spin(rng: np.random.Generator, scene: Scene, t: Array) -> Poses:
    """Turns about its own centre."""
    turns_per_s = _sign(rng) * rng.uniform(0.8, 2.0)
    return _whole(t, scene.thing.x, scene.thing.y, scene.thing.angle + 2 * math.pi * turns_per_s * t)


def _swing(rng: np.random.Generator, scene: Scene, t: Array) -> Poses:
    """A pendulum about a pivot near the top; the rod is not drawn, so that a still frame does not give it away."""
    pivot_x, pivot_y, length = rng.uniform(0.40, 0.60), rng.uniform(-0.05, 0.10), rng.uniform(0.38, 0.55)
    period_s, phase, reach = rng.uniform(0.9, 1.5), rng.uniform(0, 2 * math.pi), rng.uniform(0.55, 0.95)
    theta = reach * np.sin(2 * math.pi * t / period_s + phase)
    x, y = pivot_x + length * np.sin(theta), pivot_y + length * np.cos(theta)
    return _whole(t, x, y, scene.thing.angle - theta)


def _squeeze(rng: np.random.Generator, scene: Scene, t: Array, along: float, across: float) -> Poses:
    """Scale along one axis and across it, from 1 to the given factors, about the centre or the lower edge."""
    amount = _ease(t, rng.uniform(0.0, 0.3), rng.uniform(0.6, 1.0))
    long, wide = along**amount, across**amount
    vertical, anchored = rng.random() < 0.7, rng.random() < 0.5
    scale_x, scale_y = (wide, long) if vertical else (long, wide)
    y = scene.thing.y + (scene.thing.radius * (1 - scale_y) if anchored else 0.0)
    return _whole(t, scene.thing.x, y, scene.thing.angle, scale_x, scale_y)


def _compress(rng: np.random.Generator, scene: Scene, t: Array) -> Poses:
    """Is pressed flat and bulges sideways."""
    return _squeeze(rng, scene, t, rng.uniform(0.32, 0.48), rng.uniform(1.25, 1.50))


def _stretch(rng: np.random.Generator, scene: Scene, t: Array) -> Poses:
    """Is drawn out and thins."""
    return _squeeze(rng, scene, t, rng.uniform(1.8, 2.4), rng.uniform(0.65, 0.80))


def _explode(rng: np.random.Generator, scene: Scene, t: Array) -> Poses:
    """Breaks into pieces that fly outwards, turn and fall."""
    pieces = int(rng.integers(6, 10))
    bearing = 2 * math.pi * (np.arange(pieces) + rng.uniform(0, 0.6, pieces)) / pieces
    reach = rng.uniform(0.35, 0.75, pieces)
    sites = np.stack([reach * np.cos(bearing), reach * np.sin(bearing)], axis=1)
    start_s = rng.uniform(0.10, 0.40)
    since = np.maximum(t - start_s, 0)[None]
    speed = (rng.uniform(0.45, 0.90) * (0.7 + 0.6 * rng.random(pieces)))[:, None]
    spin = rng.uniform(-5, 5, pieces)[:, None]
    gravity = rng.uniform(0.2, 0.7)
    heading = (bearing + scene.thing.angle)[:, None]
    slowed = (1 - np.exp(-1.2 * since)) / 1.2
    x = scene.thing.x + speed * np.cos(heading) * slowed
    y = scene.thing.y + speed * np.sin(heading) * slowed + 0.5 * gravity * since**2
    angle = scene.thing.angle + spin * since
    one = np.ones_like(x)
    return Poses(x, y, angle, one, one, sites, t > start_s)


Motion = Callable[[np.random.Generator, Scene, Array], Poses]

MOVES: dict[str, Motion] = {
    "compress": _compress,
    "bounce": _bounce,
    "roll": _roll,
    "explode": _explode,
    "float": _float,
    "free_fall": _free_fall,
    "slide": _slide,
    "spin": _spin,
    "stretch": _stretch,
    "swing": _swing,
    "static": _static,
}


@dataclass(frozen=True)
class Camera:
    """The view of each frame: [T] arrays of the world point at the frame's centre and the zoom factor."""

    x: Array
    y: Array
    zoom: Array


def still_camera(t: Array) -> Camera:
    """The camera of every clip but the camera clips."""
    half = np.full(t.shape, 0.5)
    return Camera(half, half, np.ones(t.shape))


def moving_camera(rng: np.random.Generator, t: Array) -> Camera:
    """Pan in any direction, zoom in or out, or both, at constant rates."""
    kind = int(rng.integers(3))
    bearing = rng.uniform(0, 2 * math.pi)
    pan = rng.uniform(0.15, 0.40) if kind != 1 else 0.0
    rate = _sign(rng) * rng.uniform(0.15, 0.40) if kind != 0 else 0.0
    middle = t - t[-1] / 2
    return Camera(0.5 + pan * math.cos(bearing) * middle, 0.5 + pan * math.sin(bearing) * middle, np.exp(rate * middle))
