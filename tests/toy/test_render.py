"""Procedural clips: repeatable, physically what they are called, and silent about it in looks and words."""

from __future__ import annotations

import re

import numpy as np
import pytest

from motive.errors import OptionError
from motive.toy.motions import MOVES, Poses
from motive.toy.render import CONTROLS, FRAMES, MOTIONS, SIZE, render_clip
from motive.toy.scene import Scene, sample_scene

T = np.arange(240) / 160  # 1.5 seconds, finely

# Words that name a motion or give one away.
TELLING = [
    "compress",
    "press",
    "squeeze",
    "squash",
    "flat",
    "bounce",
    "rebound",
    "jump",
    "roll",
    "explode",
    "burst",
    "blast",
    "fragment",
    "float",
    "drift",
    "rise",
    "rising",
    "fall",
    "drop",
    "slide",
    "skid",
    "spin",
    "turn",
    "rotate",
    "whirl",
    "stretch",
    "elongate",
    "swing",
    "pendulum",
    "sway",
    "hang",
    "static",
    "still",
    "camera",
    "pan",
    "zoom",
    "shuffle",
    "random",
    "order",
    "move",
    "motion",
    "moving",
    "fast",
    "slow",
    "quick",
    "speed",
    "ball",
    "wheel",
    "balloon",
    "spring",
    "rope",
    "frame",
    "time",
]


def poses(motion: str, seed: int) -> tuple[Scene, Poses]:
    scene = sample_scene(np.random.default_rng([seed, 0]))
    return scene, MOVES[motion](np.random.default_rng([seed, 1]), scene, T)


@pytest.mark.parametrize("motion", MOTIONS + CONTROLS)
def test_a_clip_repeats_and_its_seed_matters(motion: str) -> None:
    first, again, other = render_clip(motion, 5), render_clip(motion, 5), render_clip(motion, 6)
    assert first.frames.shape == (FRAMES, SIZE, SIZE, 3)
    assert first.frames.dtype == np.uint8
    assert np.array_equal(first.frames, again.frames)
    assert first.caption == again.caption
    assert not np.array_equal(first.frames, other.frames)


@pytest.mark.parametrize("motion", MOTIONS + CONTROLS)
def test_only_static_clips_stand_still(motion: str) -> None:
    for seed in range(3):
        frames = render_clip(motion, seed, frames=17, fps=12).frames.astype(int)
        change = np.abs(np.diff(frames, axis=0)).mean()
        assert (change == 0) == (motion == "static"), f"seed {seed}: mean change {change}"


def test_captions_know_nothing_of_the_motion() -> None:
    for seed in range(40):
        captions = {render_clip(m, seed, size=16, frames=1).caption for m in MOTIONS + CONTROLS}
        assert len(captions) == 1, f"the caption depends on the motion: {captions}"
        words = set(re.findall(r"[a-z]+", captions.pop()))
        assert not words & set(TELLING), f"telling words {words & set(TELLING)}"


def test_the_first_frame_of_what_starts_at_rest_is_the_same_picture() -> None:
    for seed in range(5):
        still = render_clip("static", seed, frames=1).frames
        for motion in ("compress", "stretch", "spin", "explode"):
            assert np.array_equal(render_clip(motion, seed, frames=1).frames, still), f"{motion}, seed {seed}"


def test_the_size_changes_only_the_sampling() -> None:
    for motion in ("swing", "explode", "camera"):
        large = render_clip(motion, 3, size=128, frames=9).frames.astype(float)
        small = render_clip(motion, 3, size=64, frames=9).frames.astype(float)
        pooled = large.reshape(9, 64, 2, 64, 2, 3).mean((2, 4))
        assert np.abs(pooled - small).mean() < 3, f"{motion}: {np.abs(pooled - small).mean():.2f} grey levels"


def test_the_rate_changes_only_the_sampling() -> None:
    slow, fast = render_clip("bounce", 4, frames=17, fps=12).frames, render_clip("bounce", 4, frames=33, fps=24).frames
    change = np.abs(fast[::2].astype(int) - slow).mean()
    assert change < 8, f"{change:.2f}; offsets depend on the duration drawn, speeds must not"


@pytest.mark.parametrize("seed", range(8))
def test_bouncing_loses_height_and_stays_above_the_floor(seed: int) -> None:
    scene, p = poses("bounce", seed)
    height = scene.floor_y - scene.thing.radius - p.y[0]
    assert height.min() > -1e-9
    tops = [height[i] for i in range(1, len(T) - 1) if height[i - 1] < height[i] >= height[i + 1]]
    contacts = [i for i in range(1, len(T) - 1) if height[i - 1] > height[i] <= height[i + 1]]
    assert len(contacts) >= 2, "a bounce needs contacts"
    assert all(b < a for a, b in zip(tops, tops[1:], strict=False)), f"apexes {tops}"


