"""Every reader: stable ids, nothing outside the dataset, and a reason for each row that is left out."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motive.data import Dataset, read_dataset
from motive.errors import DatasetError, OptionError

ANY_FOLDER = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset folder beside a file that no dataset may reach."""
    folder = tmp_path / "set"
    for name in ("a.mp4", "b.mp4", "sub/a.mp4", "sub/deep/c.mkv"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    return folder


def reasons(dataset: Dataset) -> list[tuple[str, str]]:
    return [(failure.clip_id, failure.reason) for failure in dataset.failures]


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    if path.suffix == ".csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return path


def test_folder_with_captions(root: Path) -> None:
    (root / "a.txt").write_text("\ufeffa cat \u2603\n", encoding="utf-8")
    (root / "sub/a.txt").write_text("another", encoding="utf-8")
    (root / ".hidden.mp4").write_bytes(b"x")
    (root / "notes.pdf").write_bytes(b"x")
    dataset = read_dataset(root)
    assert dataset.format == "folder"
    assert [clip.clip_id for clip in dataset.clips] == ["a.mp4", "b.mp4", "sub/a.mp4", "sub/deep/c.mkv"]
    assert [clip.caption for clip in dataset.clips] == ["a cat \u2603", "", "another", ""]
    assert all(clip.path.is_absolute() and clip.path.is_file() for clip in dataset.clips)
    assert not dataset.failures


def test_one_video_is_a_dataset(root: Path) -> None:
    dataset = read_dataset(root / "sub/a.mp4")
    assert [(clip.clip_id, clip.path) for clip in dataset.clips] == [("a.mp4", root / "sub/a.mp4")]


@pytest.mark.parametrize(
    ("name", "path_key", "caption_key", "format"),
    [
        ("metadata.csv", "file_name", "text", "videofolder"),
        ("metadata.csv", "file_name", "caption", "videofolder"),
        ("metadata.jsonl", "file_name", "prompt", "videofolder"),
        ("metadata.parquet", "file_name", "text", "videofolder"),
        ("train.csv", "file_name", "text", "videofolder"),
        ("metadata.csv", "video", "prompt", "diffsynth"),
        ("metadata.json", "video", "prompt", "diffsynth"),
        ("metadata.jsonl", "video", "prompt", "diffsynth"),
        ("set.json", "video", "prompt", "diffsynth"),
        ("clips.jsonl", "path", "caption", "jsonl"),
        ("clips.jsonl", "video_path", "caption", "jsonl"),
        ("clips.jsonl", "file_name", "text", "jsonl"),
    ],
)
def test_tables(root: Path, name: str, path_key: str, caption_key: str, format: str) -> None:
    rows = [
        {path_key: "sub/a.mp4", caption_key: 'says "hi",\nthen goes', "fps": "24"},
        {path_key: "./b.mp4", caption_key: "", "fps": "30"},
        {path_key: str(root / "a.mp4"), caption_key: "\u732b", "fps": "8"},
    ]
    table = write_rows(root / name, rows)
    dataset = read_dataset(table)
    assert dataset.format == format
    assert [clip.clip_id for clip in dataset.clips] == ["a.mp4", "b.mp4", "sub/a.mp4"]
    assert [clip.caption for clip in dataset.clips] == ["\u732b", "", 'says "hi",\nthen goes']
    assert [clip.columns["fps"] for clip in dataset.clips] == ["8", "30", "24"]
    assert [clip.path for clip in dataset.clips] == [root / "a.mp4", root / "b.mp4", root / "sub/a.mp4"]
    assert not dataset.failures
    assert (dataset.root, dataset.source) == (root, table)
    if name.startswith("metadata") or name == "clips.jsonl":
        assert read_dataset(root).clips == dataset.clips, "the folder is read as its table"
    assert read_dataset(table, format=format).clips == dataset.clips


def test_own_ids(root: Path) -> None:
    rows = [{"file_name": "a.mp4", "clip_id": "x1", "id": "no"}, {"file_name": "b.mp4", "clip_id": "x0", "id": "no"}]
    dataset = read_dataset(write_rows(root / "metadata.csv", rows))
    assert [(clip.clip_id, clip.path.name) for clip in dataset.clips] == [("x0", "b.mp4"), ("x1", "a.mp4")]
    numbers = [{"path": "a.mp4", "id": 7}, {"path": "b.mp4", "id": True}, {"path": "sub/a.mp4", "id": None}]
    dataset = read_dataset(write_rows(root / "clips.jsonl", numbers), format="jsonl")
    assert [clip.clip_id for clip in dataset.clips] == ["7", "true"]
    assert reasons(dataset) == [("sub/a.mp4", "bad_id")]


def test_ids_do_not_depend_on_where_the_dataset_lies(root: Path, tmp_path: Path) -> None:
    here = read_dataset(root)
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    assert [clip.clip_id for clip in read_dataset(moved).clips] == [clip.clip_id for clip in here.clips]


def test_later_duplicates_are_left_out(root: Path) -> None:
    rows = [{"file_name": name} for name in ("a.mp4", "b.mp4", "./a.mp4", "gone.mp4", "sub/../a.mp4", "gone.mp4")]
    dataset = read_dataset(write_rows(root / "metadata.csv", rows))
    assert [clip.clip_id for clip in dataset.clips] == ["a.mp4", "b.mp4"]
    assert [reason for _, reason in reasons(dataset)] == [
        "duplicate_id",
        "missing_file",
        "duplicate_id",
        "duplicate_id",
    ]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_no_path_leaves_the_dataset(root: Path, tmp_path: Path, suffix: str) -> None:
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "way_out").symlink_to(tmp_path)
    (root / "inner.mp4").symlink_to(root / "a.mp4")
    out = [
        "../secret.mp4",
        str(tmp_path / "secret.mp4"),
        "sub/../../secret.mp4",
        "link.mp4",
        "way_out/secret.mp4",
        "/dev/zero",
    ]
    rows = [{"file_name": name, "text": "x"} for name in [*out, "inner.mp4", "sub", ".", " "]]
    dataset = read_dataset(write_rows(root / f"metadata{suffix}", rows))
    assert [clip.clip_id for clip in dataset.clips] == ["inner.mp4"]
    found = [failure.reason for failure in dataset.failures]
    assert found == ["path_escapes_root"] * 6 + ["not_a_file", "not_a_file", "bad_path"]
    followed = read_dataset(root / f"metadata{suffix}", follow_links=True)
    assert [clip.clip_id for clip in followed.clips] == ["inner.mp4", "link.mp4", "way_out/secret.mp4"]


