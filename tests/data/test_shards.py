"""Shards by a pattern, by several paths in one text, and by the lines of a file, all on this machine."""

from __future__ import annotations

import itertools
import os
import tarfile
from pathlib import Path

import pytest

from motive.data import Dataset, SubsetRow, read_dataset, write_subset
from motive.data.shards.braces import expand
from motive.errors import DatasetError, OptionError
from motive.store.source import Source
from tests.data.test_webdataset import content, reasons, shard


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("a{0..2}.tar", ["a0.tar", "a1.tar", "a2.tar"]),
        ("a{08..11}", ["a08", "a09", "a10", "a11"]),
        ("a{000..2}", ["a000", "a001", "a002"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{0..10..5}", ["0", "5", "10"]),
        ("{10..0..-5}", ["10", "5", "0"]),
        ("{-1..1}", ["-1", "0", "1"]),
        ("{a..c}{X..Z..1}", ["a{X..Z..1}", "b{X..Z..1}", "c{X..Z..1}"]),
        ("{c..a}", ["c", "b", "a"]),
        ("{train,val}/{0..1}.tar", ["train/0.tar", "train/1.tar", "val/0.tar", "val/1.tar"]),
        ("x{a,b{1..2}}y", ["xay", "xb1y", "xb2y"]),
        ("{,a}b", ["b", "ab"]),
        ("plain", ["plain"]),
        ("{}{x}{a..3}{", ["{}{x}{a..3}{"]),
        ("{x}{1,2}}", ["{x}1}", "{x}2}"]),
        ("}{1,2}", ["}1", "}2"]),
        ("{{1,2}}", ["{1}", "{2}"]),
    ],
)
def test_patterns_are_those_of_a_shell(pattern: str, texts: list[str]) -> None:
    assert list(expand(pattern)) == texts


