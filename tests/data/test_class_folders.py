"""Splits, classes and columns of files of VideoFolder, as ``datasets`` 5.2.0 reads them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motive.data import Clip, Dataset, SubsetRow, read_dataset, write_subset
from motive.data.check.files import without_row
from motive.data.formats.class_folders import split_of
from motive.errors import DatasetError


def videos(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"video " + name.encode())
    return folder


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)


def facts(dataset: Dataset) -> dict[str, tuple[str, str | None]]:
    """Caption and split of each clip."""
    return {clip.clip_id: (clip.caption, clip.columns.get("split")) for clip in dataset.clips}


def unread(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.why for item in dataset.unread}


def selection(dataset: Dataset, chosen: Sequence[Clip], out: Path, files: Any = "copy") -> None:
    write_subset(dataset, [SubsetRow(clip, {"score": 0.5}) for clip in chosen], out, files=files)


KINDS = [".csv", ".tsv", ".jsonl", ".parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_tables_of_split_folders_are_one_dataset(tmp_path: Path, kind: str) -> None:
    folder = videos(tmp_path / "set", "train/a.mp4", "train/b.mp4", "test/a.mp4")
    write(folder / f"train/metadata{kind}", [{"file_name": f"{n}.mp4", "text": f"train {n}", "n": 1} for n in "ab"])
    write(
        folder / f"test/metadata{kind}", [{"file_name": f"{n}.mp4", "text": f"test {n}", "n": 2} for n in ("a", "gone")]
    )
    dataset = read_dataset(folder)
    assert dataset.format == "videofolder"
    assert facts(dataset) == {
        "test/a.mp4": ("test a", "test"), "train/a.mp4": ("train a", "train"), "train/b.mp4": ("train b", "train"),
    }  # fmt: skip
    assert [(failure.clip_id, failure.reason) for failure in dataset.failures] == [("test/gone.mp4", "missing_file")]
    assert not dataset.unread
    selection(dataset, [dataset.clips[2], dataset.clips[0]], tmp_path / "out")
    assert (
        sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clips.csv", "test", "train"]
        or (tmp_path / "out/TRAIN.md").exists()
    )
    again = read_dataset(tmp_path / "out")
    assert facts(again) == {"test/a.mp4": ("test a", "test"), "train/b.mp4": ("train b", "train")}
    assert [(clip.columns["n"], clip.columns["score"]) for clip in again.clips] == [("2", "0.5"), ("1", "0.5")]
    selection(dataset, [dataset.clips[2]], tmp_path / "scores", files="none")
    assert [path.name for path in (tmp_path / "scores/train").iterdir()] == [f"selection{kind}"]
    write(folder / f"train/metadata{kind}", [{"file_name": "a.mp4", "text": "x", "n": 1}])
    with pytest.raises(DatasetError, match=r"no longer holds every selected clip: 'train/b\.mp4'"):
        selection(dataset, [dataset.clips[2]], tmp_path / "late")


def test_ids_of_several_tables_do_not_meet(tmp_path: Path) -> None:
    folder = videos(tmp_path / "set", "train/a.mp4", "val/a.mp4")
    for split in ("train", "val"):
        write(folder / f"{split}/metadata.csv", [{"file_name": "a.mp4", "id": "0", "text": split}])
    dataset = read_dataset(folder)
    assert facts(dataset) == {"train/0": ("train", "train"), "val/0": ("val", "validation")}
    selection(dataset, dataset.clips, tmp_path / "out", files="link")
    assert facts(read_dataset(tmp_path / "out")) == facts(dataset)


def test_folders_without_a_table_are_named(tmp_path: Path) -> None:
    videos(tmp_path, "a/x.mp4", "b/y.mp4", "c/deep/z.mp4")
    write(tmp_path / "a/metadata.csv", [{"file_name": "x.mp4", "text": "one"}])
    write(tmp_path / "b/metadata.jsonl", [{"file_name": "y.mp4", "text": "two"}])
    write(tmp_path / "b/metadata.csv", [{"file_name": "y.mp4", "text": "two"}])
    dataset = read_dataset(tmp_path)
    assert facts(dataset) == {"a/x.mp4": ("one", None), "b/y.mp4": ("two", None)}
    assert unread(dataset) == {
        "b/metadata.jsonl": "it holds the same rows as metadata.csv",
        "videos in c/": "it has no table, as the other folders have",
    }


def test_videos_above_the_tables_leave_it_in_doubt(tmp_path: Path) -> None:
    videos(tmp_path, "x.mp4", "train/a.mp4")
    write(tmp_path / "train/metadata.csv", [{"file_name": "a.mp4", "text": "one"}])
    with pytest.raises(DatasetError, match="the table of clips lies in train/"):
        read_dataset(tmp_path)


def test_no_row_of_a_table_below_leads_out(tmp_path: Path) -> None:
    videos(tmp_path, "secret.mp4", "set/train/a.mp4", "set/b.mp4.d/b.mp4")
    names = ("a.mp4", "../../secret.mp4", "../b.mp4.d/b.mp4", str(tmp_path / "secret.mp4"))
    write(tmp_path / "set/train/metadata.csv", [{"file_name": name, "text": "x"} for name in names])
    dataset = read_dataset(tmp_path / "set")
    assert sorted(facts(dataset)) == ["b.mp4.d/b.mp4", "train/a.mp4"]
    assert {failure.reason for failure in dataset.failures} == {"path_escapes_root"}


def test_videos_that_no_table_of_several_names_are_found(tmp_path: Path) -> None:
    videos(tmp_path, "train/a.mp4", "train/extra.mp4", "test/b.mp4", "c/stray.mp4")
    write(
        tmp_path / "train/metadata.csv", [{"file_name": "a.mp4", "text": "x"}, {"file_name": "gone.mp4", "text": "x"}]
    )
    write(tmp_path / "test/metadata.csv", [{"file_name": "b.mp4", "text": "x"}])
    assert without_row(read_dataset(tmp_path), []) == ["c/stray.mp4", "train/extra.mp4"]


@pytest.mark.parametrize("column", ["video_file_name", "clip_file_name"])
def test_columns_that_end_as_the_hubs_do(tmp_path: Path, column: str) -> None:
    folder = videos(tmp_path / "set", "a.mp4", "b.mp4")
    (folder / "a.png").write_bytes(b"x")
    rows = [{"mask_file_name": "a.png", column: f"{name}.mp4", "text": name} for name in "ab"]
    write(folder / "metadata.csv", rows)
    dataset = read_dataset(folder)
    assert (dataset.format, facts(dataset)) == ("videofolder", {"a.mp4": ("a", None), "b.mp4": ("b", None)})
    selection(dataset, [dataset.clips[1]], tmp_path / "out")
    assert facts(read_dataset(tmp_path / "out")) == {"b.mp4": ("b", None)}


def test_file_name_counts_before_columns_that_end_so(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4", "b.mp4")
    write(tmp_path / "metadata.csv", [{"control_file_name": "b.mp4", "file_name": "a.mp4"}])
    assert [clip.clip_id for clip in read_dataset(tmp_path).clips] == ["a.mp4"]
    write(tmp_path / "metadata.csv", [{"control_file_name": "b.mp4", "file_name": ""}])
    assert [failure.reason for failure in read_dataset(tmp_path).failures] == ["bad_path"]


def columns(dataset: Dataset) -> dict[str, dict[str, str]]:
    return {clip.clip_id: dict(clip.columns) for clip in dataset.clips}


def test_labels_are_the_names_of_class_folders(tmp_path: Path) -> None:
    """Where all videos lie equally deep, and in more than one folder; as datasets' FolderBasedBuilder decides."""
    videos(tmp_path, "train/cat/1.mp4", "train/dog/1.mp4", "test/cat/2.mp4")
    assert columns(read_dataset(tmp_path)) == {
        "test/cat/2.mp4": {"split": "test", "label": "cat"},
        "train/cat/1.mp4": {"split": "train", "label": "cat"},
        "train/dog/1.mp4": {"split": "train", "label": "dog"},
    }
    videos(tmp_path, "train/other.mp4")
    assert columns(read_dataset(tmp_path))["train/cat/1.mp4"] == {"split": "train"}, "not equally deep"


def test_one_folder_is_no_class(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4", "b.mp4")
    assert columns(read_dataset(tmp_path)) == {"a.mp4": {}, "b.mp4": {}}
    videos(tmp_path / "two", "videos/a.mp4", "videos/b.mp4")
    assert columns(read_dataset(tmp_path / "two")) == {"videos/a.mp4": {}, "videos/b.mp4": {}}


@pytest.mark.parametrize(
    ("folder", "split"),
    [("train", "train"), ("training", "train"), ("my-train", "train"), ("train_2", "train"), ("a/val/b", "validation"),
     ("dev", "validation"), ("valid.x", "validation"), ("evaluation", "test"), ("x eval y", "test"), ("trained", ""),
     ("contest", ""), ("Train", ""), ("devil", ""), (".", ""), ("test/train", "test")],
)  # fmt: skip
def test_words_of_splits(folder: str, split: str) -> None:
    assert split_of(folder) == split