def test_links_in_a_bare_folder(root: Path, tmp_path: Path) -> None:
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "broken.mp4").symlink_to(tmp_path / "nothing")
    (root / "loop").symlink_to(root)
    (tmp_path / "key").write_text("private")
    (root / "b.txt").symlink_to(tmp_path / "key")
    dataset = read_dataset(root)
    assert [clip.clip_id for clip in dataset.clips] == ["a.mp4", "sub/a.mp4", "sub/deep/c.mkv"]
    assert sorted(reasons(dataset)) == [
        ("b.mp4", "path_escapes_root"),
        ("broken.mp4", "missing_file"),
        ("link.mp4", "path_escapes_root"),
    ]
    followed = read_dataset(root, follow_links=True)
    assert [clip.clip_id for clip in followed.clips] == ["a.mp4", "b.mp4", "link.mp4", "sub/a.mp4", "sub/deep/c.mkv"]


def test_a_root_behind_a_link(root: Path, tmp_path: Path) -> None:
    """The dataset's own folder may be reached through a link; absolute paths work under both of its names."""
    door = tmp_path / "door"
    door.symlink_to(root)
    rows = [{"file_name": str(door / "a.mp4")}, {"file_name": str(root / "b.mp4")}]
    write_rows(root / "metadata.csv", rows)
    assert [clip.clip_id for clip in read_dataset(door).clips] == ["a.mp4", "b.mp4"]


def test_another_root(root: Path, tmp_path: Path) -> None:
    table = write_rows(
        tmp_path / "table.csv", [{"video": "set/a.mp4", "prompt": "x"}, {"video": "a.mp4", "prompt": "y"}]
    )
    assert [clip.clip_id for clip in read_dataset(table).clips] == ["set/a.mp4"]
    assert [clip.clip_id for clip in read_dataset(table, root=root).clips] == ["a.mp4"]


