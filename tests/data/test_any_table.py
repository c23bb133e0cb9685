"""Tables that no tool's layout claims are read by their path, and what is missing in the others is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from motive.data import Dataset, read_dataset
from motive.errors import DatasetError
from tests.data.tables import write_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("c0.mp4", "c1.mp4", "c2.mp4"):
        (tmp_path / name).write_bytes(b"video")
    return tmp_path


def captions(dataset: Dataset) -> dict[str, str]:
    return {clip.clip_id: clip.caption for clip in dataset.clips}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".parquet"])
@pytest.mark.parametrize(
    ("video", "caption"), [("path", "caption"), ("path", "text"), ("video", "caption"), ("video_path", "caption")]
)
def test_common_columns_in_every_kind_of_table(folder: Path, suffix: str, video: str, caption: str) -> None:
    table = write_table(
        folder / f"train{suffix}", [{video: f"c{n}.mp4", caption: f"text {n}", "n": n} for n in range(2)]
    )
    dataset = read_dataset(table)
    assert (dataset.format, dataset.source) == ("table", table)
    assert captions(dataset) == {"c0.mp4": "text 0", "c1.mp4": "text 1"}
    assert [clip.columns["n"] for clip in dataset.clips] == ["0", "1"]
    assert captions(read_dataset(folder, "table")) == captions(dataset), (
        "the only table of a folder, by the format's name"
    )
    found = read_dataset(folder)
    assert found.format == "folder", "what a folder is read as does not change"
    assert [(item.name, "give its path to read it" in item.why) for item in found.unread] == [(table.name, True)]


def test_layouts_of_tools_keep_their_formats(folder: Path) -> None:
    rows = {"opensora": {"path": "c0.mp4", "text": "x", "fps": 8}, "diffsynth": {"video": "c0.mp4", "prompt": "x"}}
    rows |= {
        "videofolder": {"file_name": "c0.mp4", "path": "no"},
        "vidgen": {"vid": "c0", "caption": "x", "path": "no"},
    }
    for format, row in rows.items():
        assert read_dataset(write_table(folder / "train.csv", [row])).format == format


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
def test_a_table_without_a_column_of_videos_says_what_it_has(folder: Path, suffix: str) -> None:
    table = write_table(folder / f"train{suffix}", [{"clip": "c0.mp4", "words": "x", **{f"x{n}": n for n in range(9)}}])
    with pytest.raises(DatasetError) as caught:
        read_dataset(table)
    assert "its columns are clip, words, x0, x1, x2, x3, x4, x5, ...;" in str(caught.value)
    assert "path or video or video_path or file_name" in str(caught.value)
    (folder / "one.csv").write_text("path;caption\nc0.mp4;x\n")
    with pytest.raises(DatasetError, match="its columns are path;caption;"):
        read_dataset(folder / "one.csv")


def test_several_tables_of_a_folder_are_refused_by_name(folder: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write_table(folder / name, [{"path": "c0.mp4", "caption": name}])
    (folder / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"several tables of clips: a\.csv and b\.csv"):
        read_dataset(folder, "table")


FIRST = ["{bad", "[]", "{}", "7", json.dumps({"meta": 1}), json.dumps({"text": "words alone"})]


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("named", [True, False])
def test_the_first_line_alone_does_not_decide(folder: Path, first: str, named: bool) -> None:
    table = folder / "d.jsonl"
    table.write_text(first + "\n" + json.dumps({"path": "c0.mp4", "caption": "moves"}) + "\n")
    dataset = read_dataset(table if named else folder)
    assert (dataset.format, captions(dataset)) == ("jsonl", {"c0.mp4": "moves"})
    assert len(dataset.failures) == 1, "the first line is listed"


def test_a_data_juicer_sample_of_text_may_come_first(folder: Path) -> None:
    write_table(folder / "d.jsonl", [{"text": "words alone"}, {"videos": ["c0.mp4"], "text": "<__dj__video> moves"}])
    dataset = read_dataset(folder)
    assert (dataset.format, captions(dataset)) == ("data_juicer", {"c0.mp4": "moves"})
    assert [failure.reason for failure in dataset.failures] == ["bad_row"]


@pytest.mark.parametrize(("before", "format"), [(19, "jsonl"), (20, "folder")])
def test_the_first_twenty_rows_decide(folder: Path, before: int, format: str) -> None:
    write_table(folder / "d.jsonl", [{"meta": 1}] * before + [{"path": "c0.mp4"}])
    assert read_dataset(folder).format == format


def test_a_list_that_breaks_after_its_first_rows_is_not_taken_for_something_else(folder: Path) -> None:
    (folder / "videos2caption.json").write_text('[{"path": "c0.mp4", "cap": "a"},')
    with pytest.raises(DatasetError, match="must be a JSON list of objects"):
        read_dataset(folder)
