"""Films: sizes, time, what the overlay keeps, and the way from real video files."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive.config import to_json
from motive.data import ClipReader, ClipSpec, write_video
from motive.errors import ClipError
from motive.masks import MaskConfig
from motive.reporting import report
from motive.reporting.config import ReportConfig
from motive.reporting.media import Recipe, clip_media, fit_height, latent_frame_of, motion_overlay
from motive.store import Store
from tests.reporting.markup import Markup
from tests.reporting.world import World, make_world


@given(st.integers(2, 30), st.integers(1, 8))
def test_latent_frames_own_causal_groups(latents: int, group: int) -> None:
    owner = latent_frame_of(group * (latents - 1) + 1, latents)
    assert owner[0] == 0
    for j in range(1, latents):
        assert (owner[group * (j - 1) + 1 : group * j + 1] == j).all(), f"latent frame {j} of {latents}, group {group}"


def test_one_latent_frame_owns_all() -> None:
    assert not latent_frame_of(5, 1).any()


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (64, 64, (192, 192)),  # three whole steps
        (96, 128, (192, 256)),
        (130, 77, (160, 94)),  # no whole step fits below 240
        (161, 201, (160, 200)),  # odd sides
        (200, 300, (200, 300)),
        (480, 832, (240, 416)),
        (2160, 33, (240, 4)),
    ],
)
def test_films_have_even_sides_and_a_readable_height(height: int, width: int, expected: tuple[int, int]) -> None:
    frames = np.zeros((2, height, width, 3), np.uint8)
    assert fit_height(frames, 160, 240).shape == (2, *expected, 3)


def test_small_clips_are_enlarged_without_new_colours() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 48, 3), np.uint8)
    np.testing.assert_array_equal(fit_height(frames, 160, 240)[:, ::3, ::3], frames)


def test_overlay_fades_still_areas_and_keeps_moving_ones() -> None:
    frames = np.zeros((5, 32, 64, 3), np.uint8)
    frames[..., 2] = 220  # a saturated ground
    frames[:, :, 32:] = (30, 200, 30)
    weights = np.zeros((2, 4, 8), np.float32)
    weights[1, :, 4:] = 0.5  # the clip's largest weight counts as full
    shown = motion_overlay(frames, weights).astype(int)
    chroma = shown.max(axis=-1) - shown.min(axis=-1)
    assert chroma[:, :, :24].max() <= 2, "still areas must be grey"
    assert chroma[0].max() <= 2, "frame 0 belongs to latent frame 0, in which nothing moves"
    assert chroma[1:, :, 44:].min() > 80, "moving areas must keep their colour"
    assert (shown[1:, :, 44:, 0] > frames[1:, :, 44:, 0]).all(), "moving areas must turn warm"


def test_overlay_of_a_clip_without_motion_is_grey_all_over() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    shown = motion_overlay(frames, np.zeros((2, 2, 2), np.float32)).astype(int)
    assert (shown.max(axis=-1) - shown.min(axis=-1)).max() <= 1


def test_films_hold_the_standard_frames_at_their_rate(world: World, tmp_path: Path) -> None:
    world.build(tmp_path / "out", ReportConfig(top=1, bottom=0), enlarge=True)
    for path in (tmp_path / "out" / "media").iterdir():
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert stream.average_rate == 16
        assert len(frames) == 9
        assert frames[0].shape == (192, 256, 3)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index must come first, or the film starts late"


def test_from_real_files(tmp_path: Path) -> None:
    clip_spec = to_json(ClipSpec(fps=12.0, frames=9, height=48, width=64))
    identity = {"clip_spec": clip_spec, "mask": to_json(MaskConfig()), "latent_shape": [16, 3, 6, 8]}
    world = make_world(tmp_path, clips=4, queries=1, gradient=identity)
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 120, (48, 64, 3), np.uint8)
    for role, count in (("clips", 4), ("queries", 1)):
        folder = tmp_path / "videos" / role
        folder.mkdir(parents=True)
        for n in range(count):
            frames = np.repeat(ground[None], 24, axis=0)
            for t in range(24):
                frames[t, 20:32, 2 * t : 2 * t + 12] = 250
            write_video(folder / f"{n}.mp4", frames, 24.0)
    (tmp_path / "videos" / "clips" / "3.mp4").unlink()
    done = report(world.scores, tmp_path / "out", ReportConfig(workers=1))
    assert Path(done) == tmp_path / "out" / "index.html"
    assert done.lines() == [str(tmp_path / "out" / "index.html"), "1 of 1 queries shown"]
    assert done.to_json() == {"path": str(done.path), "clips": 4, "queries": 1, "shown": 1}
    page = Markup.of(Path(done).read_text("utf-8"))
    assert page.text.count("No film") == 1, "one clip is gone"
    assert len(list((tmp_path / "out" / "media").iterdir())) == 8
    recipe = Recipe.of(Store.open(world.folder / "clips").identity.require("test"))
    with ClipReader() as decoders:
        clip = clip_media(tmp_path / "videos" / "clips" / "0.mp4", recipe, decoders)
    assert clip.frames.shape == (9, 48, 64, 3)
    moving = clip.weights[1:, 2:4].mean()
    assert moving > 4 * clip.weights[1:, 4:].mean(), "the mask must follow the square"


def test_a_missing_file_is_a_clip_error(tmp_path: Path) -> None:
    with ClipReader() as decoders:
        for path in (tmp_path / "absent.mp4", Path("https://example.com/clip.mp4")):
            with pytest.raises(ClipError, match="missing_file"):
                clip_media(path, Recipe(ClipSpec(), {}, (1, 1, 1)), decoders)