def test_bad_csv_rows(root: Path) -> None:
    (root / "metadata.csv").write_bytes(
        b"\xef\xbb\xbffile_name,text\r\n"
        b"a.mp4,fine\r\n"
        b"\r\n"
        b",\r\n"
        b"b.mp4\r\n"
        b"b.mp4,too,many\r\n"
        b"b.mp4,nul\0byte\r\n"
        b"b\x01.mp4,control\r\n"
        b'b.mp4,"two\nlines"\r\n'
        b"sub/a.mp4,last"
    )
    dataset = read_dataset(root)
    assert [(clip.clip_id, clip.caption) for clip in dataset.clips] == [
        ("a.mp4", "fine"),
        ("b.mp4", "two\nlines"),
        ("sub/a.mp4", "last"),
    ]
    assert reasons(dataset) == [
        ("metadata.csv:4", "empty_row"),
        ("b.mp4", "ragged_row"),
        ("b.mp4", "ragged_row"),
        ("b.mp4", "bad_text"),
        ("b?.mp4", "bad_id"),
    ]


def test_bad_json_rows(root: Path) -> None:
    deep = "[" * 200 + "]" * 200
    lines = [
        '{"path": "a.mp4", "caption": "fine"}',
        "",
        "{broken",
        "[1, 2]",
        "{}",
        '{"caption": "no path"}',
        '{"path": 5}',
        '{"path": "b.mp4", "caption": ["two", "texts"]}',
        '{"path": "b.mp4", "caption": "half \\ud800"}',
        '{"path": "b.mp4", "caption": "nul \\u0000"}',
        f'{{"path": "b.mp4", "deep": {deep}}}',
        "[" * 100_000,
        '{"path": "b.mp4", "n": ' + "9" * 5000 + "}",
        '{"path": null, "video": "sub/a.mp4", "prompt": null, "text": "second name"}',
    ]
    (root / "clips.jsonl").write_text("\n".join(lines), encoding="utf-8")
    dataset = read_dataset(root / "clips.jsonl")
    assert [(clip.clip_id, clip.caption) for clip in dataset.clips if clip.clip_id != "b.mp4"] == [
        ("a.mp4", "fine"),
        ("sub/a.mp4", "second name"),
    ]
    assert [reason for _, reason in reasons(dataset)][:9] == ["bad_row"] * 2 + ["empty_row"] + ["bad_row"] * 3 + [
        "bad_text",
        "bad_text",
        "bad_row",
    ]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("metadata.csv", b"file_name,text\na.mp4,fine\nb.mp4,caf\xe9\n"),
        ("metadata.jsonl", b'{"file_name": "a.mp4", "text": "fine"}\n{"file_name": "b.mp4", "text": "caf\xe9"}\n'),
    ],
)
def test_a_row_that_is_not_utf8_costs_its_clip_only(root: Path, name: str, data: bytes) -> None:
    (root / name).write_bytes(data)
    dataset = read_dataset(root)
    assert [(clip.clip_id, clip.caption) for clip in dataset.clips] == [("a.mp4", "fine")]
    assert reasons(dataset) == [("b.mp4", "bad_text")]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("metadata.csv", b"file_name,t\xe9xt\na.mp4,x\n", "line 1 must be UTF-8"),
        ("metadata.csv", "file_name,text\n".encode("utf-16"), "must be UTF-8, got UTF-16"),
        ("metadata.csv", b'file_name,text\na.mp4,"open', "must be CSV"),
        ("metadata.csv", b'file_name,text\na.mp4,"a"b"\n', "must be CSV"),
        ("metadata.csv", b"file_name,text,text\na.mp4,x,y\n", "unique"),
        ("metadata.csv", b"file_name,text\n", "no rows"),
        ("metadata.csv", b"", "file_name"),
        ("metadata.csv", b"clip,text\na.mp4,x\n", "file_name"),
        ("metadata.parquet", b"PAR1 not really PAR1", "must be Parquet"),
        ("metadata.json", b'{"video": "a.mp4"}', "list of objects"),
        ("metadata.json", b"[{]", "must be a JSON list"),
        ("metadata.json", b"", "the file is empty"),
        ("metadata.json", b'[{"video": "a.mp4", "prompt": ""}] x', "extra data after the list"),
        ("metadata.json", b'[{"video": "a.mp4", "prompt": ""}, ', "must be a JSON list"),
        ("metadata.json", b'[{"video": "a.mp4", "prompt": ""} {}]', "expected , or ]"),
        ("metadata.json", "[]".encode("utf-16"), "must be UTF-8, got UTF-16"),
    ],
)
def test_a_table_that_cannot_be_read_says_where(root: Path, name: str, data: bytes, message: str) -> None:
    (root / name).write_bytes(data)
    with pytest.raises(DatasetError, match=message) as error:
        read_dataset(root)
    assert name in str(error.value)
    assert ";" in str(error.value), "the message says what to do"


