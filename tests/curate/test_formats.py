"""A selection in each format: the same clips, captions, columns and scores; and without the videos."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from motive.curate import SelectConfig, rows, select
from motive.data import read_dataset, selection_writers
from motive.errors import DatasetError, OptionError

READ_BACK = {
    "diffsynth": ("", "diffsynth"),
    "diffusion-pipe": ("videos", "folder"),
    "folder": ("videos", "folder"),
    "hf": ("", "videofolder"),
    "jsonl": ("", "jsonl"),
    "musubi": ("videos.jsonl", "jsonl"),
    "webdataset": ("shards", "webdataset"),
}
"""Formats that are read here: what to read of a selection, and as which format."""


@pytest.mark.parametrize("name", sorted(selection_writers()))
def test_a_selection_in_every_format(tmp_path: Path, scored, name: str) -> None:
    made = scored("videofolder")
    out = tmp_path / "out"
    selection = select(made.scores, out, SelectConfig(top="20%", format=name))
    original = {clip.clip_id: clip for clip in read_dataset(made.dataset).clips}
    record = json.loads((out / "selection.json").read_text())
    assert record["config"]["format"] == name
    assert "TRAIN.md" in record["files"]
    assert any("TRAIN.md" in line for line in selection.lines())
    if name in READ_BACK:
        inner, kind = READ_BACK[name]
        again = read_dataset(out / inner, kind)
        assert not again.failures
        found = {clip.path.name: clip.caption for clip in again.clips} if kind == "folder" else None
        if found is not None:
            assert sorted(found.values()) == sorted(original[i].caption for i in selection.clip_ids)
        else:
            assert {clip.clip_id: clip.caption for clip in again.clips} == {
                clip_id: original[clip_id].caption for clip_id in selection.clip_ids
            }
            assert all(float(clip.columns["motive_mean"]) <= 1 for clip in again.clips)
    select(made.scores, out, SelectConfig(top="10%", format=name))
    assert json.loads((out / "selection.json").read_text())["clips"]["selected"] == 3, "replaced in one step"


@pytest.mark.parametrize("kind", ["folder", "videofolder", "diffsynth", "jsonl"])
def test_scores_without_videos(tmp_path: Path, scored, kind: str) -> None:
    """The table can be put back into the dataset's folder: its file cells are as they were."""
    made = scored(kind)
    selection = select(made.scores, tmp_path / "out", SelectConfig(top="20%", scores_only=True))
    assert {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()} <= {".csv", ".json", ".jsonl"}
    table = {"folder": "metadata.csv", "jsonl": "clips.jsonl"}.get(kind, "selection.csv")
    target = made.dataset / "motive-scores"
    (made.dataset / table).unlink(missing_ok=True)
    (tmp_path / "out" / table).rename(target.with_suffix(Path(table).suffix))
    again = read_dataset(target.with_suffix(Path(table).suffix), {"folder": "videofolder"}.get(kind, kind))
    assert not again.failures
    assert [clip.clip_id for clip in again.clips] == sorted(selection.clip_ids)
    assert all(clip.path.is_relative_to(made.dataset) for clip in again.clips)
    assert all("motive_votes" in clip.columns for clip in again.clips)


def test_options_that_exclude_each_other(tmp_path: Path, scored) -> None:
    with pytest.raises(OptionError, match="files must be left out with scores_only"):
        SelectConfig(files="copy", scores_only=True)
    with pytest.raises(OptionError, match=r"format must be same or one of diffsynth, .*webdataset, got 'lance'"):
        SelectConfig(format="lance")
    made = scored()
    with pytest.raises(OptionError, match="holds the videos themselves"):
        select(made.scores, tmp_path / "out", SelectConfig(format="webdataset", scores_only=True))
    assert not (tmp_path / "out").exists()


def test_rows_on_disk_are_the_rows(tmp_path: Path, scored, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the rows are fetched and read, the selection has the same bytes."""
    made = scored("videofolder")
    select(made.scores, tmp_path / "whole", SelectConfig(top="100%", format="jsonl"))
    monkeypatch.setattr(rows, "_FETCHED", 14)
    monkeypatch.setattr(rows, "_BATCH", 7)
    select(made.scores, tmp_path / "parts", SelectConfig(top="100%", format="jsonl"))
    assert (tmp_path / "parts/clips.jsonl").read_bytes() == (tmp_path / "whole/clips.jsonl").read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".tmp", "tmp"))], "nothing is left behind"


def test_every_row_of_a_table_keeps_its_cells(tmp_path: Path, scored) -> None:
    made = scored("videofolder")
    selection = select(made.scores, tmp_path / "out", SelectConfig(top="20%"))
    with (tmp_path / "out/metadata.csv").open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert list(written[0])[:4] == ["file_name", "text", "rank", "fps"], "the dataset's columns come first, in order"
    assert [row["clip_id"] for row in written] == list(selection.clip_ids)


@pytest.mark.parametrize("name", ["same", *sorted(selection_writers())])
@pytest.mark.parametrize("kind", ["folder", "videofolder", "diffsynth", "jsonl"])
def test_a_selection_does_not_call_its_own_files_unread(tmp_path: Path, scored, kind: str, name: str) -> None:
    made = scored(kind)
    out = tmp_path / "out"
    select(made.scores, out, SelectConfig(top="20%", format=name))
    (out / "notes.csv").write_text("a,b\n1,2\n")
    if name == "webdataset":
        assert len(read_dataset(out).clips) == 6, "shards lie in a folder of theirs, where notes do not count"
        return
    if name == "list":  # its folder holds no dataset
        with pytest.raises(DatasetError, match=r"not read: notes\.csv \("):
            read_dataset(out)
        return
    found = read_dataset(out)
    assert [item.name for item in found.unread] == ["notes.csv"], "what somebody put there is named"
    (out / "selection.json").write_text('{"format": "another"}')
    assert "selection.json" in {item.name for item in read_dataset(out).unread}, "only the record of a selection"


def test_shards_hold_bytes_and_no_links(tmp_path: Path, scored) -> None:
    made = scored("webdataset")
    with pytest.raises(OptionError, match="files must be copy with format webdataset, got 'link'"):
        select(made.scores, tmp_path / "out", SelectConfig(top="20%", files="link"))
    assert not (tmp_path / "out").exists()
    select(made.scores, tmp_path / "out", SelectConfig(top="20%", files="copy"))
    assert len(read_dataset(tmp_path / "out/shards").clips) == 6


def test_a_list_names_the_originals_everywhere(tmp_path: Path, scored) -> None:
    made = scored("videofolder")
    select(made.scores, tmp_path / "out", SelectConfig(top="20%", format="list"))
    lines = (tmp_path / "out/clips.txt").read_text().splitlines()
    with open(tmp_path / "out/clips.csv", newline="", encoding="utf-8") as file:
        assert [row["file"] for row in csv.DictReader(file)] == lines
    assert all(Path(line).is_file() for line in lines)
    assert not list((tmp_path / "out").rglob("*.mp4"))


@pytest.mark.parametrize(("kind", "scores_only"), [("jsonl", False), ("folder", True)])
def test_a_selection_without_a_training_command_names_the_flag(
    tmp_path: Path, scored, kind: str, scores_only: bool
) -> None:
    made = scored(kind)
    found = select(made.scores, tmp_path / "out", SelectConfig(top="20%", scores_only=scores_only))
    assert not (tmp_path / "out/TRAIN.md").exists()
    assert [line for line in found.lines() if line.startswith("no training command: --format diffsynth")]
