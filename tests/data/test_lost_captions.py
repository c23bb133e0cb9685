"""Whatever lies beside videos and shards is read or named: tables, lists, linked folders and columns of bytes."""

from __future__ import annotations

import datetime
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motive.data import Dataset, SubsetRow, read_dataset, write_subset
from motive.errors import DatasetError


def shard(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def videos(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"video")
    return folder


def captions(dataset: Dataset) -> dict[str, str]:
    return {clip.clip_id: clip.caption for clip in dataset.clips}


def unread(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.why for item in dataset.unread}


def downloads(path: Path, **columns: list[Any]) -> None:
    """The table that video2dataset writes beside a shard."""
    pq.write_table(pa.table({"key": [f"{number:09d}" for number in range(3)], **columns}), path)


def test_a_parquet_table_beside_a_shard_gives_captions_and_columns(tmp_path: Path) -> None:
    set_ = tmp_path / "set"
    set_.mkdir()
    shard(set_ / "00000.tar", {"000000000.mp4": b"a", "000000001.mp4": b"b"})
    when = datetime.datetime(2026, 11, 29)
    downloads(
        set_ / "00000.parquet",
        caption=["first", None, "never fetched"],
        status=["success", "success", "failed_to_download"],
        views=[7, None, 1],
        taken=[when, when, when],
    )
    (set_ / "00000_stats.json").write_text('{"count": 3}')
    dataset = read_dataset(set_)
    assert captions(dataset) == {"00000.tar/000000000.mp4": "first", "00000.tar/000000001.mp4": ""}
    columns = {"key": "000000000", "caption": "first", "status": "success", "views": "7", "taken": str(when)}
    assert dataset.clips[0].columns == columns
    assert not dataset.failures
    assert unread(dataset) == {"1 rows of 00000.parquet": "no video of the shard has their key, 000000002 for one"}
    assert captions(read_dataset(set_ / "00000.tar")) == captions(dataset), "the shard alone has the same table"
    write_subset(dataset, [SubsetRow(clip, {"score": 1.0}) for clip in dataset.clips], tmp_path / "out", files="copy")
    again = read_dataset(tmp_path / "out/shards")
    assert sorted(captions(again).values()) == ["", "first"]
    assert {clip.columns["taken"] for clip in again.clips} == {str(when)}


def test_members_of_a_shard_count_before_the_table_beside_it(tmp_path: Path) -> None:
    fields = json.dumps({"caption": "by json", "views": 1}).encode()
    entries = {"000000000.mp4": b"a", "000000000.txt": b"by text", "000000001.mp4": b"b", "000000001.json": fields}
    shard(tmp_path / "0.tar", {**entries, "d/000000002.x.mp4": b"c"})
    downloads(tmp_path / "0.parquet", caption=["t0", "t1", "t2"], views=[5, 6, 7])
    dataset = read_dataset(tmp_path)
    assert list(captions(dataset).values()) == ["by text", "by json", "t2"]
    assert [clip.columns["views"] for clip in dataset.clips] == ["5", "1", "7"]
    assert not dataset.unread


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"url": ["x"], "caption": ["y"]}, r"it has no column key that says which video a row is (url, caption)"),
        ({"key": ["k", "k"], "caption": ["y", "z"]}, "its row 2 has the key 'k' of another row"),
        ({"key": [7], "caption": ["y"]}, "its row 1 has no text as key"),
    ],
)
def test_a_table_beside_a_shard_that_cannot_be_used_is_named(tmp_path: Path, columns: Any, why: str) -> None:
    shard(tmp_path / "0.tar", {"k.mp4": b"a", "k.txt": b"text"})
    pq.write_table(pa.table(columns), tmp_path / "0.parquet")
    dataset = read_dataset(tmp_path)
    assert (captions(dataset), unread(dataset)) == ({"0.tar/k.mp4": "text"}, {"0.parquet": why})
    (tmp_path / "0.parquet").write_bytes(b"PAR1")
    assert unread(read_dataset(tmp_path))["0.parquet"].startswith("it cannot be read: ")


