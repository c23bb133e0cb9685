"""Tables and shards as people really have them: nothing is lost without a word, nothing is taken for something else."""

from __future__ import annotations

import io
import json
import tarfile
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motive.data import Dataset, SubsetRow, read_dataset, write_subset
from motive.data.paths import PathGuard
from motive.errors import ClipError, DatasetError, OptionError

NFC, NFD = (unicodedata.normalize(form, "caf\u00e9.mp4") for form in ("NFC", "NFD"))


def videos(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video " + name.encode())
    return folder


def jsonl(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def captions(dataset: Dataset) -> dict[str, str]:
    return {clip.clip_id: clip.caption for clip in dataset.clips}


def details(dataset: Dataset) -> dict[str, tuple[str, str]]:
    return {failure.clip_id: (failure.reason, failure.detail) for failure in dataset.failures}


def unread(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.why for item in dataset.unread}


# Captions that are not there.


def test_a_missing_caption_is_no_text(tmp_path: Path) -> None:
    videos(tmp_path, *(f"{j}.mp4" for j in range(8)))
    words = ["nan", "None", "null", "NA"]
    rows = [{"video": f"{j}.mp4", "prompt": word} for j, word in enumerate(words)]
    rows += [{"video": "4.mp4", "prompt": float("nan")}, {"video": "5.mp4", "prompt": None}]
    rows += [{"video": "6.mp4", "prompt": " "}, {"video": "7.mp4"}]
    dataset = read_dataset(jsonl(tmp_path / "metadata.jsonl", *rows))
    assert dataset.format == "diffsynth"
    assert [captions(dataset)[f"{j}.mp4"].strip() for j in range(8)] == [*words, "", "", "", ""]
    assert dataset.without_caption == 4
    assert dataset.clips[4].columns["prompt"] == ""


def test_parquet_nan_null_and_bytes(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    names = pa.array(["a.mp4", "b.mp4", "c.mp4"])
    for column in (pa.array([float("nan"), None, float("nan")]), pa.array([None, None, None], pa.string())):
        pq.write_table(pa.table({"file_name": names, "text": column}), tmp_path / "metadata.parquet")
        dataset = read_dataset(tmp_path)
        assert (dataset.without_caption, set(captions(dataset).values())) == (3, {""})
    column = pa.array(["ça va".encode(), b"\xff", None], pa.binary())
    pq.write_table(pa.table({"file_name": names, "text": column}), tmp_path / "metadata.parquet")
    dataset = read_dataset(tmp_path)
    assert captions(dataset) == {"a.mp4": "ça va", "c.mp4": ""}
    assert details(dataset)["b.mp4"][0] == "bad_text"


def test_the_next_column_has_the_value_that_the_first_lacks(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "metadata.csv").write_text("file_name,text,caption\na.mp4,,moves\nb.mp4,first,second\n")
    assert captions(read_dataset(tmp_path)) == {"a.mp4": "moves", "b.mp4": "first"}
    row = {"path": float("nan"), "video": "a.mp4", "id": 1, "caption": float("nan"), "prompt": "p"}
    dataset = read_dataset(jsonl(tmp_path / "clips.jsonl", row, {"video": "b.mp4", "id": float("nan")}))
    assert captions(dataset) == {"1": "p"}
    assert details(dataset)["b.mp4"][0] == "bad_id", "a missing id is not the text NaN"


def test_an_infinite_caption_is_refused(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4", "b.mp4")
    table = jsonl(tmp_path / "c.jsonl", {"path": "a.mp4", "caption": float("inf")}, {"path": "b.mp4", "caption": 7})
    dataset = read_dataset(table)
    assert captions(dataset) == {"b.mp4": "7"}
    assert details(dataset)["a.mp4"][0] == "bad_row"


# Names that differ in form.


def test_another_unicode_form_is_matched_where_it_is_unique(tmp_path: Path) -> None:
    videos(tmp_path / "one", NFD, f"{unicodedata.normalize('NFD', 'é')}/a.mp4")
    table = jsonl(tmp_path / "one/c.jsonl", {"path": NFC}, {"path": "\u00e9/a.mp4"})
    dataset = read_dataset(table)
    assert [clip.clip_id for clip in dataset.clips] == [NFC, "\u00e9/a.mp4"], "ids are as the table writes them"
    assert dataset.clips[0].path.name == NFD
    write_subset(dataset, [SubsetRow(clip, {"s": 1.0}) for clip in dataset.clips], tmp_path / "out", files="copy")
    again = read_dataset(tmp_path / "out/c.jsonl")
    assert len(again.clips) == 2
    videos(tmp_path / "both", NFC, NFD)
    dataset = read_dataset(jsonl(tmp_path / "both/c.jsonl", {"path": NFC}, {"path": NFD}))
    assert [clip.path.name for clip in dataset.clips] == sorted([NFC, NFD]), "an exact name is itself"


def test_several_unicode_forms_are_not_guessed_between(tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "\u1ec7.mp4") for form in ("NFC", "NFD")]
    mixed = "\u1eb9\u0302.mp4"
    assert len({*forms, mixed}) == 3
    videos(tmp_path, forms[1], mixed)
    dataset = read_dataset(jsonl(tmp_path / "c.jsonl", {"path": forms[0]}))
    ((reason, detail),) = details(dataset).values()
    assert reason == "missing_file"
    assert "other Unicode forms" in detail


def test_a_name_in_another_case_is_named(tmp_path: Path) -> None:
    videos(tmp_path, "clips/A.MP4")
    dataset = read_dataset(jsonl(tmp_path / "c.jsonl", {"path": "clips/a.mp4"}, {"path": "Clips/A.MP4"}))
    found = details(dataset)
    assert found["clips/a.mp4"][0] == "missing_file"
    assert "'clips/A.MP4' differs from it in case only" in found["clips/a.mp4"][1]
    assert "'clips' differs from it in case only" in found["Clips/A.MP4"][1]


def test_relative_windows_paths_are_read(tmp_path: Path) -> None:
    videos(tmp_path, "clips/a.mp4", "odd\\name.mp4")
    (tmp_path / "secret.mp4").write_bytes(b"x")
    table = "file_name,text\nclips\\a.mp4,x\n.\\clips\\..\\clips\\a.mp4,again\nodd\\name.mp4,y\n..\\up.mp4,z\n"
    (tmp_path / "metadata.csv").write_text(table)
    dataset = read_dataset(tmp_path)
    assert captions(dataset) == {"clips/a.mp4": "x", "odd\\name.mp4": "y"}
    assert sorted(reason for reason, _ in details(dataset).values()) == ["duplicate_id", "path_escapes_root"]


@pytest.mark.parametrize("path", ["C:\\data\\clips\\a.mp4", "C:/data/clips/a.mp4", "\\\\server\\share\\a.mp4"])
def test_absolute_windows_paths_say_what_to_do(tmp_path: Path, path: str) -> None:
    dataset = read_dataset(jsonl(tmp_path / "c.jsonl", {"path": path}))
    ((reason, detail),) = details(dataset).values()
    assert reason == "missing_file"
    assert "--path-map" in detail


# Several roots, and paths of other machines.


def test_paths_outside_the_tables_folder(tmp_path: Path) -> None:
    clips = videos(tmp_path / "far/clips", "a.mp4", "sub/b.mp4")
    (tmp_path / "set").mkdir()
    rows = [{"video": str(clips / name), "prompt": name} for name in ("a.mp4", "sub/b.mp4")]
    table = jsonl(tmp_path / "set/metadata.jsonl", *rows)
    refused = read_dataset(table)
    assert {reason for reason, _ in details(refused).values()} == {"path_escapes_root"}
    detail = details(refused)[str(clips / "a.mp4")][1]
    assert f"--root {clips}" in detail
    assert "--path-map" in detail
    dataset = read_dataset(table, root=clips)
    assert captions(dataset) == {"a.mp4": "a.mp4", "sub/b.mp4": "sub/b.mp4"}, "ids are relative to the root"
    assert dataset.root == clips


def test_several_roots(tmp_path: Path) -> None:
    first, second = videos(tmp_path / "one/clips", "a.mp4", "b.mp4"), videos(tmp_path / "two", "a.mp4", "c.mp4")
    rows = [{"path": str(first / "a.mp4")}, {"path": str(second / "a.mp4")}, {"path": "b.mp4"}, {"path": "c.mp4"}]
    table = jsonl(tmp_path / "t.jsonl", *rows, {"path": "a.mp4"}, {"path": "gone.mp4"}, {"path": "/etc/passwd"})
    for roots in ([first, second], [second, first], [first, second, first / "nothing", second]):
        (first / "nothing").mkdir(exist_ok=True)
        dataset = read_dataset(table, root=roots)
        assert [clip.clip_id for clip in dataset.clips] == ["clips/a.mp4", "clips/b.mp4", "two/a.mp4", "two/c.mp4"]
        assert [reason for reason, _ in details(dataset).values()] == [
            "ambiguous_path",
            "missing_file",
            "path_escapes_root",
        ]
    chosen = [SubsetRow(clip, {"score": 1.0}) for clip in dataset.clips]
    write_subset(dataset, chosen, tmp_path / "out", files="link")
    again = read_dataset(tmp_path / "out/t.jsonl")
    assert [clip.clip_id for clip in again.clips] == [clip.clip_id for clip in dataset.clips]
    assert [clip.path.read_bytes() for clip in again.clips] == [clip.path.read_bytes() for clip in dataset.clips]


def test_roots_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first, second = videos(tmp_path / "one/clips", "a.mp4"), videos(tmp_path / "two/clips", "a.mp4")
    table = jsonl(tmp_path / "t.jsonl", {"path": str(first / "a.mp4")}, {"path": str(second / "a.mp4")})
    dataset = read_dataset(table, root=[first, second])
    assert [clip.clip_id for clip in dataset.clips] == ["one/clips/a.mp4", "two/clips/a.mp4"]


def test_a_link_between_roots_is_inside(tmp_path: Path) -> None:
    first, second = videos(tmp_path / "one", "a.mp4"), videos(tmp_path / "two", "b.mp4")
    (first / "link.mp4").symlink_to(second / "b.mp4")
    (first / "out.mp4").symlink_to("/etc/passwd")
    rows = [{"path": str(first / name)} for name in ("link.mp4", "out.mp4")]
    dataset = read_dataset(jsonl(tmp_path / "t.jsonl", *rows), root=[first, second])
    assert [clip.clip_id for clip in dataset.clips] == ["one/link.mp4"]
    assert details(dataset)[str(first / "out.mp4")][0] == "path_escapes_root"


@pytest.mark.parametrize(
    ("old", "path"),
    [
        ("/old/data", "/old/data/a.mp4"),
        ("/old/data/", "/old/data/a.mp4"),
        ("C:\\data", "C:\\data\\a.mp4"),
        ("c:/DATA", "C:\\data\\a.mp4"),
        ("C:", "C:\\a.mp4"),
        ("\\\\server\\share", "\\\\server\\share\\a.mp4"),
        ("clips", "clips/a.mp4"),
    ],
)
def test_prefixes_of_another_machine(tmp_path: Path, old: str, path: str) -> None:
    here = videos(tmp_path / "here", "a.mp4")
    (tmp_path / "set").mkdir()
    table = jsonl(tmp_path / "set/c.jsonl", {"path": path, "caption": "x"})
    dataset = read_dataset(table, path_map=[f"{old}={here}"])
    assert captions(dataset) == {"here/a.mp4": "x"}
    assert dataset.clips[0].path == here / "a.mp4"
    assert captions(read_dataset(table, root=here, path_map=[f"{old}={here}"])) == {"a.mp4": "x"}


def test_a_prefix_ends_at_a_folder_and_leads_nowhere_else(tmp_path: Path) -> None:
    here = videos(tmp_path / "here", "a.mp4")
    rows = [{"path": "/old/database/a.mp4"}, {"path": "/old/data/../../etc/passwd"}]
    dataset = read_dataset(jsonl(tmp_path / "c.jsonl", *rows), path_map=[f"/old/data={here}"])
    assert {reason for reason, _ in details(dataset).values()} == {"path_escapes_root"}


def test_relative_paths_still_start_at_the_table(tmp_path: Path) -> None:
    """A map to a folder around the table's own must not move where its relative paths start."""
    videos(tmp_path / "set", "a.mp4")
    videos(tmp_path, "other/b.mp4", "a.mp4")
    table = jsonl(tmp_path / "set/c.jsonl", {"path": "a.mp4"}, {"path": "/old/other/b.mp4"})
    dataset = read_dataset(table, path_map=[f"/old={tmp_path}"])
    assert [(clip.clip_id, clip.path) for clip in dataset.clips] == [
        ("other/b.mp4", tmp_path / "other/b.mp4"),
        ("set/a.mp4", tmp_path / "set/a.mp4"),
    ]
    write_subset(dataset, [SubsetRow(dataset.clips[1], {"s": 1})], tmp_path / "out", files="copy")
    assert read_dataset(tmp_path / "out/c.jsonl").clips[0].clip_id == "set/a.mp4"


@pytest.mark.parametrize("text", ["nothing", "=/tmp", "/old=/no/such/folder", ""])
def test_a_map_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(OptionError, match="path_map must be OLD=NEW"):
        read_dataset(videos(tmp_path, "a.mp4"), path_map=[text])
    with pytest.raises(OptionError, match="root must be a folder"):
        read_dataset(tmp_path, root=tmp_path / "no")


# Shards.


def test_json_members_under_other_names(tmp_path: Path) -> None:
    members = {
        "a.mp4": b"1", "a.mp4.json": b'{"caption": "A"}', "b.mp4": b"2", "b.info.json": b'{"prompt": "B"}',
        "c.mp4": b"3", "c.json": b'{"text": "C"}', "c.info.json": b'{"text": "not this"}', "d.mp4": b"4",
        "d.json": b'{"caption": NaN, "text": "D"}', "e.mp4": b"5", "e.mp4.txt": b"E", "f.mp4": b"6",
        "f.json": b'{"caption": ["two", "texts"]}', "stray.txt": b"lost",
    }  # fmt: skip
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    dataset = read_dataset(tmp_path)
    assert captions(dataset) == {f"x.tar/{name}.mp4": name.upper() for name in "abcde"}
    assert details(dataset)["x.tar/f.mp4"][0] == "bad_row"
    assert unread(dataset) == {"1 text members of x.tar": "no video has their key, stray.txt for one"}


# Tables that are there and not read.


def test_tsv_is_read_and_written(tmp_path: Path) -> None:
    videos(tmp_path / "set", "a.mp4", "b.mp4")
    (tmp_path / "set/metadata.tsv").write_text('file_name\ttext\na.mp4\tone, "two"\nb.mp4\t\n')
    dataset = read_dataset(tmp_path / "set")
    assert (dataset.format, captions(dataset)) == ("videofolder", {"a.mp4": 'one, "two"', "b.mp4": ""})
    write_subset(dataset, [SubsetRow(dataset.clips[0], {"score": 0.5})], tmp_path / "out", files="copy")
    again = read_dataset(tmp_path / "out/selection.tsv")
    assert captions(again) == {"a.mp4": 'one, "two"'}
    assert again.clips[0].columns["score"] == "0.5"


def test_tables_that_are_not_read_are_named(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4", "sub/b.mp4")
    (tmp_path / "scores.csv").write_text("video,caption,aesthetics\na.mp4,moves,5\n")
    (tmp_path / "train.csv").write_text("file_name,text\na.mp4,moves\n")
    (tmp_path / "sub/wide.csv").write_bytes("file_name,text\n".encode("utf-16"))
    (tmp_path / "book.xlsx").write_bytes(b"x")
    (tmp_path / ".hidden.csv").write_text("x")
    (tmp_path / "a.json").write_text('{"caption": "beside"}')
    dataset = read_dataset(tmp_path)
    assert (dataset.format, dataset.without_caption) == ("folder", 2)
    found = unread(dataset)
    assert set(found) == {"scores.csv", "train.csv", "sub/wide.csv", "book.xlsx", "1 .json files"}
    assert "video, caption, aesthetics" in found["scores.csv"]
    assert "give its path" in found["train.csv"]
    assert "UTF-16" in found["sub/wide.csv"]
    assert ".txt files only" in found["1 .json files"]
    assert not read_dataset(tmp_path / "train.csv").unread, "the user chose this table"


def test_many_tables_are_counted(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4")
    for j in range(8):
        (tmp_path / f"t{j}.csv").write_text("x,y\n")
    found = unread(read_dataset(tmp_path))
    assert len(found) == 6
    assert "3 more tables" in found


def test_a_folder_of_tables_alone_names_them(tmp_path: Path) -> None:
    (tmp_path / "OpenVid-1M.csv").write_text("video,caption\na.mp4,moves\n")
    with pytest.raises(
        DatasetError, match=r"OpenVid-1M\.csv \(.*give its path to read it \(columns video, caption\)\)"
    ):
        read_dataset(tmp_path)


def test_tables_side_by_side(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "metadata.csv").write_text("file_name,text,fps\na.mp4,moves,24\nb.mp4,,\n")
    same = [{"file_name": "a.mp4", "text": "moves", "fps": 24}, {"file_name": "b.mp4", "text": None}]
    jsonl(tmp_path / "metadata.jsonl", *same)
    dataset = read_dataset(tmp_path)
    assert dataset.source == tmp_path / "metadata.csv"
    assert unread(dataset) == {"metadata.jsonl": "it holds the same rows as metadata.csv"}
    jsonl(tmp_path / "metadata.jsonl", {**same[0], "text": "stands"}, same[1])
    with pytest.raises(DatasetError, match=r"metadata\.csv and metadata\.jsonl; .*--dataset-format folder"):
        read_dataset(tmp_path)
    jsonl(tmp_path / "metadata.jsonl", same[0])
    with pytest.raises(DatasetError, match="several tables"):
        read_dataset(tmp_path)


def test_a_table_of_another_format_beside_is_named(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4")
    (tmp_path / "metadata.csv").write_text("video,prompt\na.mp4,moves\n")
    jsonl(tmp_path / "metadata.jsonl", {"file_name": "a.mp4", "text": "stands"})
    dataset = read_dataset(tmp_path)
    assert (dataset.format, captions(dataset)) == ("diffsynth", {"a.mp4": "moves"})
    assert set(unread(dataset)) == {"metadata.jsonl"}


def test_semicolons_and_utf16_are_still_refused(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4")
    (tmp_path / "metadata.csv").write_text("file_name;text\na.mp4;moves\n")
    with pytest.raises(DatasetError, match="file_name;text"):
        read_dataset(tmp_path)
    (tmp_path / "metadata.csv").write_bytes("file_name,text\n".encode("utf-16"))
    with pytest.raises(DatasetError, match="UTF-16"):
        read_dataset(tmp_path)


# Captions beside videos.


def test_caption_files_in_other_spellings(tmp_path: Path) -> None:
    folder = videos(tmp_path / "set", "a.mp4", "b.mp4", NFD, "d.mp4", "e.mp4")
    texts = {"a.TXT": "A", "b.mp4.txt": "B", NFC.replace(".mp4", ".txt"): "C", "d.txt": "D", "d.TXT": "not this"}
    for name, text in texts.items():
        (folder / name).write_text(text)
    dataset = read_dataset(folder)
    assert captions(dataset) == {"a.mp4": "A", "b.mp4": "B", NFD: "C", "d.mp4": "D", "e.mp4": ""}
    assert dataset.without_caption == 1
    chosen = [SubsetRow(clip, {"score": 1.0}) for clip in dataset.clips]
    write_subset(dataset, chosen, tmp_path / "out", files="link")
    assert captions(read_dataset(tmp_path / "out", "folder")) == captions(dataset)


@pytest.mark.parametrize(
    "text",
    ["a/b.mp4", "a//b.mp4", "./a", ".h/a", "..a", "a/../b", "a/..", "a/.b", "a\\b", "C:/x", "C:", "a:b", " a ", "a/", "caf\u00e9/\u2603",
     "../a", "a/./b", "~/a", "-", "a/b/", "/", " ", "a\0b", "\ud800"],
)  # fmt: skip
def test_a_plain_path_is_its_own_name(tmp_path: Path, text: str) -> None:
    """The short way for plain paths gives what the long way gives, which any path map makes PathGuard take."""

    def name(guard: PathGuard) -> str:
        try:
            return guard.relative(text)
        except ClipError as error:
            return f"{error.reason}: {error.detail}"

    assert name(PathGuard(tmp_path)) == name(PathGuard(tmp_path, path_map=[("/nowhere at all", str(tmp_path))]))
