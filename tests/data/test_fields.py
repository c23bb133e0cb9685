"""Interlaced clips become progressive ones in the right order of fields, and no progressive clip changes by a bit."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from motive.data import ClipSpec, DecodeLimits, load_clip
from motive.data.video.combing import COMBED, combing, first_field, thinned
from motive.data.video.fields import measure_order
from motive.data.video.picture import EXACT_BILINEAR
from motive.errors import ClipError, OptionError
from tests.data.clipmaker import discs, encode, numbered_frames, woven

STEP = 3.0
"""Pixels that the disc moves in a field; twice that in a frame."""
SPEC = ClipSpec(fps=16, frames=12, height=96, width=160)
FLAGGED = "+ilme+ildct"


def textured(count: int, step: float = STEP, *, size: tuple[int, int] = (96, 160)) -> np.ndarray:
    """[count, H, W, 3]: a moving disc before a still background of vertical and horizontal detail."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    background = 40 + 20 * np.sin(x / 3) + 15 * np.sin(y / 2.5)
    moving = discs(count, step, height=height, width=width)[..., 0]
    frames = np.where(moving > 64, moving, background[None])
    return np.repeat(frames.astype(np.uint8)[..., None], 3, axis=-1)


def interlaced(path: Path, frames: np.ndarray, stated: str, codec: str = "libx264") -> Path:
    """Write frames flagged interlaced; ``stated`` is ``tff`` or ``bff``, whatever they are."""
    options = {"flags": FLAGGED, "crf": "8"}
    options |= {"x264-params": f"{stated}=1"} if codec == "libx264" else {"b:v": "4M"}
    return encode(path, frames, codec=codec, options=options)


