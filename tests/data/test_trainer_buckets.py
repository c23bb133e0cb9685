"""Buckets that are taken from a trainer's configuration, of each trainer, and configurations that state none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from motive.cli.main import main
from motive.data import ClipSpec, Part, read_dataset
from motive.data.video.buckets import Bucket, BucketConfig, resolve_buckets
from motive.data.video.trainer_buckets import trainer_buckets
from motive.errors import ConfigError, OptionError
from motive.indexing.config import IndexConfig
from motive.indexing.setup import set_up

WAN = ClipSpec(fps=16.0, frames=81, height=480, width=832)


def wan_takes(spec: ClipSpec) -> bool:
    return spec.frames % 4 == 1 and spec.height % 16 == 0 and spec.width % 16 == 0


def names(*parts: Part, base: ClipSpec = WAN, fits: Callable[[ClipSpec], bool] = wan_takes) -> list[str]:
    return [bucket.name for bucket in trainer_buckets(parts, base, fits)]


def of_file(path: Path, text: str) -> list[str]:
    """The buckets of a configuration of one folder of clips."""
    clips = path.parent / "clips"
    clips.mkdir()
    (clips / "a.mp4").write_bytes(b"video")
    (clips / "a.txt").write_text("a ball")
    path.write_text(text)
    return names(*read_dataset(path).parts)


def test_musubi_tuner(tmp_path: Path) -> None:
    """Every width from half of the side of the square on, and lengths rounded down to 4 n + 1, as its own code does."""
    found = of_file(
        tmp_path / "set.toml",
        'resolution = [1]\n[general]\nresolution = [832, 480]\ncaption_extension = ".txt"\nenable_bucket = true\n'
        '[[datasets]]\nvideo_directory = "clips"\ntarget_frames = [1, 33, 82]\n',
    )
    assert {Bucket.parse(name).frames for name in found} == {33, 81}
    sizes = {name.rpartition("x")[0] for name in found}
    # BucketSelector((832, 480), architecture="wan").bucket_resolutions of musubi-tuner 0.3.4.
    widths = range(304, 641, 16)
    expected = {(w, 832 * 480 // w // 16 * 16) for w in widths}
    assert sizes == {f"{w}x{h}" for w, h in expected} | {f"{h}x{w}" for w, h in expected}
    assert {"480x832", "832x480", "624x640", "304x1312"} <= sizes
    assert len(found) == 2 * len(sizes)


def test_diffusion_pipe_with_aspect_ratios(tmp_path: Path) -> None:
    """sqrt(A r) x sqrt(A / r), each to the nearest multiple, as its ARBucketDataset has it."""
    found = of_file(
        tmp_path / "set.toml",
        "resolutions = [512, [640, 360]]\nenable_ar_bucket = true\nar_buckets = [1.0, [16, 9]]\n"
        'frame_buckets = [1, 33]\n[[directory]]\npath = "clips"\n',
    )
    expected = []
    for area in (512**2, 640 * 360):
        for ratio in (1.0, 16 / 9):
            w = math.sqrt(area * ratio)
            expected.append(f"{round(w / 16) * 16}x{round(area / w / 16) * 16}x33")
    assert sorted(found) == sorted(expected) == ["480x480x33", "512x512x33", "640x352x33", "688x384x33"]


def test_diffusion_pipe_without_aspect_ratios_and_with_whole_buckets(tmp_path: Path) -> None:
    square, whole = tmp_path / "square", tmp_path / "whole"
    square.mkdir()
    whole.mkdir()
    text = 'resolutions = [480]\nframe_buckets = [1, 17, 49]\n[[directory]]\npath = "clips"\n'
    assert of_file(square / "set.toml", text) == ["480x480x49", "480x480x17"]
    text = 'size_buckets = [[480, 832, 33], [832, 480, 81], [512, 512, 1]]\n[[directory]]\npath = "clips"\n'
    assert of_file(whole / "set.toml", text) == ["832x480x81", "480x832x33"]


def test_finetrainers(tmp_path: Path) -> None:
    """Its order is frames, height, width."""
    entry = {
        "data_root": "clips",
        "dataset_type": "video",
        "video_resolution_buckets": [[49, 480, 832], [33, 832, 480]],
    }
    assert of_file(tmp_path / "set.json", json.dumps({"datasets": [entry]})) == ["832x480x49", "480x832x33"]


def test_ai_toolkit(tmp_path: Path) -> None:
    text = """