def test_a_table_beside_a_shard_that_links_elsewhere_is_not_read(tmp_path: Path) -> None:
    downloads(tmp_path / "secret.parquet", caption=["x", "y", "z"])
    (tmp_path / "set").mkdir()
    shard(tmp_path / "set/0.tar", {"000000000.mp4": b"a"})
    (tmp_path / "set/0.parquet").symlink_to(tmp_path / "secret.parquet")
    dataset = read_dataset(tmp_path / "set")
    assert list(captions(dataset).values()) == [""]
    assert "--follow-links" in unread(dataset)["0.parquet"]


def test_only_a_video_of_its_name_hides_a_table(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4", "captions.mp4")
    for name in ("notes.txt", "notes.csv", "a.csv", "extra.csv", "extra.pdf"):
        (tmp_path / name).write_text("x,y\n1,2\n")
    found = unread(read_dataset(tmp_path))
    assert set(found) == {"notes.csv", "extra.csv", "1 .csv files"}, "a.csv lies beside a.mp4, as a caption may"


def test_archives_beside_a_table_are_not_said_to_lie_beside_videos(tmp_path: Path) -> None:
    shard(tmp_path / "s.tar", {"a.mp4": b"a"})
    (tmp_path / "metadata.csv").write_text("file_name,text\na.mp4,x\n")
    dataset = read_dataset(tmp_path)
    assert unread(dataset) == {"s.tar": "it lies beside metadata.csv, which is read; give its path to read it"}
    (tmp_path / "metadata.csv").unlink()
    videos(tmp_path, "b.mp4")
    assert unread(read_dataset(tmp_path, "folder")) == {}, "the user named the format"


@pytest.mark.parametrize(
    "name", ["prompts.txt", "prompt.txt", "captions.txt", "caption.txt", "videos.txt", "video.txt"]
)
def test_one_list_without_the_other_is_named(tmp_path: Path, name: str) -> None:
    videos(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / name).write_text("x\ny\n")
    other = "prompts.txt" if name.startswith("video") else "videos.txt"
    assert f"a list without {other}" in unread(read_dataset(tmp_path))[name]
    videos(tmp_path, name.replace(".txt", ".mp4"))
    dataset = read_dataset(tmp_path)
    assert (unread(dataset), dataset.without_caption) == ({}, 2), "now it is that video's caption"


def test_linked_folders_are_named_or_entered(tmp_path: Path) -> None:
    videos(tmp_path, "else/c.mp4")
    folder = videos(tmp_path / "set", "real/a.mp4")
    (folder / "real/inner").symlink_to(folder / "real")
    (folder / "linked").symlink_to(tmp_path / "else")
    dataset = read_dataset(folder)
    assert list(captions(dataset)) == ["real/a.mp4"]
    why = "links to folders elsewhere, linked for one; pass --follow-links to enter them"
    assert unread(dataset) == {"1 linked folders": why}, "a link to a folder of the dataset hides nothing"
    dataset = read_dataset(folder, follow_links=True)
    assert (list(captions(dataset)), unread(dataset)) == (["linked/c.mp4", "real/a.mp4"], {})


def test_a_folder_of_links_alone(tmp_path: Path) -> None:
    videos(tmp_path, "else/c.mp4")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/linked").symlink_to(tmp_path / "else")
    with pytest.raises(DatasetError, match=r"linked is a link to a folder elsewhere: pass --follow-links"):
        read_dataset(tmp_path / "set")
    assert list(captions(read_dataset(tmp_path / "set", follow_links=True))) == ["linked/c.mp4"]


def test_linked_folders_where_videos_are_looked_up_by_name(tmp_path: Path) -> None:
    videos(tmp_path, "else/c0.mp4", "set/a/c1.mp4")
    (tmp_path / "set/linked").symlink_to(tmp_path / "else")
    (tmp_path / "set/VidGen_1M_video_caption.json").write_text(
        json.dumps([{"vid": vid, "caption": f"text {vid}"} for vid in ("c0", "c1")])
    )
    dataset = read_dataset(tmp_path / "set")
    assert (list(captions(dataset)), list(unread(dataset))) == (["c1"], ["1 linked folders"])
    dataset = read_dataset(tmp_path / "set", follow_links=True)
    assert (list(captions(dataset)), list(unread(dataset))) == (["c0", "c1"], [])


def test_members_that_may_be_captions_are_named(tmp_path: Path) -> None:
    shard(tmp_path / "0.tar", {"a.mp4": b"a", "a.caption": b"x", "b.mp4": b"b", "b.CAPTION": b"y", "b.prompt": b"z"})
    why = "captions are read from .txt and .json members"
    assert unread(read_dataset(tmp_path)) == {
        "2 .caption members of 0.tar": why,
        "1 .prompt members of 0.tar": why,
    }


def test_columns_of_bytes_that_are_not_read_are_named(tmp_path: Path) -> None:
    held = pa.array([{"bytes": b"film", "path": None}])
    pictures = pa.array([{"bytes": b"png", "path": "a.png"}])
    table = pa.table({"video": held, "caption": ["x"], "img": [b"abc"], "thumb": pictures, "emb": [[1.0, 2.0]]})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table, tmp_path / "b.parquet")
    dataset = read_dataset(tmp_path)
    assert dataset.format == "hf_datasets"
    assert list(unread(dataset)) == ["column img", "column thumb"], "once for all files"
    assert dataset.clips[0].columns == {"caption": "x", "emb": "[1.0, 2.0]"}


