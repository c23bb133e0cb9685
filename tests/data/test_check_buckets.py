"""``motive data check`` with buckets: which clips each gets, and what it cuts and crops of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motive
from motive.cli.main import main
from motive.data import ClipSpec, DecoderPool, read_dataset, write_video
from motive.data.check.fit import BucketsFit, bucket_places, buckets_fit_of, fit_of
from motive.data.check.shapes import Shape, Shapes
from motive.data.check.survey import Look, survey
from motive.data.video.buckets import Bucket, BucketConfig, ClipSpecs, SourceShape, in_order
from motive.errors import ClipError, OptionError
from tests.tiny_wan import build_tiny_wan

BASE = ClipSpec(fps=8, frames=17, height=48, width=80)
NAMES: tuple[str, ...] = ("80x48x17", "48x80x17", "80x48x9", "48x80x9")


def specs(*names: str, base: ClipSpec = BASE) -> ClipSpecs:
    buckets = in_order([Bucket.parse(name) for name in names])
    return ClipSpecs(buckets[0].spec(base), buckets)


def film(path: Path, frames: int, height: int, width: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 255, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    write_video(path, np.stack([np.roll(picture, at, axis=1) for at in range(frames)]), 8.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide, tall, short, too short, and a portrait clip that is nearly the tall one."""
    folder = tmp_path_factory.mktemp("clips")
    film(folder / "wide.mp4", 24, 48, 80)
    film(folder / "tall.mp4", 17, 80, 48, seed=1)
    film(folder / "again.mp4", 17, 80, 48, seed=1)
    film(folder / "short.mp4", 10, 48, 64, seed=2)
    film(folder / "shorter.mp4", 6, 48, 80, seed=3)
    return folder


def fits(found: BucketsFit | None) -> BucketsFit:
    assert found is not None
    return found


@pytest.mark.parametrize("look", [Look(headers=True), Look(decode=True)], ids=["headers", "frames"])
def test_each_clip_counts_in_its_bucket(folder: Path, look: Look) -> None:
    found = survey(read_dataset(folder), specs(*NAMES), look)
    assert found.clip_spec is None
    buckets = fits(found.buckets)
    assert {each.bucket: each.clips for each in buckets.buckets} == {
        "80x48x17": 1, "48x80x17": 2, "80x48x9": 1, "48x80x9": 0,
    }  # fmt: skip
    assert (buckets.timed, buckets.short, buckets.dropped, buckets.not_known) == (5, 1, 1, 0)
    wide = buckets.buckets[0].fit
    assert (wide.longer, wide.cropped, wide.clip_spec.frames) == (1, 0, 17)
    assert wide.cut_share == pytest.approx((24 - 17) / 24, abs=0.01)
    squat = next(each.fit for each in buckets.buckets if each.bucket == "80x48x9")
    assert squat.cropped == 1
    assert squat.cropped_share == pytest.approx(1 - 64 / 80, abs=0.01)
    counts = {finding.name: (finding.count, finding.title) for finding in found.findings}
    assert counts["too_short"] == (1, "clips that every bucket drops, since they are too short")
    assert counts["near_duplicate"][0] == (1 if look.decode else 0) * 2


def test_decoding_reads_no_more_than_the_bucket_takes(folder: Path, tmp_path: Path) -> None:
    """A clip that breaks off behind its bucket's last frame is whole for that bucket."""
    film(tmp_path / "a.mkv", 120, 48, 80)
    whole = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    short = survey(read_dataset(tmp_path), specs("80x48x9"), Look(decode=True))
    long = survey(read_dataset(tmp_path), specs("80x48x113"), Look(decode=True))
    assert not {"truncated", "damaged"} & {finding.name for finding in short.findings if finding.count}
    assert {"truncated", "damaged"} & {finding.name for finding in long.findings if finding.count}


def test_the_table_alone_gives_buckets_where_it_has_the_numbers(tmp_path: Path) -> None:
    rows = [
        {"path": "a.mp4", "fps": 8, "num_frames": 17, "height": 480, "width": 800},
        {"path": "b.mp4", "fps": 8, "num_frames": 17},
        {"path": "c.mp4", "height": 480, "width": 800},
        {"path": "d.mp4", "fps": 8, "num_frames": 3},
    ]
    for row in rows:
        (tmp_path / str(row["path"])).write_bytes(str(row["path"]).encode())
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = survey(read_dataset(tmp_path / "clips.jsonl"), specs(*NAMES), Look(headers=False))
    buckets = fits(found.buckets)
    assert [each.clips for each in buckets.buckets] == [1, 0, 0, 0]
    assert (buckets.timed, buckets.dropped, buckets.not_known) == (3, 1, 2), "d is dropped whatever its size"
    text = "\n".join(found.lines())
    assert "the bucket of 2 clips is not known" in text
    assert "bucket       48x80x9: no clip" in text


