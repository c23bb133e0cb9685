"""diffusion-pipe's configurations, in the layout of its examples/dataset.toml (commit 8f83dbf)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from motive.data import Dataset, SubsetRow, read_dataset, write_subset
from motive.data.formats.configs import load_config
from motive.errors import DatasetError
from motive.testing import Entry, FormatContract, place_videos
from tests.data.test_webdataset import shard

GOLDEN = """resolutions = [512, [1280, 720]]
enable_ar_bucket = true
min_ar = 0.5
max_ar = 2.0
num_ar_buckets = 3
frame_buckets = [1, 33, 65]
caption_prefix = "TOK "

[[directory]]
path = "clips"
mask_path = "masks"
num_repeats = 2

[[directory]]
path = "more"
ar_buckets = [[512, 512], [448, 576]]
resolutions = [[448, 576]]
frame_buckets = [17]
skip_empty_caption = false
loudness = 3
"""


class TestDiffusionPipe(FormatContract):
    format = "diffusion-pipe"
    has_paths = False

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        for entry in entries:
            if entry.caption is not None:
                (folder / entry.path).with_suffix(".txt").write_text(entry.caption, encoding="utf-8")
        folders = dict.fromkeys(Path(entry.path).parent.as_posix() for entry in entries)
        listed = "".join(f'\n[[directory]]\npath = "{name}"\n' for name in folders)
        config = folder / "dataset.toml"
        config.write_text(f"skip_empty_caption = false\nresolutions = [512]\nframe_buckets = [1, 33]\n{listed}")
        return config

    def subset_path(self, out: Path) -> Path:
        return out / "dataset.toml"


class TestDiffusionPipeJson(TestDiffusionPipe):
    """The captions in captions.json."""

    format = "diffusion-pipe"

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        config = super().write_dataset(folder, entries)
        captions: dict[str, dict[str, list[str]]] = {}
        for entry in entries:
            path = Path(entry.path)
            found = captions.setdefault(path.parent.as_posix(), {})
            if entry.caption is not None:
                found[path.name] = [entry.caption]
                (folder / path).with_suffix(".txt").write_text("not this one")
        for name, found in captions.items():
            (folder / name / "captions.json").write_text(json.dumps(found), encoding="utf-8")
        return config


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    names = ("clips/a.mp4", "clips/b.mp4", "clips/c.mp4", "clips/i.png", "clips/deep/d.mp4", "clips/s.tar")
    for name in (*names, "more/e.mp4", "more/f.mp4", "more/g.mp4", "masks/a.png"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (root / "clips/s.tar").write_bytes(bytes(10240))  # a tar file without members
    (root / "clips/cache/wan").mkdir(parents=True)
    (root / "clips/a.txt").write_text("a cat \u2603\n", encoding="utf-8")
    (root / "clips/b.txt").write_text("")
    (root / "more/e.txt").write_text("not read beside captions.json")
    texts = {"e.mp4": ["first", "second"], "f.mp4": "not a list", "h.mp4": ["gone"]}
    (root / "more/captions.json").write_text(json.dumps(texts))
    config = root / "dataset.toml"
    config.write_text(GOLDEN)
    return config


def unread(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.why for item in dataset.unread}


def test_the_documented_configuration(golden: Path) -> None:
    dataset = read_dataset(golden)
    assert dataset.format == "diffusion-pipe"
    assert {clip.clip_id: clip.caption for clip in dataset.clips} == {
        "clips/a.mp4": "TOK a cat \u2603",
        "clips/b.mp4": "TOK",
        "more/e.mp4": "TOK first",
        "more/f.mp4": "TOK",
        "more/g.mp4": "TOK",
    }
    assert [(failure.clip_id, failure.reason) for failure in dataset.failures] == [("c.mp4", "no_caption")]
    assert [clip.parts for clip in dataset.clips] == [(0,), (0,), (1,), (1,), (1,)]
    assert unread(dataset) == {
        "1 images of directory[0] clips": "only videos have motion",
        "1 videos in subfolders of directory[0] clips": "diffusion-pipe does not enter them",
        "cache of directory[0] clips": "precomputed latents are not read; the videos are encoded again",
        "directory[1].loudness": "diffusion-pipe knows no such key and ignores it",
        "further captions of 1 videos in directory[1] more": "the first of each is used; a selection keeps all",
    }


def test_the_shapes_it_trains_on(golden: Path) -> None:
    first, second = read_dataset(golden).parts
    assert (first.frames, first.sizes, first.repeats) == ((33, 65), ((512, 512), (1280, 720)), 2)
    assert first.keeps_aspect
    assert first.aspect_ratios == pytest.approx((0.5, 1.0, 2.0))
    assert (second.frames, second.sizes) == ((17,), ((448, 576),))
    assert second.aspect_ratios == pytest.approx((448 / 576, 1.0))
    assert second.settings["caption_prefix"] == "TOK "
    assert first.line() == (
        "directory[0] clips: 33, 65 frames; the area of 512x512, 1280x720; 3 aspect ratios; 2 repeats"
    )


def test_size_buckets_and_squares(golden: Path) -> None:
    buckets = "size_buckets = [[832, 480, 81], [480, 832, 81], [512, 512, 1]]"
    golden.write_text(f'{buckets}\n[[directory]]\npath = "clips"\n')
    (part,) = read_dataset(golden).parts
    assert (part.buckets, part.frames, part.sizes) == (((832, 480, 81), (480, 832, 81)), (), ())
    assert part.line() == "directory[0] clips: buckets 832x480x81, 480x832x81"
    golden.write_text('resolutions = [[1280, 720]]\nframe_buckets = [33]\n[[directory]]\npath = "clips"\n')
    (part,) = read_dataset(golden).parts
    assert (part.sizes, part.keeps_aspect) == (((960, 960),), False), "without ar buckets every clip is a square"


def test_a_dataset_of_images_alone_says_so(golden: Path) -> None:
    golden.write_text('resolutions = [512]\nframe_buckets = [1]\n[[directory]]\npath = "clips"\n')
    assert "no bucket has more than one frame" in unread(read_dataset(golden))["videos of directory[0] clips"]


def test_a_selection_keeps_settings_and_all_captions(golden: Path, tmp_path: Path) -> None:
    dataset = read_dataset(golden)
    clips = {clip.clip_id: clip for clip in dataset.clips}
    chosen = [SubsetRow(clips[name], {"score": 1.0}) for name in ("more/e.mp4", "clips/a.mp4", "more/g.mp4")]
    out = tmp_path / "out"
    write_subset(dataset, chosen, out, files="copy")
    before, after = load_config(golden), load_config(out / "dataset.toml")
    assert {**after, "directory": None} == {**before, "directory": None}
    assert list(after["directory"][1]) == list(before["directory"][1])
    assert [entry["path"] for entry in after["directory"]] == [str(out / "clips"), str(out / "more")]
    assert after["directory"][0]["mask_path"] == str(golden.parent / "masks")
    assert json.loads((out / "more/captions.json").read_text()) == {"e.mp4": ["first", "second"]}
    assert (out / "clips/a.txt").read_bytes() == (golden.parent / "clips/a.txt").read_bytes()
    again = read_dataset(out / "dataset.toml")
    assert not again.failures
    assert {clip.clip_id: clip.caption for clip in again.clips} == {
        row.clip.clip_id: row.clip.caption for row in chosen
    }


def test_folders_elsewhere(golden: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    (golden.parent / "clips").rename(far)
    golden.write_text(f'frame_buckets = [33]\n[[directory]]\npath = "{far}"\n[[directory]]\npath = 5\n')
    dataset = read_dataset(golden)
    assert [failure.reason for failure in dataset.failures] == ["path_escapes_root", "bad_row"]
    assert {clip.clip_id for clip in read_dataset(golden, root=far).clips} == {"a.mp4", "b.mp4"}


@pytest.mark.parametrize("text", ["[1]", "{", "\xff", '{"a.mp4": "x"}'])
def test_captions_that_cannot_be_read(golden: Path, text: str) -> None:
    (golden.parent / "clips/captions.json").write_bytes(text.encode("latin-1"))
    golden.write_text('frame_buckets = [33]\n[[directory]]\npath = "clips"\n')
    dataset = read_dataset(golden)
    reasons = {failure.reason for failure in dataset.failures}
    assert reasons == ({"no_caption"} if text.startswith('{"') else {"bad_text"})
    assert not dataset.clips


def test_the_configuration_of_a_run_names_the_other(golden: Path) -> None:
    run = golden.parent / "run.toml"
    run.write_text("dataset = 'examples/dataset.toml'\noutput_dir = '/x'\n[model]\ntype = 'wan'\n")
    with pytest.raises(DatasetError, match=r"give the path of its dataset's, which it calls examples/dataset\.toml"):
        read_dataset(run)


def test_videos_in_tar_files(golden: Path, tmp_path: Path) -> None:
    """As utils/dataset.py enumerates them: every member of the folder's tar files, captioned by captions.json alone."""
    clips = golden.parent / "clips"
    entries = [
        ("a.mp4", b"A"),
        ("deep/b.mp4", b"BB"),
        ("./c.mp4", b"C"),
        ("a.txt", b"not read"),
        ("i.png", b"I"),
        ("n.mp4", b""),
    ]
    shard(clips / "s.tar", entries)
    (clips / "S.TAR").write_bytes(b"diffusion-pipe looks for .tar")
    captions = {"a.mp4": ["of both"], "deep/b.mp4": ["b", "b again"], "./c.mp4": ["c"], "b.mp4": ["file"], "n.mp4": 3}
    (clips / "captions.json").write_text(json.dumps(captions))
    golden.write_text('frame_buckets = [33]\ncaption_prefix = "TOK "\n[[directory]]\npath = "clips"\nnum_repeats = 2\n')
    dataset = read_dataset(golden)
    assert {clip.clip_id: clip.caption for clip in dataset.clips} == {
        "clips/a.mp4": "TOK of both",
        "clips/b.mp4": "TOK file",
        "clips/s.tar/a.mp4": "TOK of both",
        "clips/s.tar/c.mp4": "TOK c",
        "clips/s.tar/deep/b.mp4": "TOK b",
    }
    assert {clip.parts for clip in dataset.clips} == {(0,)}
    assert {failure.clip_id: failure.reason for failure in dataset.failures} == {
        "c.mp4": "no_caption", "clips/s.tar/n.mp4": "no_caption"
    }  # fmt: skip
    assert unread(dataset)["2 members of s.tar that are no videos"] == "only videos have motion"
    clips_by_id = {clip.clip_id: clip for clip in dataset.clips}
    chosen = [
        SubsetRow(clips_by_id[f"clips/{name}"], {"score": 1.0}) for name in ("s.tar/deep/b.mp4", "b.mp4", "s.tar/c.mp4")
    ]
    out = tmp_path / "out"
    write_subset(dataset, chosen, out, files="copy")
    folders = ["clips", "clips/s.tar/deep", "clips/s.tar"]
    after = load_config(out / "dataset.toml")
    assert [entry["path"] for entry in after["directory"]] == [str(out / folder) for folder in folders]
    assert all(entry["num_repeats"] == 2 for entry in after["directory"])
    assert [json.loads((out / folder / "captions.json").read_text()) for folder in folders] == [
        {"b.mp4": ["file"]}, {"b.mp4": ["b", "b again"]}, {"c.mp4": ["c"]}
    ]  # fmt: skip
    again = read_dataset(out / "dataset.toml")
    assert not again.failures
    assert {clip.clip_id: clip.caption for clip in again.clips} == {
        row.clip.clip_id: row.clip.caption for row in chosen
    }
    shard(clips / "s.tar", entries[1:])
    with pytest.raises(DatasetError, match=r"s\.tar has changed"):
        write_subset(dataset, chosen, tmp_path / "two", files="copy")
