"""ai-toolkit's jobs, in the layout of its config/examples (0.12.26, commit 27a03a9)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from motive.data import Dataset, SubsetRow, read_dataset, write_subset
from motive.data.formats.configs import load_config
from motive.errors import DatasetError
from motive.testing import Entry, FormatContract, place_videos

GOLDEN = """---
job: extension
config:
  # this name will be the folder and filename name
  name: "wan22_lora"
  process:
    - type: 'sd_trainer'
      training_folder: "output"
      trigger_word: "p3r5on"
      datasets:
        - folder_path: "clips"
          caption_ext: "txt"
          caption_dropout_rate: 0.05
          num_frames: 41
          resolution: [ 512, 768 ]
          control_path: "control"
        - folder_path: "stills"
          resolution: 1024
        - dataset_path: "[name].json"
          auto_frame_count: true
          fps: 16
          buckets: false
          num_repeats: 4
      train:
        lr: 1e-4
meta:
  version: '1.0'
  made: 2026-11-29
"""


class TestAiToolkit(FormatContract):
    format = "ai-toolkit"
    has_paths = False

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        for entry in entries:
            if entry.caption is not None:
                (folder / entry.path).with_suffix(".txt").write_text(entry.caption, encoding="utf-8")
        config = folder / "job.yaml"
        process = {"type": "sd_trainer", "datasets": [{"folder_path": ".", "caption_ext": "txt", "num_frames": 41}]}
        config.write_text(yaml.safe_dump({"job": "extension", "config": {"name": "x", "process": [process]}}))
        return config

    def subset_path(self, out: Path) -> Path:
        return out / "job.yaml"


class TestAiToolkitJson(FormatContract):
    format = "ai-toolkit"

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        texts = {entry.path: {} if entry.caption is None else {"caption": entry.caption} for entry in entries}
        (folder / "captions.json").write_text(json.dumps(texts), encoding="utf-8")
        config = folder / "job.yaml"
        process = {"type": "sd_trainer", "datasets": [{"dataset_path": "captions.json", "num_frames": 41}]}
        config.write_text(yaml.safe_dump({"job": "extension", "config": {"name": "x", "process": [process]}}))
        return config

    def subset_path(self, out: Path) -> Path:
        return out / "job.yaml"


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    names = (
        "clips/a.mp4",
        "clips/deep/b.MP4",
        "clips/c.ts",
        "clips/_controls/a.mp4",
        "clips/.aitk/x.mp4",
        "clips/i.png",
    )
    for name in (*names, "clips/_latent_cache/a.safetensors", "stills/s.png", "far/d.mp4", "far/e.mp4"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (root / "clips/a.txt").write_text("a [trigger] walks\n")
    (root / "clips/deep/b.txt").write_text("turns \u2603", encoding="utf-8")
    (root / "far/e.txt").write_text("from the file")
    texts = {"far/d.mp4": {"caption": "long", "caption_short": "short", "seed": 3}, "far/e.mp4": {}, "gone.mp4": {}}
    (root / "wan22_lora.json").write_text(json.dumps(texts))
    config = root / "job.yaml"
    config.write_text(GOLDEN)
    return config


def captions(dataset: Dataset) -> dict[str, str]:
    return {clip.clip_id: clip.caption for clip in dataset.clips}


def unread(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.why for item in dataset.unread}


def write_job(path: Path, *entries: object, **process: object) -> Path:
    path.write_text(yaml.safe_dump({"config": {"name": "x", "process": [{**process, "datasets": list(entries)}]}}))
    return path


def test_the_documented_job(golden: Path) -> None:
    dataset = read_dataset(golden)
    assert dataset.format == "ai-toolkit"
    assert captions(dataset) == {
        "clips/a.mp4": "a p3r5on walks",
        "clips/deep/b.MP4": "p3r5on turns \u2603",
        "far/d.mp4": "p3r5on long",
        "far/e.mp4": "p3r5on from the file",
    }
    assert [clip.parts for clip in dataset.clips] == [(0,), (0,), (1,), (1,)]
    assert dataset.clips[2].columns == {"caption": "long", "caption_short": "short", "seed": "3"}
    assert [(failure.clip_id, failure.reason) for failure in dataset.failures] == [("gone.mp4", "missing_file")]
    name = "process[0].datasets[0] clips"
    assert unread(dataset) == {
        f"1 .ts files of {name}": "ai-toolkit does not read them",
        f"1 images of {name}": "only videos have motion",
        f"1 latents of {name}": "precomputed latents are no videos; --latents uses those of musubi-tuner and FastVideo",
        "process[0].datasets[1] stills": "num_frames is 1, so ai-toolkit reads its images only",
    }


def test_the_shapes_it_trains_on(golden: Path) -> None:
    first, second = read_dataset(golden).parts
    assert (first.frames, first.sizes, first.keeps_aspect) == ((41,), ((512, 512), (768, 768)), True)
    assert (first.fps, first.settings["caption_dropout_rate"]) == (None, 0.05)
    assert (second.whole_clips, second.fps, second.keeps_aspect, second.repeats) == (True, 16, False, 4)
    assert second.line() == "process[0].datasets[2] wan22_lora.json: whole clips; 512x512; 16 fps; 4 repeats"


def test_captions_as_they_are_trained_on(golden: Path) -> None:
    entry = {"folder_path": "clips", "num_frames": 9}
    root = golden.parent
    assert captions(read_dataset(write_job(golden, entry)))["clips/a.mp4"] == "a  walks", (
        "no trigger word: the mark goes"
    )
    own = {**entry, "trigger_word": "tok", "is_reg": True}
    found = captions(read_dataset(write_job(golden, own, trigger_word="other")))
    assert found == {"clips/a.mp4": "a tok walks", "clips/deep/b.MP4": "turns \u2603"}, "regularization gets no word"
    (root / "clips/a.txt").write_text(" \n")
    (root / "clips/deep/b.cap").write_text("other kind")
    other = {**entry, "caption_ext": "cap", "default_caption": "by default"}
    assert list(captions(read_dataset(write_job(golden, other))).values()) == ["by default", "other kind"]
    short = {"dataset_path": "wan22_lora.json", "num_frames": 9, "use_short_captions": True}
    assert captions(read_dataset(write_job(golden, short)))["far/d.mp4"] == "short"


def test_a_selection_keeps_the_job(golden: Path, tmp_path: Path) -> None:
    dataset = read_dataset(golden)
    clips = {clip.clip_id: clip for clip in dataset.clips}
    out = tmp_path / "out"
    chosen = [SubsetRow(clips[name], {"score": 1.0}) for name in ("far/d.mp4", "far/e.mp4", "clips/deep/b.MP4")]
    write_subset(dataset, chosen, out, files="copy")
    before, after = load_config(golden), load_config(out / "job.yaml")
    assert after["meta"] == {"version": "1.0", "made": "2026-11-29"}
    (old,), (new,) = before["config"]["process"], after["config"]["process"]
    assert {**new, "datasets": None} == {**old, "datasets": None}
    clips_entry, stills, table = new["datasets"]
    paths = {"folder_path": str(out / "clips"), "control_path": str(golden.parent / "control")}
    assert clips_entry == {**old["datasets"][0], **paths}
    assert stills["folder_path"] == str(golden.parent / "stills")
    assert json.loads(Path(table["dataset_path"]).read_text()) == {
        str(out / "far/d.mp4"): {"caption": "long", "caption_short": "short", "seed": 3},
        str(out / "far/e.mp4"): {},
    }
    assert "1e-4" in (out / "job.yaml").read_text(), "ai-toolkit reads this as a number, as it is"
    assert captions(read_dataset(out / "job.yaml")) == {row.clip.clip_id: row.clip.caption for row in chosen}


def test_paths_that_are_not_followed(golden: Path, tmp_path: Path) -> None:
    entries = [{"folder_path": path, "num_frames": 9} for path in ("${HOME}/clips", "../x", str(tmp_path), "nowhere")]
    dataset = read_dataset(write_job(golden, *entries, {"folder_path": ["a"], "num_frames": 9}))
    reasons = [failure.reason for failure in dataset.failures]
    assert reasons == ["bad_path", "path_escapes_root", "path_escapes_root", "missing_file", "bad_row"]
    assert "environment" in dataset.failures[0].detail


def test_a_small_file_that_describes_a_huge_one_is_refused(golden: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    golden.write_text(bomb)
    with pytest.raises(DatasetError, match="more than 100,000 values"):
        read_dataset(golden)
    golden.write_text("a: &a [*a]\n")
    with pytest.raises(DatasetError, match="deeper than 32 levels"):
        read_dataset(golden)
    golden.write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(DatasetError, match="could not determine a constructor"):
        read_dataset(golden)


@pytest.mark.parametrize(
    "value", ["!!int ''", "!!bool x", "!!timestamp y", "!!set {a, b}", "!!omap [a: 1]", "? [a]\n: b"]
)
def test_odd_yaml_gives_an_answer(golden: Path, value: str) -> None:
    golden.write_text(f"a: {value}\n")
    with pytest.raises(DatasetError, match=r"job\.yaml must be a configuration"):
        read_dataset(golden)


def test_json_is_a_job_too(golden: Path) -> None:
    config = golden.with_suffix(".json")
    config.write_text(json.dumps(load_config(golden)))
    assert captions(read_dataset(config)) == captions(read_dataset(golden))