def test_rules_for_short_clips_keep_them_in_the_shortest_bucket() -> None:
    shapes = Shapes.of([Shape(8, 0.5, 48, 80), Shape(8, 2.0, 48, 80)])
    held = buckets_fit_of(shapes, specs(*NAMES, base=ClipSpec(8, 17, 48, 80, short="hold")))
    assert (held.short, held.dropped) == (1, 0)
    assert {each.bucket: each.clips for each in held.buckets if each.clips} == {"80x48x17": 1, "80x48x9": 1}
    short = next(each.fit for each in held.buckets if each.bucket == "80x48x9")
    assert "holds the last frame of 1 of 1 clips" in short.bucket_lines()[0]
    assert "holds the last frame of 1 of 2 clips" in held.lines()[0]
    left_out = buckets_fit_of(shapes, specs(*NAMES))
    assert (
        "drops 1 of 2 clips (50.0%), shorter than the 1 s that its shortest bucket (9 frames) needs"
        in left_out.lines()[0]
    )
    assert all("drops" not in line for each in left_out.buckets for line in each.fit.bucket_lines())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 5), st.integers(8, 300), st.integers(8, 300)), min_size=1, max_size=20))
def test_the_buckets_are_those_of_indexing(clips: list[tuple[float, int, int]]) -> None:
    listed = specs(*NAMES, "64x64x33", "160x96x17")
    shapes = Shapes.of([Shape(8, seconds, height, width) for seconds, height, width in clips] + [Shape()])
    places = bucket_places(shapes, listed).tolist()
    assert places.pop() == -1
    for (seconds, height, width), place in zip(clips, places, strict=True):
        try:
            expected = listed.choose(SourceShape(seconds, 1e-3, height, width, 1.0), "a")
        except ClipError:
            assert place == -1
        else:
            assert listed.buckets[place].name == expected


def test_indexing_gives_the_same_buckets(folder: Path) -> None:
    """The check reads headers, indexing time stamps."""
    found = fits(survey(read_dataset(folder), specs(*NAMES), Look(headers=True)).buckets)
    listed, counts = specs(*NAMES), dict.fromkeys(NAMES, 0)
    with DecoderPool(listed) as pool:
        for clip in read_dataset(folder).clips:
            if clip.clip_id == "shorter.mp4":
                with pytest.raises(ClipError, match="too_short"):
                    listed.choose(pool.measure_shape(clip.path), clip.clip_id)
            else:
                counts[listed.choose(pool.measure_shape(clip.path), clip.clip_id)] += 1
    assert {each.bucket: each.clips for each in found.buckets} == counts


def test_one_clip_spec_is_reported_as_before() -> None:
    shapes = Shapes.of([Shape(8, 2.0, 48, 80), Shape(8, 1.0, 80, 48)])
    one = buckets_fit_of(shapes, specs("80x48x9")).buckets[0]
    assert one.fit == fit_of(shapes, ClipSpec(8, 9, 48, 80))


def test_flags_are_those_of_index(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "check", str(folder), "--quiet", "--clip-fps", "8"]
    assert main([*command, "--buckets", ",".join(NAMES), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["clip_spec"] is None
    assert [(each["bucket"], each["clips"]) for each in data["buckets"]["buckets"]] == [
        ("80x48x17", 1), ("48x80x17", 2), ("80x48x9", 1), ("48x80x9", 0),
    ]  # fmt: skip
    assert data["buckets"]["buckets"][1]["fit"]["cropped"] == 0
    assert main([*command, "--bucket-resolutions", "80x48,48x80", "--bucket-frames", "9,17"]) == 0
    text = capsys.readouterr().out
    assert "buckets      8 fps, fit crop, 4 buckets" in text
    assert "bucket       48x80x17: 2 of 4 clips (50.0%)" in text
    assert main([*command, "--model", "toy", "--buckets", "auto"]) == 0
    assert "bucket       80x80x17" in capsys.readouterr().out
    assert main([*command, "--buckets", "80x48x17", "--clip-width", "80"]) == 2
    assert "--clip-width must be left out with --buckets" in capsys.readouterr().err


def test_a_transformer_alone_has_the_clip_spec_of_its_base(folder: Path, tmp_path: Path) -> None:
    tiny_wan = build_tiny_wan(tmp_path / "wan")
    transformer = str(tiny_wan / "transformer")
    config = motive.CheckConfig(
        model=transformer,
        base=str(tiny_wan),
        clip_spec=ClipSpec(8, 9, 32, 48),
        buckets=BucketConfig(sizes=("48x32x9",)),
    )
    found = fits(motive.check_dataset(folder, config=config).buckets)
    assert [(each.bucket, each.clips) for each in found.buckets] == [("48x32x9", 4)]
    with pytest.raises(OptionError, match="base must be left out without model"):
        motive.CheckConfig(base=str(tiny_wan))


def test_what_only_a_model_can_derive_is_refused_without_one(folder: Path) -> None:
    for buckets in (BucketConfig(sizes=("auto",)), BucketConfig(frames=("auto",))):
        with pytest.raises(OptionError, match="model must be given where buckets are derived"):
            motive.check_dataset(folder, config=motive.CheckConfig(buckets=buckets))
    step = BucketConfig(resolutions=("auto",), frames=("9",), step=16)
    found = motive.check_dataset(folder, config=motive.CheckConfig(clip_spec=BASE, buckets=step))
    assert [each.bucket for each in fits(found.buckets).buckets][:1] == ["80x48x9"]
    bad = BucketConfig(sizes=("80x80x18",))
    with pytest.raises(OptionError, match="bucket 80x80x18: ToyAdapter: frames"):
        motive.check_dataset(folder, config=motive.CheckConfig(model="toy", buckets=bad))