@pytest.mark.parametrize("seed", range(8))
def test_free_fall_accelerates_evenly_until_it_lands(seed: int) -> None:
    scene, p = poses("free_fall", seed)
    floor = scene.floor_y - scene.thing.radius
    falling = p.y[0] < floor - 1e-9
    acceleration = np.diff(p.y[0][falling], 2)
    np.testing.assert_allclose(acceleration, acceleration[0], rtol=1e-6)
    assert acceleration[0] > 0
    assert np.ptp(p.x[0]) == 0 == np.ptp(p.angle[0])


@pytest.mark.parametrize("seed", range(8))
def test_rolling_does_not_slip_and_sliding_does_not_turn(seed: int) -> None:
    scene, rolled = poses("roll", seed)
    turned = rolled.angle[0] - rolled.angle[0, 0]
    np.testing.assert_allclose(turned * scene.thing.radius, rolled.x[0] - rolled.x[0, 0], atol=1e-12)
    _, slid = poses("slide", seed)
    speed = np.abs(np.diff(slid.x[0]))
    assert np.ptp(slid.angle[0]) == 0
    assert (np.diff(speed) <= 1e-12).all(), "friction must slow it"
    for p in (rolled, slid):
        np.testing.assert_allclose(p.y[0], scene.floor_y - scene.thing.radius)
        assert np.ptp(p.x[0]) > 0.3


@pytest.mark.parametrize("seed", range(8))
def test_spinning_turns_evenly_in_place(seed: int) -> None:
    _, p = poses("spin", seed)
    assert np.ptp(p.x[0]) == 0 == np.ptp(p.y[0])
    np.testing.assert_allclose(np.diff(p.angle[0], 2), 0, atol=1e-9)
    assert abs(p.angle[0, -1] - p.angle[0, 0]) > 2 * np.pi


@pytest.mark.parametrize("seed", range(8))
def test_swinging_is_an_arc_about_one_point(seed: int) -> None:
    _, p = poses("swing", seed)
    x, y = p.x[0], p.y[0]
    design = np.stack([2 * x, 2 * y, np.ones_like(x)], axis=1)
    (cx, cy, rest), *_ = np.linalg.lstsq(design, x**2 + y**2, rcond=None)
    length = np.hypot(x - cx, y - cy)
    assert np.ptp(length) < 1e-6 < length[0]
    assert cy < y.min(), "the pivot must be above"
    assert np.sqrt(rest + cx**2 + cy**2) > 0.3


@pytest.mark.parametrize("seed", range(8))
def test_compressing_shortens_and_stretching_lengthens_one_axis(seed: int) -> None:
    for motion, shortens in (("compress", True), ("stretch", False)):
        _, p = poses(motion, seed)
        start, end = (np.array([p.scale_x[0, i], p.scale_y[0, i]]) for i in (0, -1))
        np.testing.assert_allclose(start, 1)
        main = end.min() if shortens else end.max()
        assert (main < 0.5) if shortens else (main > 1.7)
        other = end.max() if shortens else end.min()
        assert (other > 1.2) if shortens else (other < 0.85)


@pytest.mark.parametrize("seed", range(8))
def test_exploding_pieces_fly_apart_and_cover_the_whole_before(seed: int) -> None:
    scene, p = poses("explode", seed)
    assert len(p.sites) == len(p.x) >= 6
    assert not p.apart[0]
    assert p.apart[-1]
    spread = np.hypot(p.x - p.x.mean(0), p.y - p.y.mean(0)).mean(0)
    assert spread[0] == pytest.approx(0, abs=1e-9)
    assert spread[-1] > 0.2
    np.testing.assert_allclose(p.x[:, 0], scene.thing.x)


def test_floating_rises_and_sways() -> None:
    for seed in range(8):
        _, p = poses("float", seed)
        assert p.y[0, -1] < p.y[0, 0] - 0.15
        assert (np.diff(p.y[0]) < 0).all()
        assert np.ptp(p.x[0]) > 0.05


def test_a_shuffled_clip_has_the_frames_of_a_smooth_one_out_of_order() -> None:
    """Each frame has a near twin, but the twin is seldom its neighbour."""
    for seed in range(4):
        frames = render_clip("shuffled", seed, size=32).frames.astype(float).reshape(FRAMES, -1)
        distance = np.abs(frames[:, None] - frames[None]).mean(2)
        following = np.diagonal(distance, 1).mean()
        np.fill_diagonal(distance, np.inf)
        assert distance.min(1).mean() < 0.5 * following, f"seed {seed} looks ordered"


def test_a_camera_clip_moves_the_background_too() -> None:
    for seed in range(4):
        frames = render_clip("camera", seed).frames.astype(int)
        floor = frames[:, -8:]
        assert np.ptp(frames.mean((1, 2, 3))) > 0
        assert floor.shape[1] == 8
        moved = np.abs(frames[-1] - frames[0]).max(-1) > 4
        assert moved.any(1).mean() > 0.05, f"seed {seed}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"motion": "dance", "seed": 0}, "motion must be one of compress"),
        ({"motion": "spin", "seed": -1}, "seed must be at least"),
        ({"motion": "spin", "seed": 0, "size": 8}, "size, frames and seed"),
        ({"motion": "spin", "seed": 0, "frames": 0}, "size, frames and seed"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        render_clip(**arguments)
