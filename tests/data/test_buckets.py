"""The buckets of a run, the one that a clip gets, and the shape of a clip before it is decoded."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motive.data import ClipSpec, DecoderPool, load_clip, write_video
from motive.data.video.buckets import (
    CLOSE,
    Bucket,
    BucketConfig,
    ClipSpecs,
    SourceShape,
    choose_bucket,
    in_order,
    resolve_buckets,
)
from motive.data.video.decode import measure_shape
from motive.data.video.use import Use, count_use, use_lines
from motive.data.video.video import DEFAULT_LIMITS
from motive.errors import ClipError, ConfigError

WAN = ClipSpec(fps=16.0, frames=81, height=480, width=832)


def wan_takes(spec: ClipSpec) -> bool:
    return spec.frames % 4 == 1 and spec.height % 16 == 0 and spec.width % 16 == 0


def shape(seconds: float, width: int, height: int, aspect: float = 1.0) -> SourceShape:
    return SourceShape(seconds, 1e-3, height, width, aspect)


def buckets(*names: str) -> tuple[Bucket, ...]:
    return in_order([Bucket.parse(name) for name in names])


def names(found: tuple[Bucket, ...]) -> list[str]:
    return [bucket.name for bucket in found]


def resolved(**given: object) -> list[str]:
    return names(resolve_buckets(BucketConfig(**given), WAN, wan_takes))  # type: ignore[arg-type]


def test_lists_of_sizes_have_one_order_and_no_repetition() -> None:
    found = resolved(sizes=("480x832x33", "832x480x81", "480x832x81", "832x480x81"))
    assert found == ["832x480x81", "480x832x81", "480x832x33"]
    assert resolved() == []


def test_resolutions_and_lengths_are_combined_and_default_to_the_clip_spec() -> None:
    assert resolved(resolutions=("832x480", "480x832"), frames=("33", "81")) == [
        "832x480x81",
        "480x832x81",
        "832x480x33",
        "480x832x33",
    ]
    assert resolved(frames=("33",)) == ["832x480x33"]
    assert resolved(resolutions=("640x640",)) == ["640x640x81"]


def test_auto_derives_ratios_of_one_area_and_halved_lengths() -> None:
    found = resolved(sizes=("auto",))
    assert found == resolved(resolutions=("auto",), frames=("auto",))
    assert found[:5] == ["832x480x81", "480x832x81", "624x624x81", "704x528x81", "528x704x81"]
    assert {Bucket.parse(name).frames for name in found} == {81, 41, 21}
    assert all(wan_takes(Bucket.parse(name).spec(WAN)) for name in found)
    assert all(Bucket.parse(name).width * Bucket.parse(name).height <= 832 * 480 for name in found)


@settings(max_examples=60, deadline=None)
@given(st.integers(256, 1024), st.sampled_from([8, 16, 32]), st.sampled_from(["21:9", "16:9", "3:2", "1:1", "2:3"]))
def test_a_derived_resolution_is_within_the_area_and_near_the_ratio(side: int, step: int, ratio: str) -> None:
    (found,) = resolved(resolutions=("auto",), area=str(side), step=step, ratios=(ratio,))
    bucket = Bucket.parse(found)
    across, down = map(int, ratio.split(":"))
    assert bucket.width % step == bucket.height % step == 0
    assert bucket.width * bucket.height <= side * side
    off = abs(math.log(bucket.width / bucket.height * down / across))
    assert off <= math.log1p(2.0 * step / min(bucket.width, bucket.height)), (bucket, ratio)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"sizes": ("832x480",)}, "sizes must be WIDTHxHEIGHTxFRAMES, such as 832x480x81, got '832x480'"),
        ({"sizes": ("0x480x81",)}, "sizes must be"),
        ({"sizes": ("auto", "832x480x81")}, "sizes must be auto, dataset or sizes"),
        ({"sizes": ("832x480x81",), "frames": ("33",)}, "sizes must be left out with resolutions or frames"),
        ({"resolutions": ("832x480x81",)}, "resolutions must be WIDTHxHEIGHT"),
        ({"frames": ("many",)}, "frames must be a number of frames"),
        ({"frames": ("33",), "step": 16}, "step must be left out unless resolutions is auto"),
        ({"ratios": ("16:9",)}, "ratios must be left out unless"),
        ({"resolutions": ("auto",), "ratios": ("1.5",)}, "ratios must be WIDTH:HEIGHT"),
        ({"resolutions": ("auto",), "area": "wide"}, "area must be WIDTHxHEIGHT or the side of a square"),
        ({"resolutions": ("auto",), "step": -1}, "step must be 0 to 1024"),
    ],
)
def test_a_wrong_bucket_is_named(given: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        BucketConfig(**given)


def test_an_area_below_one_step_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"buckets\.area must hold a square of 32 pixels, got 100"):
        resolved(resolutions=("auto",), area="10", step=32)


LIST = buckets("832x480x81", "480x832x81", "832x480x33", "480x832x33", "624x624x33")


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (shape(6, 1920, 1080), "832x480x81"),
        (shape(6, 1080, 1920), "480x832x81"),
        (shape(5.0, 1920, 1080), "832x480x81"),  # exactly 80 / 16 s
        (shape(4.99, 1920, 1080), "832x480x33"),
        (shape(2.0, 500, 900), "480x832x33"),
        (shape(3.0, 700, 700), "624x624x33"),
        (shape(3.0, 700, 700, 16 / 9), "832x480x33"),  # pixels that are not square
        (shape(9.0, 640, 480), "832x480x81"),  # 4:3 is closer to 26:15 than to 1:1 by logarithm
        (shape(9.0, 600, 500), "624x624x33"),  # the ratio comes before the length
    ],
)
def test_the_rule_gives_ratio_then_length(clip: SourceShape, expected: str) -> None:
    assert choose_bucket(LIST, clip, WAN, "clip.mp4").name == expected


def test_of_equal_ratios_the_largest_that_is_not_enlarged_counts() -> None:
    ladder = buckets("416x240x81", "832x480x81", "1280x720x81")  # 26:15 and 16:9 differ by less than CLOSE
    assert abs(math.log(1280 / 720) - math.log(832 / 480)) < CLOSE
    assert choose_bucket(ladder, shape(6, 1000, 577), WAN, "a").name == "832x480x81"
    assert choose_bucket(ladder, shape(6, 3840, 2160), WAN, "a").name == "1280x720x81"
    assert choose_bucket(ladder, shape(6, 1270, 720), WAN, "a").name == "832x480x81"
    assert choose_bucket(ladder, shape(6, 100, 56), WAN, "a").name == "416x240x81"


@settings(max_examples=100, deadline=None)
@given(st.permutations(LIST), st.floats(0.1, 9), st.integers(16, 4000), st.integers(16, 4000))
def test_the_order_of_the_list_does_not_matter(order: list[Bucket], seconds: float, width: int, height: int) -> None:
    clip, hold = shape(seconds, width, height), replace(WAN, short="hold")
    found = choose_bucket(order, clip, hold, "a")
    assert found == choose_bucket(LIST, clip, hold, "a")
    assert (found.frames - 1) / 16 <= seconds + 1e-3 or found.frames == 33


def test_a_clip_shorter_than_every_bucket_is_left_out_or_has_the_shortest() -> None:
    with pytest.raises(ClipError, match=r"a\.mp4 lasts 1 s, the shortest bucket \(33 frames at 16 fps\) needs 2 s"):
        choose_bucket(LIST, shape(1, 1920, 1080), WAN, "a.mp4")
    for short in ("hold", "loop"):
        assert choose_bucket(LIST, shape(1, 1920, 1080), replace(WAN, short=short), "a").name == "832x480x33"


def film(path: Path, frames: int, height: int, width: int, fps: float = 12.0) -> Path:
    rng = np.random.default_rng(frames)
    write_video(path, rng.integers(0, 255, (frames, height, width, 3), np.uint8), fps)
    return path


@pytest.mark.parametrize("frames", [16, 17, 18, 30])
def test_the_shape_found_beforehand_is_what_decoding_finds(tmp_path: Path, frames: int) -> None:
    path = film(tmp_path / "clip.mp4", frames, 48, 80)
    found = measure_shape(path, DEFAULT_LIMITS)
    spec = ClipSpec(fps=12.0, frames=17, height=48, width=80)
    specs = ClipSpecs(spec, buckets("80x48x17", "80x48x9"))
    name = specs.choose(found, path.name)
    with DecoderPool(specs) as pool:
        assert pool.measure_shape(path) == found
        loaded = pool.load_clip(path, specs.of(name))
    assert len(loaded.frames) == Bucket.parse(name).frames == 17
    assert (found.height, found.width, found.aspect) == (loaded.source_height, loaded.source_width, 1.0)
    assert found.seconds == pytest.approx(frames / 12, abs=found.tolerance_s)
    assert np.array_equal(loaded.frames, load_clip(path, specs.of(name)).frames)


def test_one_process_decodes_clips_of_every_bucket(tmp_path: Path) -> None:
    wide, tall = film(tmp_path / "wide.mp4", 20, 48, 80), film(tmp_path / "tall.mp4", 10, 80, 48)
    specs = ClipSpecs(ClipSpec(fps=12.0), buckets("80x48x17", "48x80x9"))
    with DecoderPool(specs) as pool:
        for path, name in ((wide, "80x48x17"), (tall, "48x80x9"), (wide, "80x48x17")):
            bucket = Bucket.parse(name)
            assert specs.choose(pool.measure_shape(path), path.name) == name
            loaded = pool.load_clip(path, specs.of(name))
            assert loaded.frames.shape == (bucket.frames, bucket.height, bucket.width, 3)
        with pytest.raises(ClipError, match=r"gone\.mp4"):
            pool.measure_shape(tmp_path / "gone.mp4")
        assert pool.started == 1


def test_what_a_clip_spec_cuts_away_is_counted() -> None:
    facts = {"source_width": 1920, "source_height": 1080, "source_seconds": 10.0, "sample_aspect": "1:1"}
    use = Use.of(facts, WAN)
    kept = Fraction(1080) * Fraction(832, 480) / 1920
    assert use.cropped_share == pytest.approx(float(1 - kept), abs=1e-6)
    assert use.dropped_share == pytest.approx(1 - 81 / 16 / 10, abs=1e-6)
    assert Use.of({**facts, "sample_aspect": "2:1"}, WAN).cropped_share > use.cropped_share
    assert Use.of(facts, replace(WAN, fit="stretch")).cropped_share == 0
    assert Use.of({**facts, "source_seconds": 2.0}, WAN).dropped_share == 0
    total: dict[str, Use] = {}
    for _ in range(3):
        count_use(total, {"832x480x81": use})
    assert total == {"832x480x81": Use(3, 3 * use.cropped, 3 * use.dropped)}


def test_the_summary_names_the_flag_only_where_something_is_lost() -> None:
    lossy, whole = Use(10, 2_500_000, 5_000_000), Use(10, 0, 0)
    assert use_lines({"832x480x81": lossy}, False, 3, 13) == [
        "one clip spec for all clips (832x480x81): 3 of 13 clips are too short; of those stored, 25.0% of the picture is "
        "cropped and 50.0% of the time is not looked at; --buckets keeps more (docs/buckets.md)"
    ]
    assert use_lines({"832x480x81": whole}, False, 0, 10) == []
    assert use_lines({}, False, 2, 2) == [
        "one clip spec for all clips: 2 of 2 clips are too short; --buckets keeps more (docs/buckets.md)"
    ]
    assert [line.split(",")[0] for line in use_lines({"a": whole, "b": lossy + whole}, True, 0, 30)] == [
        "bucket b: 20 clips",
        "bucket a: 10 clips",
    ]