def test_parquet_with_a_column_name_that_is_not_text(root: Path) -> None:
    table = write_rows(root / "metadata.parquet", [{"file_name": "a.mp4", "text": "x"}])
    table.write_bytes(table.read_bytes().replace(b"text", b"te\xc9t"))
    with pytest.raises(DatasetError, match=r"metadata\.parquet"):
        read_dataset(root)


def test_what_is_no_dataset_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    for name, says in (("nowhere", "does not exist"), ("empty", "holds no dataset"), ("notes.txt", "holds no dataset")):
        with pytest.raises(DatasetError, match=says):
            read_dataset(tmp_path / name)
    with pytest.raises(OptionError, match="imagefolder"):
        read_dataset(root, format="imagefolder")
    for format in ("videofolder", "diffsynth", "jsonl"):
        with pytest.raises(DatasetError, match="table"):
            read_dataset(root, format=format)


def test_ambiguous_folders_are_refused(root: Path) -> None:
    write_rows(root / "sub/metadata.csv", [{"file_name": "a.mp4"}])
    with pytest.raises(DatasetError, match="sub"):
        read_dataset(root)
    assert len(read_dataset(root, format="folder").clips) == 4
    write_rows(root / "metadata.csv", [{"file_name": "a.mp4"}])
    write_rows(root / "metadata.jsonl", [{"file_name": "b.mp4"}])
    with pytest.raises(DatasetError, match=r"metadata\.csv and metadata\.jsonl"):
        read_dataset(root)


def test_file_names_that_are_not_text(root: Path) -> None:
    bad = os.fsencode(root) + b"/bad\xff.mp4"
    with open(bad, "wb"):
        pass
    dataset = read_dataset(root)
    assert reasons(dataset) == [("bad?.mp4", "bad_path")]


@ANY_FOLDER
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=8))
def test_any_caption_and_column_survives(root: Path, cells: list[tuple[str, str]]) -> None:
    """CSV: what the csv module writes comes back unchanged, unless it cannot be stored at all."""
    clean = [(a.replace("\r", ""), b.replace("\r", "")) for a, b in cells]
    rows = [("a.mp4", f"id{i}", caption, extra) for i, (caption, extra) in enumerate(clean)]
    text = io.StringIO()
    csv.writer(text).writerows([("file_name", "id", "text", "extra"), *rows])
    (root / "metadata.csv").write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
    if any("\ud800" <= c <= "\udfff" for pair in clean for part in pair for c in part):
        with pytest.raises(DatasetError, match="UTF-8"):
            read_dataset(root)
        return
    dataset = read_dataset(root)
    read = {clip.clip_id: (clip.caption, clip.columns["extra"]) for clip in dataset.clips}
    for i, pair in enumerate(clean):
        if any("\0" in part for part in pair):
            assert f"id{i}" not in read
        else:
            assert read[f"id{i}"] == pair
    assert len(dataset.clips) + len(dataset.failures) == len(rows)


@ANY_FOLDER
@given(
    st.sampled_from(["metadata.csv", "metadata.jsonl", "metadata.json", "metadata.parquet", "clips.jsonl"]), st.binary()
)
def test_any_bytes_give_an_answer(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    for format in ("auto", "videofolder", "diffsynth", "jsonl"):
        try:
            dataset = read_dataset(path, format=format)
        except DatasetError:
            continue
        assert all(clip.path.is_file() for clip in dataset.clips)


@ANY_FOLDER
@given(st.lists(st.text(min_size=1), min_size=1, max_size=6))
def test_any_path_text_stays_inside(root: Path, names: list[str]) -> None:
    lines = "\n".join(json.dumps({"path": name}) for name in names)
    (root / "clips.jsonl").write_text(lines, encoding="utf-8")
    dataset = read_dataset(root / "clips.jsonl")
    assert len(dataset.clips) + len(dataset.failures) == len(names)
    for clip in dataset.clips:
        assert clip.path.resolve().is_relative_to(root.resolve())
    for failure in dataset.failures:
        f"{failure.clip_id} {failure.path} {failure.detail}".encode()