def details(dataset: Dataset) -> dict[str, str]:
    return {failure.clip_id: failure.detail for failure in dataset.failures}


@pytest.mark.parametrize("inside", ["train", "videos"])
def test_files_one_folder_below_their_table_are_found_for_the_message(tmp_path: Path, inside: str) -> None:
    """The older layout of DiffSynth, and tables above split folders."""
    folder = videos(tmp_path, *(f"{inside}/c{number}.mp4" for number in range(30)), "other/x.mp4")
    names = [*(f"c{number}.mp4" for number in range(30)), "gone.mp4", f"{inside}/c0.mp4"]
    (folder / "metadata.csv").write_text("video,prompt\n" + "".join(f"{name},text of {name}\n" for name in names))
    dataset = read_dataset(folder)
    found = details(dataset)
    hint = f"; it lies in {folder / inside}: pass --root {folder / inside}"
    assert {name for name, detail in found.items() if detail.endswith(hint)} == set(names) - {
        "gone.mp4",
        f"{inside}/c0.mp4",
    }
    assert found["gone.mp4"] == "'gone.mp4' does not exist"
    again = read_dataset(folder, root=folder / inside)
    assert len(again.clips) == 30, "the advice works"
    assert again.clips[0].caption == "text of c0.mp4"


def test_files_one_folder_above_their_table(tmp_path: Path) -> None:
    videos(tmp_path, "set/videos/a.mp4")
    (tmp_path / "set/tables").mkdir()
    table = tmp_path / "set/tables/train.csv"
    table.write_text("path,caption\nvideos/a.mp4,x\n")
    hint = f"it lies in {tmp_path / 'set'}: pass --root {tmp_path / 'set'}"
    assert hint in details(read_dataset(table))["videos/a.mp4"]
    assert captions(read_dataset(table, root=tmp_path / "set")) == {"videos/a.mp4": "x"}


@pytest.mark.parametrize(
    ("written", "up"), [("../videos/a.mp4", ".."), ("./../videos//a.mp4", "./.."), ("../../set/videos/a.mp4", "../..")]
)
def test_a_path_that_leads_out_says_what_to_pass(tmp_path: Path, written: str, up: str) -> None:
    videos(tmp_path, "set/videos/a.mp4")
    (tmp_path / "set/tables").mkdir()
    table = tmp_path / "set/tables/train.csv"
    table.write_text(f"path,caption\n{written},x\n")
    (failure,) = read_dataset(table).failures
    assert failure.reason == "path_escapes_root"
    advice = failure.detail.partition("pass --path-map ")[2]
    if "//" in written:
        assert "pass --root with that folder" in failure.detail
        return
    assert advice == f"{up}={tmp_path if up == '../..' else tmp_path / 'set'}"
    assert list(captions(read_dataset(table, path_map=[advice])).values()) == ["x"], "the advice works"


def test_a_path_that_leads_out_by_a_way_round(tmp_path: Path) -> None:
    videos(tmp_path / "set", "a.mp4")
    (tmp_path / "set/train.csv").write_text("path,caption\nsub/../../b.mp4,x\n")
    (failure,) = read_dataset(tmp_path / "set/train.csv").failures
    assert failure.detail == (
        "'sub/../../b.mp4' leads out of the dataset's folder; if its files are yours, write paths that start from a folder "
        "above them, and pass --root with that folder"
    )
