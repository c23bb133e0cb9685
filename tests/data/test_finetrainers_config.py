"""finetrainers' training.json, in the layout of its examples/training (commit 6168a1c)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from motive.data import Dataset, SubsetRow, read_dataset, write_subset
from motive.testing import Entry, FormatContract, place_videos


class TestFinetrainersConfig(FormatContract):
    format = "finetrainers-config"
    multiline = False
    subset_table = "clips.csv"

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        (folder / "videos.txt").write_text("".join(f"{entry.path}\n" for entry in entries), encoding="utf-8")
        (folder / "prompts.txt").write_text("".join(f"{entry.caption or ''}\n" for entry in entries), encoding="utf-8")
        config = folder / "training.json"
        config.write_text(json.dumps({"datasets": [{"data_root": ".", "dataset_type": "video"}]}))
        return config

    def subset_path(self, out: Path) -> Path:
        return out / "training.json"


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for name in ("pairs/a.mp4", "pairs/b.mp4", "lists/c.mp4", "lists/d.mp4", "table/e.mp4", "stills/f.png"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (root / "pairs/a.txt").write_text("one\n")
    (root / "lists/videos.txt").write_text("c.mp4\nd.mp4\n")
    (root / "lists/prompt.txt").write_text("three\n\n")
    (root / "table/metadata.csv").write_text("file_name,caption,seed\ne.mp4,five,7\n")
    (root / "bad").mkdir()
    (root / "bad/metadata.csv").write_bytes("file_name,caption\n".encode("utf-16"))
    common = {"dataset_type": "video", "reshape_mode": "bicubic"}
    entries = [
        {
            "data_root": "pairs",
            "id_token": "afkx",
            "video_resolution_buckets": [[49, 480, 704], [49, 704, 480]],
            **common,
        },
        {"data_root": "stills", "dataset_type": "image", "image_resolution_buckets": [[512, 512]]},
        {"data_root": "lists", **common},
        {"data_root": "table", **common},
        {"data_root": "finetrainers/crush-smol", **common},
        {"data_root": "bad", **common},
        {"dataset_file": "x", **common},
    ]
    config = root / "training.json"
    config.write_text(json.dumps({"datasets": entries}, indent=2))
    return config


def captions(dataset: Dataset) -> dict[str, str]:
    return {clip.clip_id: clip.caption for clip in dataset.clips}


def test_the_documented_configuration(golden: Path) -> None:
    dataset = read_dataset(golden)
    assert dataset.format == "finetrainers-config"
    assert captions(dataset) == {
        "lists/c.mp4": "three",
        "lists/d.mp4": "",
        "pairs/a.mp4": "afkx one",
        "table/e.mp4": "five",
    }
    assert [clip.parts for clip in dataset.clips] == [(1,), (1,), (0,), (2,)]
    assert dataset.clips[3].columns["seed"] == "7"
    reasons = [(failure.clip_id, failure.reason) for failure in dataset.failures]
    assert reasons == [
        ("b.mp4", "no_caption"),
        ("datasets[4] finetrainers/crush-smol", "missing_file"),
        ("datasets[5] bad", "bad_text"),
    ]
    assert {item.name: item.why for item in dataset.unread} == {
        "datasets[1] stills": "it lists images; only videos have motion",
        "datasets[6]": "it names no data_root",
    }


def test_the_shapes_it_trains_on(golden: Path) -> None:
    first = read_dataset(golden).parts[0]
    assert first.buckets == ((704, 480, 49), (480, 704, 49))
    assert first.line() == "datasets[0] pairs: buckets 704x480x49, 480x704x49"
    assert first.settings["reshape_mode"] == "bicubic"


def test_a_selection_is_lists_and_their_configuration(golden: Path, tmp_path: Path) -> None:
    dataset = read_dataset(golden)
    out = tmp_path / "out"
    chosen = [SubsetRow(clip, {"score": 1.0}) for clip in dataset.clips if clip.caption]
    training = write_subset(dataset, chosen, out, files="copy")
    assert training is not None
    assert str(out / "training.json") in " ".join(training.commands)
    again = read_dataset(out / "training.json")
    assert not again.failures
    assert sorted(captions(again).values()) == ["afkx one", "five", "three"], "the token is part of the caption now"
