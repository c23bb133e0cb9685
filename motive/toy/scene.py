"""Appearance of procedural clips: shapes, textures, backgrounds and captions, drawn without regard to its motion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

SHAPES = ("disc", "square", "triangle", "diamond", "pentagon", "hexagon", "star", "ring", "cross", "oval")
TEXTURES = ("striped", "checked", "two-tone", "dotted", "shaded")
BACKDROPS = ("plain", "graded", "mottled", "lined", "tiled")
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.15, 0.15),
    "orange": (0.95, 0.55, 0.10),
    "yellow": (0.95, 0.88, 0.20),
    "green": (0.20, 0.65, 0.25),
    "teal": (0.10, 0.60, 0.60),
    "blue": (0.15, 0.35, 0.85),
    "purple": (0.50, 0.25, 0.70),
    "pink": (0.95, 0.55, 0.70),
    "brown": (0.50, 0.32, 0.18),
    "white": (0.95, 0.95, 0.95),
    "grey": (0.55, 0.55, 0.55),
    "black": (0.10, 0.10, 0.10),
}
LIGHTS = {"dim": 0.72, "soft": 0.88, "bright": 1.0}


@dataclass(frozen=True)
class Thing:
    """A textured shape.

    Attributes:
        shape, texture: one of SHAPES, TEXTURES.
        first, second: the texture's two colours, RGB in [0, 1].
        first_name, second_name: their names for the caption.
        radius: circumscribed radius as a share of the frame's side.
        x, y: centre when nothing moves, as shares of the frame's side, y down.
        angle: orientation when nothing moves, radians.
    """

    shape: str
    texture: str
    first: Array
    second: Array
    first_name: str
    second_name: str
    radius: float
    x: float
    y: float
    angle: float


@dataclass(frozen=True)
class Scene:
    """One clip's appearance: the thing that may move, still things behind it, wall, floor and light.

    Attributes:
        thing: the thing in the foreground.
        others: small things that never move.
        backdrop: one of BACKDROPS.
        wall: two colours of the wall, floor: colour of the floor, RGB in [0, 1].
        wall_name, floor_name: their names for the caption.
        floor_y: height of the floor's edge as a share of the frame's side, y down.
        waves: [m, 4] frequency x, frequency y (radians per side), phase and weight of the wall's pattern.
        light, light_name: brightness factor and its name.
    """

    thing: Thing
    others: tuple[Thing, ...]
    backdrop: str
    wall: tuple[Array, Array]
    floor: Array
    wall_name: str
    floor_name: str
    floor_y: float
    waves: Array
    light: float
    light_name: str

    def caption(self) -> str:
        """Appearance and setting in words; by construction it knows nothing of the motion."""
        thing = self.thing
        text = (
            f"a {thing.first_name} and {thing.second_name} {thing.texture} {thing.shape} "
            f"before a {self.backdrop} {self.wall_name} wall above a {self.floor_name} floor in {self.light_name} light"
        )
        if self.others:
            text += ", with " + " and ".join(f"a small {o.first_name} {o.shape}" for o in self.others)
        return text


def _pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]


def _colour(rng: np.random.Generator, avoid: Sequence[str] = ()) -> tuple[str, Array]:
    """A named colour and a jittered value of it."""
    name = _pick(rng, [n for n in COLOURS if n not in avoid])
    value = np.asarray(COLOURS[name]) + 0.10 * (rng.random(3) - 0.5)
    return name, np.clip(value, 0, 1).astype(np.float32)


def _thing(rng: np.random.Generator, radius: tuple[float, float], avoid: Sequence[str]) -> Thing:
    first_name, first = _colour(rng, avoid)
    second_name, second = _colour(rng, (*avoid, first_name))
    return Thing(
        shape=_pick(rng, SHAPES),
        texture=_pick(rng, TEXTURES),
        first=first,
        second=second,
        first_name=first_name,
        second_name=second_name,
        radius=float(rng.uniform(*radius)),
        x=float(rng.uniform(0.25, 0.75)),
        y=float(rng.uniform(0.25, 0.65)),
        angle=float(rng.uniform(0, 2 * math.pi)),
    )


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw an appearance; the same distribution whatever the motion will be."""
    wall_name, wall_first = _colour(rng)
    wall_second = np.clip(wall_first * rng.uniform(0.55, 0.85) + rng.uniform(0, 0.1, 3), 0, 1).astype(np.float32)
    floor_name, floor = _colour(rng, (wall_name,))
    frequency = rng.uniform(3, 14, 6) * 2
    direction = rng.uniform(0, 2 * math.pi, 6)
    waves = np.stack(
        [frequency * np.cos(direction), frequency * np.sin(direction), rng.uniform(0, 2 * math.pi, 6), 4 / frequency],
        axis=1,
    )
    light_name = _pick(rng, tuple(LIGHTS))
    backdrop = _pick(rng, BACKDROPS)
    thing = _thing(rng, (0.13, 0.19), (wall_name, floor_name))
    others = tuple(_thing(rng, (0.04, 0.07), (wall_name,)) for _ in range(int(rng.integers(0, 3))))
    return Scene(
        thing=thing,
        others=others,
        backdrop=backdrop,
        wall=(wall_first, wall_second),
        floor=floor,
        wall_name=wall_name,
        floor_name=floor_name,
        floor_y=float(rng.uniform(0.80, 0.90)),
        waves=waves.astype(np.float32),
        light=LIGHTS[light_name],
        light_name=light_name,
    )


