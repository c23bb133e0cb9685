"""musubi-tuner's configurations, in the layout of its docs/dataset_config.md (0.3.4, commit 30c658c)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from motive.data import Dataset, Part, SubsetRow, read_dataset, write_subset
from motive.data.formats.configs import load_config
from motive.errors import DatasetError
from motive.indexing.summary import dataset_lines
from motive.testing import Entry, FormatContract, place_videos

GENERAL = '[general]\nresolution = [960, 544]\ncaption_extension = ".txt"\nbatch_size = 1\nenable_bucket = true\n'
GOLDEN = """# common parameters
[general]
resolution = [960, 544]
caption_extension = ".txt"
batch_size = 1
enable_bucket = true
bucket_no_upscale = false

[[datasets]]
video_directory = "clips"
cache_directory = "cache_clips" # recommended
target_frames = [1, 25, 45]
frame_extraction = "head"
source_fps = 30.0

[[datasets]]
video_jsonl_file = "more.jsonl"
target_frames = [1]
frame_extraction = "slide"
frame_stride = 10
resolution = [480, 480]
num_repeats = 3
cache_directory = "cache_more"

[[datasets]]
image_directory = "stills"
"""


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


class TestMusubiTable(FormatContract):
    format = "musubi"

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        rows = [{"video_path": entry.path, "caption": entry.caption} for entry in entries]
        jsonl(folder / "clips.jsonl", *rows)
        config = folder / "dataset.toml"
        config.write_text(f'{GENERAL}\n[[datasets]]\nvideo_jsonl_file = "clips.jsonl"\ntarget_frames = [1, 25]\n')
        return config

    def subset_path(self, out: Path) -> Path:
        return out / "dataset.toml"


class TestMusubiFolders(FormatContract):
    format = "musubi"
    has_paths = False

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        for entry in entries:
            if entry.caption is not None:
                (folder / entry.path).with_suffix(".txt").write_text(entry.caption, encoding="utf-8")
        folders = dict.fromkeys(Path(entry.path).parent.as_posix() for entry in entries)
        listed = "".join(f'\n[[datasets]]\nvideo_directory = "{name}"\n' for name in folders)
        config = folder / "dataset.toml"
        config.write_text(GENERAL + listed)
        return config

    def subset_path(self, out: Path) -> Path:
        return out / "dataset.toml"


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A dataset as the documentation shows it; returns the configuration."""
    root = tmp_path / "set"
    for name in ("clips/a.mp4", "clips/b.MOV", "clips/c.ts", "clips/deep/d.mp4", "other/e.webm", "stills/f.png"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (root / "clips/a.txt").write_text("a cat \u2603\n", encoding="utf-8")
    (root / "clips/a_00000-025_0960x0544_wan.safetensors").write_bytes(b"latents")
    jsonl(
        root / "more.jsonl",
        {"video_path": "other/e.webm", "caption": "a dog", "control_path": "control/e.webm", "tags": ["x", {"y": 1}]},
        {"video_path": "clips/b.MOV", "caption": ""},
        {"video_path": "gone.mp4", "caption": "none"},
        {"caption": "no path"},
    )
    config = root / "train.toml"
    config.write_text(GOLDEN)
    return config


def unread(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.why for item in dataset.unread}


def test_the_documented_configuration(golden: Path) -> None:
    dataset = read_dataset(golden)
    assert dataset.format == "musubi"
    assert {clip.clip_id: clip.caption for clip in dataset.clips} == {
        "clips/a.mp4": "a cat \u2603",
        "clips/b.MOV": "",
        "other/e.webm": "a dog",
    }
    assert {clip.clip_id: clip.parts for clip in dataset.clips} == {
        "clips/a.mp4": (0,),
        "clips/b.MOV": (0, 1),
        "other/e.webm": (1,),
    }
    assert dataset.clips[2].columns["tags"] == '["x", {"y": 1}]'
    assert [(failure.clip_id, failure.reason) for failure in dataset.failures] == [
        ("gone.mp4", "missing_file"),
        ("more.jsonl:4", "bad_row"),
    ]
    assert unread(dataset) == {
        "1 .ts files of datasets[0] clips": "musubi-tuner does not read them",
        "1 latents of datasets[0] clips": "precomputed latents are no videos; --latents uses those of musubi-tuner and FastVideo",
        "1 videos in subfolders of datasets[0] clips": "musubi-tuner does not enter them",
        "datasets[2] stills": "it lists images; only videos have motion",
    }


def test_the_shapes_it_trains_on(golden: Path) -> None:
    first, second = read_dataset(golden).parts
    assert (first.name, first.frames, first.sizes) == ("datasets[0] clips", (1, 25, 45), ((960, 544),))
    assert (first.source_fps, first.fps, first.repeats, first.keeps_aspect) == (30.0, None, 1, True)
    assert (second.frames, second.sizes, second.repeats) == ((1,), ((480, 480),), 3)
    assert second.settings["frame_stride"] == 10
    assert second.settings["caption_extension"] == ".txt", "general settings apply to each entry"
    assert first.line() == "datasets[0] clips: 1, 25, 45 frames; the area of 960x544; read as 30 fps"


def test_defaults_and_whole_clips(golden: Path) -> None:
    golden.write_text('[[datasets]]\nvideo_directory = "clips"\nframe_extraction = "full"\nmax_frames = 77\n')
    dataset = read_dataset(golden)
    (part,) = dataset.parts
    assert (part.frames, part.whole_clips, part.sizes) == ((77,), True, ((960, 544),))
    assert part.line() == "datasets[0] clips: up to 77 frames; the area of 960x544"
    assert "caption_extension is not set" in unread(dataset)["captions of datasets[0] clips"]
    assert dataset.without_caption == 2


def test_keys_that_the_tool_refuses_are_named(golden: Path) -> None:
    golden.write_text('[general]\ntarget_frames = [25]\n[[datasets]]\nvideo_directory = "clips"\nfps = 16\n')
    found = unread(read_dataset(golden))
    assert {"general.target_frames", "datasets[0].fps"} <= set(found)
    assert "refuses" in found["datasets[0].fps"]


def test_folders_elsewhere_need_the_roots(golden: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    (golden.parent / "clips").rename(far)
    golden.write_text(f'[[datasets]]\nvideo_directory = "{far}"\ncaption_extension = ".txt"\n')
    (failure,) = read_dataset(golden).failures
    assert failure.reason == "path_escapes_root"
    assert f"--root {far} " in failure.detail
    assert [clip.clip_id for clip in read_dataset(golden, root=far).clips] == ["a.mp4", "b.MOV"]
    golden.write_text('[[datasets]]\nvideo_directory = "D:\\\\clips"\ncaption_extension = ".txt"\n')
    assert read_dataset(golden).failures[0].reason == "missing_file"
    mapped = read_dataset(golden, path_map=[f"d:/clips={far}"])
    assert {clip.clip_id: clip.caption for clip in mapped.clips} == {"far/a.mp4": "a cat \u2603", "far/b.MOV": ""}
    write_subset(mapped, [SubsetRow(mapped.clips[0], {"score": 1.0})], tmp_path / "out", files="copy")
    again = read_dataset(tmp_path / "out/train.toml")
    assert [(clip.clip_id, clip.caption) for clip in again.clips] == [("far/a.mp4", "a cat \u2603")]


def test_links_and_missing_folders(golden: Path, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private/x.mp4").write_bytes(b"x")
    (golden.parent / "door").symlink_to(tmp_path / "private")
    lines = [f'[[datasets]]\nvideo_directory = "{name}"\n' for name in ("door", "nowhere", "../private", "clips/a.mp4")]
    golden.write_text("".join(lines))
    dataset = read_dataset(golden)
    assert not dataset.clips
    reasons = [failure.reason for failure in dataset.failures]
    assert reasons == ["path_escapes_root", "missing_file", "path_escapes_root", "missing_file"]
    assert [clip.clip_id for clip in read_dataset(golden, follow_links=True).clips] == ["door/x.mp4"]


def test_a_selection_trains_on_its_clips_alone(golden: Path, tmp_path: Path) -> None:
    dataset = read_dataset(golden)
    chosen = [
        SubsetRow(clip, {"motive_rank": n}) for n, clip in enumerate(dataset.clips) if clip.clip_id != "clips/a.mp4"
    ]
    out = tmp_path / "out"
    training = write_subset(dataset, chosen[::-1], out, files="copy")
    config = load_config(out / "train.toml")
    assert config["general"] == load_config(golden)["general"]
    first, second, stills = config["datasets"]
    assert first["video_directory"] == str(out / "clips"), "musubi-tuner may be started in any folder"
    assert second["video_jsonl_file"] == str(out / "more.jsonl")
    caches = {first["cache_directory"], second["cache_directory"]}
    assert len(caches) == 2, "musubi-tuner wants a cache for each entry"
    assert not {"cache_clips", "cache_more"} & caches, "the old caches hold clips that were not selected"
    assert caches == {f"{out}-cache/1", f"{out}-cache/2"}, "not inside what a later selection replaces"
    assert stills["image_directory"] == str(golden.parent / "stills")
    rows = [json.loads(line) for line in (out / "more.jsonl").read_text().splitlines()]
    assert rows[0]["tags"] == ["x", {"y": 1}]
    assert list(rows[0]) == ["video_path", "caption", "control_path", "tags", "motive_rank"], "columns keep their order"
    assert [row["video_path"] for row in rows] == [str(out / "other/e.webm"), str(out / "clips/b.MOV")]
    assert [row["motive_rank"] for row in rows] == [2, 1], "the selection's order"
    assert training is not None
    assert all(str(out / "train.toml") in command for command in training.commands)
    again = read_dataset(out / "train.toml")
    assert not again.failures
    assert {clip.clip_id: clip.parts for clip in again.clips} == {"clips/b.MOV": (0, 1), "other/e.webm": (1,)}
    assert [part.frames for part in again.parts] == [part.frames for part in dataset.parts]


def test_paths_are_those_of_the_final_place(golden: Path, tmp_path: Path) -> None:
    dataset = read_dataset(golden)
    chosen = [SubsetRow(clip, {"score": 1.0}) for clip in dataset.clips]
    write_subset(dataset, chosen, tmp_path / "being written", files="copy", final=tmp_path / "out")
    (tmp_path / "being written").rename(tmp_path / "out")
    again = read_dataset(tmp_path / "out/train.toml")
    assert [clip.clip_id for clip in again.clips] == [clip.clip_id for clip in dataset.clips]


def test_entries_without_a_selected_clip_are_left_out(golden: Path, tmp_path: Path) -> None:
    dataset = read_dataset(golden)
    write_subset(dataset, [SubsetRow(dataset.clips[0], {"score": 1.0})], tmp_path / "out", files="copy")
    names = [next(iter(entry)) for entry in load_config(tmp_path / "out/train.toml")["datasets"]]
    assert names == ["video_directory", "image_directory"]
    assert (tmp_path / "out/clips/a.txt").read_bytes() == (golden.parent / "clips/a.txt").read_bytes()


def test_a_selection_of_what_is_gone_is_refused(golden: Path, tmp_path: Path) -> None:
    dataset = read_dataset(golden)
    jsonl(golden.parent / "more.jsonl", {"video_path": "clips/a.mp4", "caption": "x"})
    with pytest.raises(DatasetError, match=r"no longer lists every selected clip: 'other/e\.webm'"):
        write_subset(dataset, [SubsetRow(dataset.clips[2], {"score": 1.0})], tmp_path / "out", files="copy")


def test_one_clip_with_two_captions_is_a_failure(golden: Path) -> None:
    jsonl(golden.parent / "more.jsonl", {"video_path": "clips/a.mp4", "caption": "another"})
    dataset = read_dataset(golden)
    assert [(failure.clip_id, failure.reason) for failure in dataset.failures] == [("clips/a.mp4", "duplicate_id")]


def test_json_is_a_configuration_too(golden: Path) -> None:
    config = golden.with_suffix(".json")
    config.write_text(json.dumps(load_config(golden)))
    assert read_dataset(config).clips == read_dataset(golden).clips


def test_a_folder_is_read_for_a_configuration_only_by_name(golden: Path) -> None:
    dataset = read_dataset(golden.parent, "musubi")
    assert dataset.clips == read_dataset(golden).clips
    (golden.parent / "second.toml").write_text(GOLDEN)
    with pytest.raises(DatasetError, match=r"second\.toml, train\.toml; give the path of the file"):
        read_dataset(golden.parent, "musubi")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[general\n", "must be a configuration"),
        ("\xff", "must be UTF-8"),
        ("[[datasets]]\nvideo_directory = 5\ncaption_extension = '.txt'\n", None),
        ("datasets = 5\n", "holds no dataset"),
        ("[[datasets]]\nvideo_directory = '" + "x" * (1 << 20) + "'\n", "at most 1 MiB"),
        ("x = " + "[" * 60 + "]" * 60 + "\n", "deeper than 32 levels"),
    ],
)
def test_bad_configurations_say_so(golden: Path, text: str, message: str | None) -> None:
    golden.write_bytes(text.encode("latin-1"))
    if message is None:
        assert [failure.reason for failure in read_dataset(golden).failures] == ["bad_row"]
        return
    with pytest.raises(DatasetError, match=message) as error:
        read_dataset(golden)
    assert "train.toml" in str(error.value)


def test_a_part_is_public() -> None:
    assert Part("x").line() == "x: no shapes stated"


def test_the_summary_shows_the_parts(golden: Path) -> None:
    dataset = read_dataset(golden)
    assert dataset.read_as == f"musubi from {golden}"
    lines = dataset_lines(dataset.rows, dataset.without_caption, dataset.unread, dataset.parts)
    assert lines[0] == "trainer's datasets[0] clips: 1, 25, 45 frames; the area of 960x544; read as 30 fps"
    assert lines[1] == "trainer's datasets[1] more.jsonl: 1 frames; the area of 480x480; 3 repeats"