def luma_pairs(frames: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    planes = [thinned(frame[..., 1]) for frame in frames]
    return list(zip(planes, planes[1:], strict=False))


@pytest.mark.parametrize("top_first", [True, False])
@pytest.mark.parametrize("stated", ["tff", "bff"])
def test_the_order_of_fields_is_measured(tmp_path: Path, top_first: bool, stated: str) -> None:
    """Whatever the header says; each frame then shows the first field's moment."""
    progressive = textured(26)
    path = interlaced(tmp_path / "clip.mp4", woven(progressive, top_first), stated)
    loaded = load_clip(path, SPEC)
    right = "top first" if top_first else "bottom first"
    assert loaded.deinterlaced == right
    ((kind, text),) = loaded.notes
    assert kind == "deinterlaced"
    lies = top_first != (stated == "tff")
    assert ("its header says" in text) == lies, text
    error = np.abs(loaded.frames.astype(int) - progressive[0:24:2]).mean()
    assert error < 2.5, f"mean error {error:.2f} against the progressive twin"
    assert combing(luma_pairs(loaded.frames)) < 0.9


def test_deinterlaced_motion_is_the_true_one(tmp_path: Path) -> None:
    """The disc moves 6 px a frame, and the still background does not move."""
    path = interlaced(tmp_path / "clip.mp4", woven(textured(26)), "tff")
    frames = load_clip(path, SPEC).frames[..., 1].astype(int)
    light = np.clip(frames - 100, 0, None)
    centres = (light.sum(1) * np.arange(160)).sum(1) / light.sum((1, 2))
    steps = np.diff(centres)[1:-1]
    assert np.abs(steps - 2 * STEP).max() < 0.3, steps.round(2).tolist()
    still = frames[:, :, 130:]
    assert np.abs(np.diff(still[:5], axis=0)).mean() < 1.5


@pytest.mark.parametrize(("suffix", "codec"), [(".ts", "mpeg2video"), (".mkv", "mpeg4"), (".mov", "prores_ks")])
def test_other_codecs_are_deinterlaced(tmp_path: Path, suffix: str, codec: str) -> None:
    """MPEG-2 without an order states bottom first, which is wrong here."""
    progressive = textured(26)
    options = {"flags": FLAGGED, "b:v": "4M"}
    layout = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    path = encode(tmp_path / f"clip{suffix}", woven(progressive), codec=codec, pixel_format=layout, options=options)
    loaded = load_clip(path, SPEC)
    assert loaded.deinterlaced == "top first"
    assert np.abs(loaded.frames.astype(int) - progressive[0:24:2]).mean() < 4


def test_the_wrong_order_is_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure matters: with the stated order of a file that lies the result is further from the twin."""
    progressive = textured(26)
    path = interlaced(tmp_path / "clip.mp4", woven(progressive), "bff")
    right = np.abs(load_clip(path, SPEC).frames.astype(int) - progressive[0:24:2]).mean()
    monkeypatch.setattr("motive.data.video.fields.measure_order", lambda path, limits: "bottom first")
    wrong = np.abs(load_clip(path, SPEC).frames.astype(int) - progressive[0:24:2]).mean()
    assert wrong > right + 0.5, f"{wrong:.2f} against {right:.2f}"


def test_a_clip_that_stands_still_follows_its_flags(tmp_path: Path) -> None:
    path = interlaced(tmp_path / "still.mp4", np.repeat(textured(1), 14, axis=0), "tff")
    assert measure_order(path, DecodeLimits()) == ""
    assert load_clip(path, SPEC).deinterlaced == "by flags"


def test_interlaced_clips_can_be_left_out(tmp_path: Path) -> None:
    strict = ClipSpec(fps=16, frames=12, height=96, width=160, interlaced="error")
    with pytest.raises(ClipError, match="is interlaced") as refused:
        load_clip(interlaced(tmp_path / "clip.mp4", woven(textured(26)), "tff"), strict)
    assert refused.value.reason == "interlaced"
    progressive = encode(tmp_path / "plain.mp4", textured(14))
    assert load_clip(progressive, strict).deinterlaced == ""
    with pytest.raises(OptionError, match="interlaced must be one of"):
        ClipSpec(interlaced="weave")  # type: ignore[arg-type]


def test_interlaced_clips_that_are_not_flagged_are_noted_and_kept(tmp_path: Path) -> None:
    frames = woven(textured(26))
    path = encode(tmp_path / "unmarked.mp4", frames, options={"crf": "4"})
    loaded = load_clip(path, SPEC)
    assert [kind for kind, _ in loaded.notes] == ["combed"]
    assert loaded.deinterlaced == ""
    assert np.array_equal(loaded.frames, plain_frames(path)[:12])


def test_combing_tells_interlaced_from_progressive() -> None:
    progressive = textured(26)
    noise = np.random.default_rng(0).integers(0, 256, (8, 96, 160, 3), np.uint8)
    assert combing(luma_pairs(woven(progressive))) > COMBED
    assert combing(luma_pairs(progressive[0::2])) < 0.9
    assert combing(luma_pairs(noise)) == pytest.approx(1.0, abs=0.03)
    assert combing(luma_pairs(progressive[:1].repeat(4, axis=0))) == 0.0
    assert first_field(luma_pairs(woven(progressive, top_first=False))) == "bottom first"


def plain_frames(path: Path) -> np.ndarray:
    """[n, H, W, 3] frames of a file as PyAV alone decodes and converts them."""
    with av.open(str(path)) as container:
        convert = av.video.reformatter.VideoReformatter()
        frames = [
            convert.reformat(frame, format="rgb24", interpolation=EXACT_BILINEAR).to_ndarray()
            for frame in container.decode(container.streams.best("video"))
        ]
    return np.stack(frames)


@pytest.mark.parametrize(
    ("suffix", "codec", "layout"),
    [
        (".mp4", "libx264", "yuv420p"),
        (".mkv", "libx264", "yuv444p"),
        (".ts", "mpeg2video", "yuv420p"),
        (".avi", "mpeg4", "yuv420p"),
        (".mov", "prores_ks", "yuv422p10le"),
        (".webm", "libvpx-vp9", "yuv420p"),
    ],
)
def test_progressive_clips_do_not_change_by_a_bit(tmp_path: Path, suffix: str, codec: str, layout: str) -> None:
    path = encode(tmp_path / f"clip{suffix}", textured(14), codec=codec, pixel_format=layout)
    loaded = load_clip(path, SPEC)
    assert np.array_equal(loaded.frames, plain_frames(path)[:12])
    assert (loaded.deinterlaced, loaded.notes) == ("", ())


def test_progressive_frames_of_a_mixed_stream_do_not_change(tmp_path: Path) -> None:
    """Frames before the first flagged one do not pass the filter, later ones pass it untouched."""
    parts = [
        encode(tmp_path / "a.ts", numbered_frames(8), codec="mpeg2video", options={"b:v": "4M", "bf": "0"}),
        interlaced(tmp_path / "b.ts", woven(textured(16, size=(48, 96))), "tff", codec="mpeg2video"),
        encode(tmp_path / "c.ts", numbered_frames(8), codec="mpeg2video", options={"b:v": "4M", "bf": "0"}),
    ]
    path = tmp_path / "mixed.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    loaded = load_clip(path, ClipSpec(fps=16, frames=22, height=48, width=96))
    expected, flagged = plain_frames(path), flags_of(path)
    assert loaded.deinterlaced == "top first"
    assert [flagged[0], flagged[12], flagged[21]] == [False, True, False]
    kept = [np.array_equal(frame, plain) for frame, plain in zip(loaded.frames, expected, strict=False)]
    assert kept == [not flag for flag in flagged[:22]]


def flags_of(path: Path) -> list[bool]:
    """Whether each frame is flagged interlaced."""
    with av.open(str(path)) as container:
        return [frame.interlaced_frame for frame in container.decode(video=0)]


def test_an_interlaced_stream_may_change_its_size(tmp_path: Path) -> None:
    """The filter is made anew for each size, and no frame is lost."""
    parts = [
        interlaced(tmp_path / f"{number}.ts", woven(textured(16, size=size)), "tff", codec="mpeg2video")
        for number, size in enumerate([(96, 160), (48, 96)])
    ]
    path = tmp_path / "sizes.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    loaded = load_clip(path, ClipSpec(fps=16, frames=14, height=96, width=160))
    assert loaded.deinterlaced == "top first"
    assert loaded.used_last == 13
    assert {kind for kind, _ in loaded.notes} == {"deinterlaced", "frame_size", "time_stamps"}


def test_a_turned_interlaced_clip_is_turned_after_deinterlacing(tmp_path: Path) -> None:
    progressive = textured(26)
    options = {"flags": FLAGGED, "crf": "8", "x264-params": "tff=1"}
    path = encode(tmp_path / "turned.mp4", woven(progressive), options=options, rotate=90.0)
    loaded = load_clip(path, ClipSpec(fps=16, frames=12, height=160, width=96))
    expected = np.rot90(progressive[0:24:2], 1, axes=(1, 2))
    assert np.abs(loaded.frames.astype(int) - expected).mean() < 2.5