def _polygon(u: Array, v: Array, corners: int) -> Array:
    """Distance from the boundary of a regular polygon, circumradius 1; negative inside."""
    sector = 2 * math.pi / corners
    folded = np.mod(np.arctan2(v, u), sector) - sector / 2
    return np.hypot(u, v) * np.cos(folded) - math.cos(sector / 2)


def _star(u: Array, v: Array) -> Array:
    sector = 2 * math.pi / 5
    folded = np.abs(np.mod(np.arctan2(v, u), sector) - sector / 2) / (sector / 2)
    return np.hypot(u, v) - (0.45 + 0.55 * folded)


def shape_distance(shape: str, u: Array, v: Array) -> Array:
    """About the distance from the shape's boundary in its own coordinates (radius 1); negative inside."""
    if shape == "disc":
        return np.hypot(u, v) - 0.9
    if shape == "ring":
        return np.abs(np.hypot(u, v) - 0.65) - 0.28
    if shape == "oval":
        return (np.hypot(u, v / 0.62) - 1) * 0.62
    if shape == "cross":
        across, along = np.minimum(np.abs(u), np.abs(v)), np.maximum(np.abs(u), np.abs(v))
        return np.maximum(across - 0.34, along - 0.92)
    if shape == "diamond":
        return (np.abs(u) + np.abs(v) / 0.7 - 1) * 0.57
    if shape == "star":
        return _star(u, v) * 0.6
    return _polygon(u, v, {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6}[shape])


def texture_share(texture: str, u: Array, v: Array) -> Array:
    """Share of the first colour in [0, 1]; no texture is symmetric under rotation, so that turning shows."""
    sharp = 8.0
    if texture == "striped":
        value = np.sin(7.0 * u + 0.6)
    elif texture == "checked":
        value = np.sin(5.0 * u + 0.5) * np.sin(5.0 * v + 0.5) * 2
    elif texture == "two-tone":
        value = u + 0.1
    elif texture == "dotted":
        value = np.cos(6.0 * u) + np.cos(6.0 * v + 1.0) - 0.6 + 0.8 * u
    else:
        value, sharp = 1.1 * u + 0.3 * v, 1.0
    return np.clip(0.5 + 0.5 * sharp * value, 0, 1)


def backdrop_colour(scene: Scene, x: Array, y: Array, softness: float) -> Array:
    """Colour [..., 3] of wall and floor at world coordinates x, y (shares of the frame's side)."""
    waves = scene.waves
    if scene.backdrop == "plain":
        share = np.zeros_like(x)
    elif scene.backdrop == "graded":
        share = np.clip(0.5 + 0.6 * ((x - 0.5) * np.cos(waves[0, 2]) + (y - 0.5) * np.sin(waves[0, 2])), 0, 1)
    elif scene.backdrop == "mottled":
        total = sum(w * np.sin(fx * x + fy * y + phase) for fx, fy, phase, w in waves)
        share = np.clip(0.5 + 0.5 * np.asarray(total), 0, 1)
    elif scene.backdrop == "lined":
        share = np.clip(0.5 + 2 * np.sin(waves[0, 0] * 1.5 * x + waves[0, 1] * 1.5 * y + waves[0, 2]), 0, 1)
    else:
        pitch = 9 + 0.6 * float(np.abs(waves[1, 0]))
        share = np.clip(0.5 + 3 * np.sin(pitch * x + waves[0, 2]) * np.sin(pitch * y + waves[1, 2]), 0, 1)
    colour = scene.wall[0] + share[..., None] * (scene.wall[1] - scene.wall[0])
    on_floor = np.clip(0.5 + (y - scene.floor_y) / softness, 0, 1)[..., None]
    return (colour + on_floor * (scene.floor - colour)).astype(np.float32)
