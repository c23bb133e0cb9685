"""No column is lost where names meet, and what is read again has the captions that were attributed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from motive.curate.place import write_record
from motive.data import SubsetRow, read_dataset, write_subset
from motive.data.writers.columns import titles
from motive.errors import OptionError

ROWS = [
    {"path": f"c{n}.mp4", "prompt": f"PROMPT{n}", "caption": f"CAP{n}", "text": f"TEXT{n}", "file": f"F{n}", "n": n}
    for n in range(3)
]


def source(tmp_path: Path, rows: list[dict[str, Any]], table: str = "x.jsonl") -> Path:
    (tmp_path / "set").mkdir()
    for n in range(3):
        (tmp_path / f"set/c{n}.mp4").write_bytes(b"video %d" % n)
    path = tmp_path / "set" / table
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def select(path: Path, out: Path, name: str = "same", files: Any = "copy") -> dict[str, Any]:
    """Write all clips; what a record says of it."""
    dataset, record = read_dataset(path), dict[str, Any]()
    rows = [SubsetRow(clip, {"motive_rank": n}) for n, clip in enumerate(dataset.clips, 1)]
    write_subset(dataset, rows, out, files=files, format=name, record=record)
    return record


def first(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.DictReader(file))


def test_titles_share_no_name() -> None:
    names = ["path", "source_path", "a", "source_path_2", "path_2"]
    assert titles(names, ["path", "score"]) == {
        "path": "source_path_3", "source_path": "source_path", "a": "a", "source_path_2": "source_path_2",
        "path_2": "path_2",
    }  # fmt: skip
    assert titles(["a_file_name", "source_a_path"], [], lambda name: name.replace("a_file_name", "source_a_path")) == {
        "a_file_name": "source_a_path_2",
        "source_a_path": "source_a_path",
    }


@pytest.mark.parametrize("name", ["folder", "finetrainers", "diffusion-pipe", "list"])
def test_clips_csv_keeps_the_user_s_caption_and_file(tmp_path: Path, name: str) -> None:
    """The captions are those of the prompt here; the table has another caption too."""
    rows = [{"video": row["path"], **{k: v for k, v in row.items() if k != "path"}} for row in ROWS]
    record = select(source(tmp_path, rows, "metadata.csv"), tmp_path / "out", name)
    row = first(tmp_path / "out/clips.csv")
    assert row["caption"] == "PROMPT0"
    assert (row["source_caption"], row["source_file"], row["source_text"]) == ("CAP0", "F0", "TEXT0")
    assert (row["prompt"], row["video"], row["n"]) == ("PROMPT0", "c0.mp4", "0")
    assert record["renamed_columns"]["clips.csv"] == {
        "caption": "source_caption", "file": "source_file", "text": "source_text"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["jsonl", "musubi", "diffsynth", "hf"])
def test_a_table_keeps_both_columns(tmp_path: Path, name: str) -> None:
    rows = [
        {**row, "source_path": "S", "video": "V", "source_video": "Cosmos", "video_path": "VP", "source_caption": "SC"}
        for row in ROWS
    ]
    record = select(source(tmp_path, rows), tmp_path / "out", name)
    tables = list((tmp_path / "out").glob("*.jsonl"))
    row = json.loads(tables[0].read_text().splitlines()[0])
    assert {"S", "V", "Cosmos", "VP", "SC", "c0.mp4", "F0", "TEXT0", "PROMPT0", "CAP0"} <= set(map(str, row.values()))
    assert (row["source_video"], row["source_caption"], row["source_path"]) == ("Cosmos", "SC", "S")
    renamed = record["renamed_columns"][name]
    assert all(row[new] is not None for new in renamed.values())


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(
    "name", ["same", "diffsynth", "musubi", "hf", "jsonl", "finetrainers", "folder", "fastvideo", "webdataset"]
)
@pytest.mark.parametrize("keys", [("caption", "text"), ("text", "note"), ("prompt", "text")])
def test_what_is_read_again_has_the_attributed_captions(
    tmp_path: Path, keys: tuple[str, str], name: str, recorded: bool
) -> None:
    rows = [{"path": f"c{n}.mp4", keys[0]: f"CAP{n}", keys[1]: f"OTHER{n}"} for n in range(3)]
    rows[2][keys[0]] = ""
    path = source(tmp_path, rows)
    given = {Path(clip.clip_id).stem: clip.caption for clip in read_dataset(path).clips}
    assert given["c0"] == "CAP0"
    record = select(path, tmp_path / "out", name)
    if recorded:
        write_record(tmp_path / "out", record, "select")
    again = read_dataset(tmp_path / "out")
    assert {
        clip.path.stem if name != "webdataset" else Path(clip.clip_id).stem: clip.caption for clip in again.clips
    } == given
    if recorded and name == "same":
        assert again.format == "jsonl"


@pytest.mark.parametrize("recorded", [True, False])
def test_data_juicer_s_captions_stay_plain(tmp_path: Path, recorded: bool) -> None:
    rows = [{"videos": [f"c{n}.mp4"], "text": f"<__dj__video> about {n} <|__dj__eoc|>"} for n in range(3)]
    record = select(source(tmp_path, rows), tmp_path / "out")
    if recorded:
        write_record(tmp_path / "out", record, "select")
    again = read_dataset(tmp_path / "out")
    assert [clip.caption for clip in again.clips] == ["about 0", "about 1", "about 2"]
    assert again.format == ("data_juicer" if recorded else "videofolder")


@pytest.mark.parametrize("name", ["musubi", "diffsynth", "finetrainers"])
def test_trainers_open_no_archive(tmp_path: Path, name: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.mp4").write_bytes(b"v")
    import tarfile

    with tarfile.open(tmp_path / "set/x.tar", "w") as archive:
        archive.add(tmp_path / "set/a.mp4", "a.mp4")
    (tmp_path / "set/a.mp4").unlink()
    with pytest.raises(OptionError, match=r"nothing opens one inside an archive.*leave out --scores-only"):
        select(tmp_path / "set", tmp_path / "out", name, "none")
    assert not (tmp_path / "out").exists()
    select(tmp_path / "set", tmp_path / "list", "list")
    assert (tmp_path / "list/clips.txt").read_text() == f"tar://a.mp4::{tmp_path / 'set/x.tar'}\n"


@pytest.mark.parametrize(("name", "remedy"), [("list", "choose --format jsonl"), ("jsonl", "leave out --scores-only")])
def test_nothing_opens_a_cell(tmp_path: Path, name: str, remedy: str) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "set").mkdir()
    pq.write_table(
        pa.table({"video": [{"bytes": b"v", "path": "a.mp4"}], "caption": ["x"]}), tmp_path / "set/a.parquet"
    )
    with pytest.raises(OptionError, match=f"nothing opens one inside a table's cell.*{remedy}"):
        select(tmp_path / "set", tmp_path / "out", name, "none")
    assert not (tmp_path / "out").exists()


def test_shards_a_level_down(tmp_path: Path) -> None:
    import shutil
    import tarfile

    path = source(tmp_path, ROWS)
    select(path, tmp_path / "out", "webdataset")
    assert len(read_dataset(tmp_path / "out").clips) == 3, "the selection's own folder"
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "set/c0.mp4", "c0.mp4")
    (tmp_path / "two/train").mkdir(parents=True)
    shutil.copy(tmp_path / "x.tar", tmp_path / "two/train/000000.tar")
    assert [clip.clip_id for clip in read_dataset(tmp_path / "two").clips] == [
        clip.clip_id for clip in read_dataset(tmp_path / "two/train").clips
    ]
    (tmp_path / "two/val").mkdir()
    shutil.copy(tmp_path / "x.tar", tmp_path / "two/val/000000.tar")
    from motive.errors import DatasetError

    with pytest.raises(
        DatasetError, match=r"holds tar shards in 2 folders \(train,val\); give one of them, such as .*train"
    ):
        read_dataset(tmp_path / "two")


@pytest.mark.parametrize("name", ["jsonl", "musubi", "diffsynth", "hf", "fastvideo", "webdataset"])
def test_json_keeps_its_types(tmp_path: Path, name: str) -> None:
    cells = {"flag": True, "tags": [1, {"x": None}], "note": None, "f": 1.5, "n": 3, "code": "007"}
    rows = [{"path": f"c{n}.mp4", "caption": f"CAP{n}", **cells, "mixed": n if n else "text"} for n in range(3)]
    rows[2].pop("n")
    select(source(tmp_path, rows), tmp_path / "out", name)
    if name == "webdataset":
        import tarfile

        with tarfile.open(tmp_path / "out/shards/000000.tar") as archive:
            members = [member for member in archive if member.name.endswith(".json")]
            found = [json.loads(archive.extractfile(member).read()) for member in members]  # type: ignore[union-attr]
    elif name == "fastvideo":
        found = json.loads((tmp_path / "out/videos2caption.json").read_text())
    else:
        found = [json.loads(line) for line in next((tmp_path / "out").glob("*.jsonl")).read_text().splitlines()]
    assert {key: found[0][key] for key in cells} == cells
    assert type(found[0]["flag"]) is bool
    assert found[2]["n"] is None
    assert [row["mixed"] for row in found] == ["text", "1", "2"], "one type for a column"


def test_a_time_of_a_parquet_file_is_plain_text(tmp_path: Path) -> None:
    import datetime

    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    source(tmp_path, ROWS).unlink()
    times = [datetime.datetime(2020, 1, 1), None]
    table = {"file_name": ["c0.mp4", "c1.mp4"], "text": ["a", "b"], "t": times, "l": [[1, 2], None]}
    pq.write_table(pa.table(table), tmp_path / "set/metadata.parquet")
    columns = read_dataset(tmp_path / "set").clips[0].columns
    assert (columns["t"], columns["l"]) == ("2020-01-01 00:00:00", "[1, 2]")
    select(tmp_path / "set", tmp_path / "out", "jsonl")
    row = json.loads((tmp_path / "out/clips.jsonl").read_text().splitlines()[0])
    assert (row["t"], row["l"]) == ("2020-01-01 00:00:00", [1, 2])


def test_without_its_table_a_dataset_s_columns_are_text(tmp_path: Path) -> None:
    path = source(tmp_path, [{**row, "flag": True} for row in ROWS])
    dataset, record = read_dataset(path), dict[str, Any]()
    path.write_text(json.dumps({"path": "c0.mp4"}) + "\n")
    rows = [SubsetRow(clip, {"motive_rank": 1}) for clip in dataset.clips]
    write_subset(dataset, rows, tmp_path / "out", files="copy", format="diffsynth", record=record)
    assert "no longer holds every selected clip" in record["columns_are_text"]
    lines = (tmp_path / "out/metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["flag"] for line in lines] == ["true"] * 3