job: extension
config:
  name: x
  process:
    - type: sd_trainer
      datasets:
        - folder_path: clips
          num_frames: 41
          resolution: [64]
"""
    expected = ["128x32x41", "64x64x41", "32x128x41", "80x48x41", "48x80x41"]
    assert of_file(tmp_path / "job.yaml", text) == expected
    other = tmp_path / "other"
    other.mkdir()
    cropped = text.replace("resolution: [64]", "resolution: [64, 128]\n          buckets: false")
    assert of_file(other / "job.yaml", cropped) == ["128x128x41", "64x64x41"]


def test_entries_are_put_together_and_single_frames_give_none() -> None:
    video = Part("a", frames=(1, 33), sizes=((64, 64),))
    still = Part("b", frames=(1,), sizes=((128, 128),))
    more = Part("c", buckets=((64, 64, 33), (96, 64, 17)))
    assert names(video, still, more) == ["64x64x33", "96x64x17"]


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Part("e", whole_clips=True, frames=(129,), sizes=((64, 64),)), "e, which takes clips of any length"),
        (Part("e", frames=(33,)), "e, which states no resolution"),
        (Part("e"), "e, which states no resolution"),
        (Part("e", frames=(1,), sizes=((64, 64),)), "e, which trains on single frames"),
        (Part("e", frames=(2,), sizes=((64, 64),)), "e, which takes 2 frames, too few for the model"),
        (Part("e", frames=(33,), sizes=((64, 64),), fps=24.0), "takes 24 frames a second and the clip spec 16; set clip_spec.fps"),
        (Part("e", frames=(33,), sizes=((9, 9),), keeps_aspect=True), "has an area of 81 pixels, too small"),
        (Part("e", frames=(33,), sizes=((1 << 40, 9),), keeps_aspect=True), "has sides above 16384 pixels"),
        (Part("e", frames=tuple(range(33, 533, 4)), sizes=((8000, 8000),), keeps_aspect=True), "gives 62625 buckets"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_buckets_is_refused(part: Part, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        names(part)


def test_without_a_configuration_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="the dataset is none; give the path"):
        names()
    with pytest.raises(ConfigError, match="sizes must be auto, dataset or sizes"):
        BucketConfig(sizes=("dataset", "64x64x33"))
    assert not BucketConfig(sizes=("dataset",)).resolved


def test_the_settings_of_a_run_name_the_buckets() -> None:
    config = IndexConfig(buckets=BucketConfig(sizes=("dataset",)))
    setup = set_up(config, [Part("e", buckets=((96, 64, 17), (64, 96, 9)))])
    assert setup.config.buckets.sizes == ("96x64x17", "64x96x9")
    assert set_up(setup.config).identity == setup.identity, "a query or a replay needs no configuration"
    with pytest.raises(OptionError, match="bucket 72x64x17: ToyAdapter: height and width"):
        set_up(config, [Part("e", buckets=((72, 64, 17),))])


def test_the_check_takes_them_by_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {
        "data_root": "clips",
        "dataset_type": "video",
        "video_resolution_buckets": [[49, 480, 832], [33, 832, 480]],
    }
    of_file(tmp_path / "set.json", json.dumps({"datasets": [entry]}))
    command = ["data", "check", str(tmp_path / "set.json"), "--no-headers", "--quiet", "--buckets", "dataset"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["buckets"]["buckets"]
    assert [each["bucket"] for each in found] == ["832x480x49", "480x832x33"]
    assert main([*command, "--clip-frames", "9"]) == 2
    assert "--clip-frames must be left out with --buckets" in capsys.readouterr().err
    assert main(["data", "check", str(tmp_path / "clips"), "--no-headers", "--quiet", "--buckets", "dataset"]) == 2
    assert "--buckets dataset takes the buckets of a trainer's configuration" in capsys.readouterr().err


def test_buckets_of_a_dataset_are_never_derived_from_the_clip_spec() -> None:
    with pytest.raises(ConfigError, match="dataset"):
        resolve_buckets(BucketConfig(sizes=("dataset",)), WAN, wan_takes)
