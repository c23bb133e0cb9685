"""The pixels of a clip are those that a player shows; each rule has the value that is right."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from motive.data import ClipSpec, DecoderPool, load_clip
from motive.data.video.clip_spec import fit_to
from motive.data.video.encode import encoder_options
from motive.data.video.facts import describe_use
from motive.data.video.picture import read_matrix
from motive.data.video.streams import has_dolby_vision
from tests.data.clipmaker import discs, encode, extent, numbered_frames, numbers_of, patched, write_two_streams

SMALL = ClipSpec(fps=16, frames=5, height=96, width=160)
ANAMORPHIC = Fraction(16, 11)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_pixels_that_are_wider_than_high(tmp_path: Path, suffix: str) -> None:
    """160x96 stored pixels of 16:11 are a picture of 233x96: circles are round and motion has its true length."""
    frames = discs(5, 4.0, aspect=float(ANAMORPHIC))
    path = encode(tmp_path / f"sar{suffix}", frames, aspect=ANAMORPHIC)
    loaded = load_clip(path, ClipSpec(fps=16, frames=5, height=96, width=232))
    assert loaded.sample_aspect == "16:11"
    assert (loaded.source_height, loaded.source_width) == (96, 160)
    found = [extent(frame) for frame in loaded.frames]
    assert found[0][1] / found[0][2] == pytest.approx(1.0, abs=0.04), f"the disc is {found[0][1]} x {found[0][2]}"
    moved = (found[4][0] - found[0][0]) / 4
    assert moved == pytest.approx(4 * 16 / 11, rel=0.02), f"{moved:.2f} px a frame, 5.82 are right"


def test_pixels_that_are_wider_than_high_fill_the_size_of_the_spec(tmp_path: Path) -> None:
    """At 160x96 the picture is scaled to cover: its height fits, and its sides are cropped."""
    path = encode(tmp_path / "sar.mp4", discs(5, 4.0, aspect=float(ANAMORPHIC)), aspect=ANAMORPHIC)
    fit = fit_to(SMALL, 96, 160, float(ANAMORPHIC))
    assert (fit.height, fit.keep_height) == (96, 96)
    assert fit.width / fit.keep_width == pytest.approx(16 / 11, rel=0.01)
    assert load_clip(path, SMALL).frames.shape == (5, 96, 160, 3)


@pytest.mark.parametrize("ratio", [Fraction(200, 1), Fraction(1, 200), Fraction(0, 1), None])
def test_ratios_that_are_not_believable_count_as_square(tmp_path: Path, ratio: Fraction | None) -> None:
    """The limit is 4:1; a container may hold any ratio."""
    frames = discs(5, 4.0)
    plain = encode(tmp_path / "plain.mov", frames, codec="qtrle", pixel_format="rgb24")  # its frames have no ratio
    stated = encode(tmp_path / "stated.mov", frames, codec="qtrle", pixel_format="rgb24", aspect=ANAMORPHIC)
    path = plain if ratio is None else _with_ratio(stated, tmp_path / "ratio.mov", ratio)
    loaded = load_clip(path, SMALL)
    assert loaded.sample_aspect == "1:1"
    assert np.array_equal(loaded.frames, load_clip(plain, SMALL).frames)
    doubted = bool(ratio)
    assert [kind for kind, _ in loaded.notes] == (["aspect"] if doubted else [])


def _with_ratio(source: Path, target: Path, ratio: Fraction) -> Path:
    """The same packets in a file whose ``pasp`` box states a ratio."""
    numbers = ratio.numerator.to_bytes(4, "big") + ratio.denominator.to_bytes(4, "big")
    return patched(source, target, b"pasp", 0, numbers)


def test_a_turned_picture_turns_its_pixels(tmp_path: Path) -> None:
    upright = discs(5, 0.0, height=96, width=160, aspect=11 / 16)
    stored = np.ascontiguousarray(np.rot90(upright, -1, axes=(1, 2)))
    path = encode(tmp_path / "turned.mp4", stored, aspect=ANAMORPHIC, rotate=90.0)
    loaded = load_clip(path, ClipSpec(fps=16, frames=5, height=140, width=160))
    assert loaded.sample_aspect == "11:16"
    _, width, height = extent(loaded.frames[0])
    assert width / height == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("degrees", "mirror"), [(0.0, True), (90.0, True), (180.0, True), (270.0, True), (90.0, False)]
)
def test_mirrored_and_turned_frames_are_shown_as_players_do(tmp_path: Path, degrees: float, mirror: bool) -> None:
    """Both the turn and the mirror of the display matrix; a mirror alone is not half a turn."""
    stored = np.zeros((5, 48, 96, 3), dtype=np.uint8)
    stored[:, :16, :24] = 255
    path = encode(tmp_path / "m.mp4", stored, rotate=degrees, mirror=mirror)
    turned = np.rot90(stored, round(degrees / 90), axes=(1, 2))
    expected = turned[:, :, ::-1] if mirror else turned
    height, width = expected.shape[1:3]
    loaded = load_clip(path, ClipSpec(fps=16, frames=5, height=height, width=width))
    assert np.abs(loaded.frames.astype(int) - expected).mean() < 4, f"{degrees} degrees, mirrored: {mirror}"


def test_other_angles_are_left_and_noted(tmp_path: Path) -> None:
    path = encode(tmp_path / "tilted.mp4", numbered_frames(5), rotate=30.0)
    loaded = load_clip(path, ClipSpec(fps=16, frames=5, height=48, width=96))
    assert numbers_of(loaded.frames) == list(range(5))
    assert [kind for kind, _ in loaded.notes] == ["rotation"]
    assert read_matrix(b"short", 0.0).size(2, 3) == (2, 3)


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_stream_is_decoded(tmp_path: Path, default: int) -> None:
    still, moving = np.full((9, 48, 96, 3), 120, np.uint8), numbered_frames(9)
    path = write_two_streams(tmp_path / "two.mp4", still, moving, default)
    loaded = load_clip(path, ClipSpec(fps=16, frames=9, height=48, width=96))
    assert loaded.source_stream == default
    assert loaded.notes == (("streams", f"two.mp4 has the video streams 0, 1; took {default}, its default"),)
    if default == 1:
        assert numbers_of(loaded.frames) == list(range(9))
    else:
        assert loaded.frames.std() < 3


def test_without_a_default_stream_the_best_one_is_decoded(tmp_path: Path) -> None:
    """MPEG-TS states no default."""
    still, moving = np.full((9, 48, 96, 3), 120, np.uint8), numbered_frames(9)
    path = write_two_streams(tmp_path / "two.ts", still, moving, None)
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        assert stream is not None
        best = stream.index
    loaded = load_clip(path, ClipSpec(fps=16, frames=9, height=48, width=96))
    assert loaded.source_stream == best
    ((kind, text),) = loaded.notes
    assert kind == "streams"
    assert text.endswith(f"took {best}, the one that FFmpeg calls best")


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("vp9.webm", "libvpx-vp9", "yuva420p"),
        ("prores.mov", "prores_ks", "yuva444p10le"),
        ("animation.mov", "qtrle", "argb"),
    ],
)
def test_transparent_pixels_are_composited_on_black(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    """White at opacity 255, 128 and 0 is 255, 128 and 0."""
    frames = np.full((5, 96, 96, 4), 255, np.uint8)
    frames[:, :, 32:64, 3], frames[:, :, 64:, 3] = 128, 0
    path = encode(tmp_path / name, frames, codec=codec, pixel_format=pixel_format)
    loaded = load_clip(path, ClipSpec(fps=16, frames=5, height=96, width=96))
    assert loaded.alpha
    assert [kind for kind, _ in loaded.notes] == ["alpha"]
    columns = loaded.frames[2, 48, [16, 48, 80]].astype(int)
    assert np.abs(columns - [[255] * 3, [128] * 3, [0] * 3]).max() <= 6, columns.tolist()


def test_opaque_pixels_of_a_format_with_alpha_are_not_alpha(tmp_path: Path) -> None:
    opaque = np.full((5, 48, 96, 4), 255, np.uint8)
    opaque[..., :3] = numbered_frames(5)
    path = encode(tmp_path / "opaque.mov", opaque, codec="qtrle", pixel_format="argb")
    loaded = load_clip(path, ClipSpec(fps=16, frames=5, height=48, width=96))
    assert np.array_equal(loaded.frames, numbered_frames(5))
    assert not loaded.alpha
    assert not loaded.notes


@pytest.mark.parametrize(("transfer", "name"), [(16, "pq"), (18, "hlg"), (1, "")])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_hdr_is_flagged(tmp_path: Path, transfer: int, name: str, suffix: str) -> None:
    colour = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9}
    path = encode(tmp_path / f"hdr{suffix}", numbered_frames(5), colour=colour)
    loaded = load_clip(path, ClipSpec(fps=16, frames=5, height=48, width=96))
    assert loaded.hdr == name
    assert [kind for kind, _ in loaded.notes] == (["hdr"] if name else [])
    assert numbers_of(loaded.frames) == list(range(5))


@pytest.mark.parametrize(
    ("space", "scale", "right"),
    [
        (1, 1, (250, 91, 41)),  # BT.709, limited
        (1, 2, (233, 93, 49)),  # BT.709, full
        (6, 1, (236, 77, 44)),  # BT.601, limited
        (2, 0, (236, 77, 44)),  # nothing stated: BT.601, limited
        (9, 1, (242, 81, 40)),  # BT.2020, limited
    ],
)
def test_the_stated_colour_matrix_and_range_are_used(
    tmp_path: Path, space: int, scale: int, right: tuple[int, int, int]
) -> None:
    """Y 120, Cb 90, Cr 200 by each matrix and range, from their definitions."""
    path = tmp_path / "colour.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=16, options=encoder_options("ffv1"))
        stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = space, scale
        for _ in range(5):
            frame = av.VideoFrame(96, 48, "yuv444p")
            for plane, value in zip(frame.planes, (120, 90, 200), strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    loaded = load_clip(path, ClipSpec(fps=16, frames=5, height=48, width=96))
    assert np.abs(loaded.frames[2, 20, 40].astype(int) - right).max() <= 1, loaded.frames[2, 20, 40]


def test_a_change_of_frame_size_is_noted(tmp_path: Path) -> None:
    parts = [
        encode(tmp_path / f"{number}.ts", numbered_frames(8, *size), options={"bf": "0"})
        for number, size in enumerate([(48, 96), (96, 192)])
    ]
    path = tmp_path / "sizes.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    loaded = load_clip(path, ClipSpec(fps=16, frames=13, height=48, width=96))
    assert "frame_size" in [kind for kind, _ in loaded.notes], loaded.notes
    assert numbers_of(loaded.frames)[:8] == list(range(8))
    assert numbers_of(loaded.frames)[8:] == list(range(5))


def test_the_record_says_which_frames_were_used(tmp_path: Path) -> None:
    """113 of 240 frames at 29.97 fps make 61 frames at 16 fps."""
    stamps = [index * 1001 for index in range(240)]
    path = encode(tmp_path / "ntsc.mp4", numbered_frames(240), fps=30, stamps=stamps, ticks=30000)
    loaded = load_clip(path, ClipSpec(fps=16, frames=61, height=48, width=96))
    assert (loaded.used_first, loaded.used_last, loaded.source_frames) == (0, 112, 240)
    assert (loaded.used_start_s, loaded.used_end_s) == (0.0, pytest.approx(113 * 1001 / 30000, abs=1e-3))
    line = describe_use(loaded.source_facts(), 16)
    assert line == "frames 0-112 of 240 at 29.97 fps, 3.77 s, resampled to 16 fps; 96x48 px; stream 0"
    centre = load_clip(path, ClipSpec(fps=16, frames=61, height=48, width=96, start="centre"))
    assert (centre.used_first, centre.used_last) == (62, 175)
    assert "from 2.07 s" in describe_use(centre.columns(), 16)
    assert describe_use({"source_fps": 8.0}, 16) == ""


@pytest.mark.parametrize("short", ["hold", "loop"])
def test_the_record_of_a_short_clip(tmp_path: Path, short: str) -> None:
    path = encode(tmp_path / "short.mp4", numbered_frames(6))
    spec = replace(ClipSpec(fps=16, frames=9, height=48, width=96), short=short)
    loaded = load_clip(path, spec)
    assert (loaded.used_first, loaded.used_last, loaded.source_frames) == (0, 5, 6)
    assert loaded.used_end_s == pytest.approx(6 / 16)


def test_a_decoder_in_another_process_tells_the_same(tmp_path: Path) -> None:
    path = encode(tmp_path / "sar.mp4", discs(5, 4.0), aspect=ANAMORPHIC, colour={"color_trc": 16})
    here = load_clip(path, SMALL)
    with DecoderPool(SMALL) as pool:
        there = pool.load_clip(path)
    assert there.source_facts() == here.source_facts()
    assert there.notes == here.notes != ()
    assert np.array_equal(there.frames, here.frames)


def test_dolby_vision_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No encoder here writes its metadata, so a frame that has some stands in."""
    kinds = av.sidedata.sidedata.Type
    frame = SimpleNamespace(side_data=[SimpleNamespace(type=kinds.A53_CC), SimpleNamespace(type=kinds.DOVI_METADATA)])
    assert has_dolby_vision(frame)
    assert not has_dolby_vision(SimpleNamespace(side_data=frame.side_data[:1]))
    path = encode(tmp_path / "clip.mp4", numbered_frames(5))
    assert not load_clip(path, ClipSpec(fps=16, frames=5, height=48, width=96)).notes
    monkeypatch.setattr("motive.data.video.video.has_dolby_vision", lambda _: True)
    assert [kind for kind, _ in load_clip(path, ClipSpec(fps=16, frames=5, height=48, width=96)).notes] == [
        "dolby_vision"
    ]