def test_a_range_of_any_length_is_taken_one_at_a_time() -> None:
    assert list(itertools.islice(expand("{0..999999999999999999}{a,b}"), 3)) == ["0a", "0b", "1a"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards in two folders, and one more."""
    for name in ("train/s-00", "train/s-01", "val/s-00", "val/s-01", "other"):
        path = tmp_path / f"set/{name}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        shard(path, [("a.mp4", name.encode()), ("a.txt", f"of {name}".encode())])
    return tmp_path / "set"


def ids(dataset: Dataset) -> list[str]:
    return [clip.clip_id for clip in dataset.clips]


def test_a_pattern_reads_as_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, whole = read_dataset(f"{folder}/train/s-{{00..01}}.tar"), read_dataset(folder / "train")
    assert (found.clips, found.root, found.format) == (whole.clips, whole.root, "webdataset")
    assert content(found) == [b"train/s-00", b"train/s-01"]
    assert found.location == f"{folder}/train/s-{{00..01}}.tar"
    monkeypatch.chdir(folder)
    again = read_dataset(Path("train/s-{00..01}.tar"))
    assert again == found, "a relative pattern, and one that is a Path"


def test_folders_and_lists_in_one_text(folder: Path) -> None:
    both = read_dataset(f"{folder}/{{train,val}}/s-00.tar")
    assert ids(both) == ["train/s-00.tar/a.mp4", "val/s-00.tar/a.mp4"]
    assert both.root == folder
    named = read_dataset(f"{folder}/train/s-00.tar::{folder}/val/s-0{{0..1}}.tar")
    assert ids(named) == ["train/s-00.tar/a.mp4", "val/s-00.tar/a.mp4", "val/s-01.tar/a.mp4"]
    assert read_dataset(f"file://{folder}/train/s-{{00..01}}.tar").clips == read_dataset(folder / "train").clips


@pytest.mark.parametrize("name", ["shards.txt", "shards.list"])
def test_the_lines_of_a_file(folder: Path, name: str) -> None:
    (folder / name).write_text("# those of the first run\n\ntrain/s-{00..01}.tar\nother.tar\n")
    found = read_dataset(folder / name)
    assert ids(found) == ["other.tar/a.mp4", "train/s-00.tar/a.mp4", "train/s-01.tar/a.mp4"]
    assert (found.location, found.root) == (folder / name, folder)
    (folder / name).write_text(f"{folder}/other.tar\n")
    assert ids(read_dataset(folder / name)) == ["other.tar/a.mp4"]


def test_a_list_opens_nothing_outside_its_folder(folder: Path) -> None:
    """It may come from elsewhere, as a table may; a pattern is typed by the user."""
    (folder / "train/list.txt").write_text("s-00.tar\n../val/s-00.tar\n")
    found = read_dataset(folder / "train/list.txt")
    assert ids(found) == ["s-00.tar/a.mp4"]
    assert reasons(found) == {"../val/s-00.tar": "path_escapes_root"}
    found = read_dataset(folder / "train/list.txt", root=[folder / "train", folder / "val"])
    assert ids(found) == ["val/s-00.tar/a.mp4"]
    assert reasons(found) == {"s-00.tar": "ambiguous_path"}


def test_other_text_files_are_no_lists(folder: Path) -> None:
    (folder / "videos.txt").write_text("a.mp4\n")
    (folder / "prompts.txt").write_text("a ball\n")
    (folder / "a.mp4").write_bytes(b"A")
    assert read_dataset(folder / "videos.txt").format == "finetrainers"


def test_what_a_pattern_must_name(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"2 of 4 shards are not there, .*s-02\.tar for one"):
        read_dataset(f"{folder}/train/s-{{00..03}}.tar")
    with pytest.raises(DatasetError, match=r"must name each shard once, got .*s-00\.tar twice"):
        read_dataset(f"{folder}/train/s-{{00,00}}.tar")
    with pytest.raises(DatasetError, match=r"must name \.tar files, got .*s-00\.zip"):
        read_dataset(f"{folder}/train/s-{{00..03}}.zip")
    with pytest.raises(DatasetError, match="unpack the compression"):
        read_dataset(f"{folder}/train/s-{{00..03}}.tar.gz")
    with pytest.raises(DatasetError, match="names more than 1,000,000 shards"):
        read_dataset(f"{folder}/s-{{0..1000000}}.tar")
    with pytest.raises(DatasetError, match="either paths or addresses"):
        read_dataset(f"{folder}/train/s-00.tar::https://host/x.tar")
    with pytest.raises(OptionError, match="pipe: runs a command"):
        read_dataset("pipe:curl https://host/x.tar")
    with pytest.raises(OptionError, match="must be given as text"):
        read_dataset(Path("https://host/x.tar"))
    with pytest.raises(OptionError, match="format must be auto or webdataset"):
        read_dataset(f"{folder}/train/s-{{00..01}}.tar", "folder")
    with pytest.raises(DatasetError, match="does not exist"):
        read_dataset(f"{folder}/no {{such}} folder")


def test_a_name_with_braces_is_that_file(tmp_path: Path) -> None:
    shard(tmp_path / "x{1,2}.tar", [("a.mp4", b"A")])
    assert ids(read_dataset(tmp_path / "x{1,2}.tar")) == ["x{1,2}.tar/a.mp4"]


def test_a_store_knows_the_pattern_again(folder: Path, tmp_path: Path) -> None:
    found = read_dataset(f"{folder}/{{train,val}}/s-00.tar")
    source = Source.of(found)
    assert source.holds_clips_of(Source.of(read_dataset(f"{folder}/{{train,val}}/s-00.tar")))
    assert not source.holds_clips_of(Source.of(read_dataset(f"{folder}/{{val,train}}/s-01.tar")))
    rows = [SubsetRow(found.clips[1], {"score": 0.5})]
    write_subset(source.dataset(()), rows, tmp_path / "out", files="copy")
    with tarfile.open(tmp_path / "out/shards/000000.tar") as archive:
        (video,) = (member for member in archive if member.name.endswith(".mp4"))
        held = archive.extractfile(video)
        assert held is not None
        assert held.read() == b"val/s-00"
    os.unlink(folder / "val/s-00.tar")
    with pytest.raises(
        DatasetError, match=r"1 archives of selected clips are gone, .*val/s-00\.tar for one; bring them"
    ):
        write_subset(source.dataset(()), rows, tmp_path / "two", files="copy")
    write_subset(source.dataset(()), rows, tmp_path / "three", files="none")
    needed = (tmp_path / "three/needed.csv").read_text().splitlines()
    assert needed == ["file,file_bytes,clips,clip_bytes", "val/s-00.tar,,1,8"], "also where the shard is gone"
