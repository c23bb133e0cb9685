"""Every selection writer: what it writes is read again as its tool's format, with every column and score."""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from motive.data import Attributed, Clip, Dataset, SubsetRow, read_dataset, write_subset
from motive.data.writers import registry
from motive.data.writers.columns import Columns
from motive.data.writers.names import FlatNames
from motive.data.writers.registry import selection_writers
from motive.data.writers.writer import Export, SelectionWriter, Training
from motive.errors import DatasetError, OptionError

CAPTIONS = {
    "x/a.mp4": "=SUM(A1)",
    "y/a.mp4": 'a "quoted",\ncaption \u732b\u2028here',
    "y/b.b.mkv": "None",
    "-c d.mp4": "",
    "A.MP4": "upper",
    "a.mp4": "lower",
}
WRITERS = sorted(registry._built_in())
SPEC = Attributed(shapes=((416, 240, 33),))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A table with columns of many kinds, some of them called as a layout's own columns are."""
    rows = []
    for number, (name, caption) in enumerate(CAPTIONS.items()):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video %d" % number)
        rows.append({"path": name, "caption": caption, "zz": number, "fps": 0.1 * number, "video": "old", "tag": "007",
                     "depth_file_name": f"{number}.png", "aa": [number]})  # fmt: skip
    (tmp_path / "set/clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_dataset(tmp_path / "set/clips.jsonl")


def chosen(dataset: Dataset, count: int = 6) -> list[SubsetRow]:
    """The last clips by id first, so that no sorted order is right by chance."""
    clips = sorted(dataset.clips, key=lambda clip: clip.clip_id, reverse=True)[:count]
    return [SubsetRow(clip, {"motive_rank": n, "motive_mean": 0.5 - n}) for n, clip in enumerate(clips, 1)]


def write(dataset: Dataset, tmp_path: Path, name: str, **options: Any) -> Path:
    out = tmp_path / "out"
    training = write_subset(dataset, chosen(dataset), out, format=name, attributed=SPEC, **{"files": "copy", **options})
    assert training is not None
    assert training.commands
    assert "```sh" in (out / "TRAIN.md").read_text()
    return out


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def json_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def toml(path: Path) -> dict[str, Any]:
    reader = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    return reader.loads(path.read_text(encoding="utf-8"))


TABLES = {
    "diffsynth": ("metadata.jsonl", "video", "prompt"),
    "musubi": ("videos.jsonl", "video_path", "caption"),
    "hf": ("metadata.jsonl", "file_name", "caption"),
    "jsonl": ("clips.jsonl", "path", "caption"),
    "fastvideo": ("videos2caption.json", "path", "cap"),
}
"""Writers of a table with all columns: its name, and the columns of the file and the caption."""


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize("files", ["link", "copy"])
def test_a_table_has_every_column_in_order(dataset: Dataset, tmp_path: Path, name: str, files: str) -> None:
    out = write(dataset, tmp_path, name, files=files)
    table, path_column, caption_column = TABLES[name]
    text = (out / table).read_text(encoding="utf-8")
    rows = json.loads(text) if table.endswith(".json") else [json.loads(line) for line in text.split("\n") if line]
    videos = out / "videos" if name == "fastvideo" else out
    for row, given in zip(rows, chosen(dataset), strict=True):
        assert row[caption_column] == given.clip.caption
        assert (videos / row[path_column]).read_bytes() == given.clip.path.read_bytes()
        assert (row["clip_id"], row["motive_rank"], row["motive_mean"]) == (given.clip.clip_id, *given.scores.values())
        assert (row["zz"], row["fps"], row["tag"]) == (
            int(given.clip.columns["zz"]), float(given.clip.columns["fps"]), "007"
        ), "numbers are numbers, a text of digits stays text"  # fmt: skip
        assert row["aa"] == json.loads(given.clip.columns["aa"]), "a list stays a list"
        names = [key.removeprefix("source_") for key in row]
        own = [key for key in given.clip.columns if key.removesuffix("_file_name") + "_path" in names or key in names]
        assert own == list(given.clip.columns), "every column of the dataset is there, in its order"
    assert len({tuple(row) for row in rows}) == 1, "the same columns in every row"


def test_what_the_hub_would_open_is_renamed(dataset: Dataset, tmp_path: Path) -> None:
    row = json_rows(write(dataset, tmp_path, "hf") / "metadata.jsonl")[0]
    assert {"source_video", "source_depth_path", "source_caption"} <= set(row)
    assert [key for key in row if key.endswith("file_name")] == ["file_name"]


@pytest.mark.parametrize("name", ["webdataset", "folder", "diffusion-pipe", "finetrainers", "list"])
def test_layouts_without_columns_have_a_csv(dataset: Dataset, tmp_path: Path, name: str) -> None:
    out = write(dataset, tmp_path, name)
    rows = csv_rows(out / "clips.csv")
    assert [row["clip_id"] for row in rows] == [row.clip.clip_id for row in chosen(dataset)]
    assert [row["motive_rank"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert list(rows[0])[:3] == ["file", "clip_id", "caption"]
    assert list(rows[0])[3:-2] == [name for name in dataset.clips[0].columns if name != "caption"]
    assert {row["caption"][:1] for row in rows if "SUM" in row["caption"]} == {"'"}, "no formula for a spreadsheet"


@pytest.mark.parametrize("name", ["folder", "diffusion-pipe"])
def test_a_folder_holds_videos_and_captions_alone(dataset: Dataset, tmp_path: Path, name: str) -> None:
    out = write(dataset, tmp_path, name)
    files = sorted(path.name for path in (out / "videos").iterdir())
    assert len(files) == 12
    assert len({Path(file).stem.casefold() for file in files}) == 6, "no two stems are alike, in any case"
    by_data = {row.clip.path.read_bytes(): row.clip.caption for row in chosen(dataset)}
    for video in (out / "videos").iterdir():
        if video.suffix != ".txt":
            assert video.with_suffix(".txt").read_text(encoding="utf-8") == by_data[video.read_bytes()]
    if name == "diffusion-pipe":
        config = toml(out / "dataset.toml")
        assert config["directory"][0]["path"] == str(out / "videos")
        assert (config["resolutions"], config["frame_buckets"]) == ([[416, 240]], [1, 33])


def test_finetrainers_lines_belong_together(dataset: Dataset, tmp_path: Path) -> None:
    out = write(dataset, tmp_path, "finetrainers")
    videos, prompts = ((out / name).read_text("utf-8").splitlines() for name in ("videos.txt", "prompts.txt"))
    for video, prompt, row in zip(videos, prompts, chosen(dataset), strict=True):
        assert (out / video).read_bytes() == row.clip.path.read_bytes()
        assert prompt == " ".join(row.clip.caption.splitlines())
    (config,) = json.loads((out / "training.json").read_text())["datasets"]
    assert config["data_root"] == str(out)
    assert config["video_resolution_buckets"] == [[33, 240, 416]]


def test_musubi_finds_its_files_from_anywhere(dataset: Dataset, tmp_path: Path) -> None:
    out = write(dataset, tmp_path, "musubi")
    config = toml(out / "dataset.toml")
    (one,) = config["datasets"]
    assert config["general"]["resolution"] == [416, 240]
    assert one["target_frames"] == [33]
    assert Path(one["cache_directory"]) == tmp_path / "out-cache", "not inside what a later selection replaces"
    rows = json_rows(Path(one["video_jsonl_file"]))
    assert all(Path(row["video_path"]).is_file() and Path(row["video_path"]).is_absolute() for row in rows)
    stems = [Path(row["video_path"]).stem for row in rows]
    assert len(set(stems)) == 6, "its cache is named by stems"


def test_shards_have_equal_members_and_bytes(dataset: Dataset, tmp_path: Path) -> None:
    out = write(dataset, tmp_path, "webdataset")
    with tarfile.open(out / "shards/000000.tar") as archive:
        members = archive.getmembers()
        keys = [member.name.partition(".")[0] for member in members]
        assert keys == [key for key in dict.fromkeys(keys) for _ in range(3)], "members of a key are neighbours"
        kinds = [member.name.partition(".")[2] for member in members]
        assert kinds[1::3] == ["txt"] * 6
        assert kinds[2::3] == ["json"] * 6
        assert {(member.mtime, member.uid, member.mode) for member in members} == {(0, 0, 0o644)}
    again = read_dataset(out / "shards")
    assert {clip.clip_id: clip.caption for clip in again.clips} == {
        row.clip.clip_id: row.clip.caption.strip() for row in chosen(dataset)
    }
    first = (out / "shards/000000.tar").read_bytes()
    write_subset(dataset, chosen(dataset), tmp_path / "two", format="webdataset", files="link")
    assert (tmp_path / "two/shards/000000.tar").read_bytes() == first


def test_shards_are_cut(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motive.data.writers.webdataset._SHARD_CLIPS", 4)
    out = write(dataset, tmp_path, "webdataset")
    assert sorted(path.name for path in (out / "shards").iterdir()) == ["000000.tar", "000001.tar"]
    assert len(read_dataset(out / "shards").clips) == 6
    assert "{000000..000001}.tar" in (out / "TRAIN.md").read_text()


@pytest.mark.parametrize("name", ["diffsynth", "jsonl", "musubi", "list", "finetrainers"])
def test_without_copies_the_originals_are_named(dataset: Dataset, tmp_path: Path, name: str) -> None:
    rows = [row for row in chosen(dataset) if row.clip.path.stem.casefold() != "a"]
    write_subset(dataset, rows, tmp_path / "out", format=name, files="none")
    out = tmp_path / "out"
    assert not [path for path in out.rglob("*") if path.suffix.lower() in (".mp4", ".mkv")]
    if name in TABLES:
        table, column, _ = TABLES[name]
        found = [row[column] for row in json_rows(out / table)]
    else:
        found = (out / ("clips.txt" if name == "list" else "videos.txt")).read_text().splitlines()
    assert found == [str(row.clip.path) for row in rows]


@pytest.mark.parametrize("name", ["webdataset", "folder", "diffusion-pipe", "fastvideo", "hf"])
def test_what_cannot_name_originals_says_so(dataset: Dataset, tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match="leave out --scores-only"):
        write_subset(dataset, chosen(dataset), tmp_path / "out", format=name, files="none")
    assert not (tmp_path / "out").exists()


def test_musubi_refuses_equal_stems_of_originals(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="names its cache by file name"):
        write_subset(dataset, chosen(dataset), tmp_path / "out", format="musubi", files="none")


def test_two_captions_of_one_file(tmp_path: Path) -> None:
    """Each clip keeps its caption also where captions lie beside videos."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.mp4").write_bytes(b"x")
    rows = [{"id": name, "path": "a.mp4", "caption": name} for name in ("p", "q")]
    (tmp_path / "set/clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = read_dataset(tmp_path / "set/clips.jsonl")
    out = write(dataset, tmp_path, "folder")
    assert sorted(path.read_text() for path in (out / "videos").glob("*.txt")) == ["p", "q"]


def test_the_shell_lines_are_one_word_each(dataset: Dataset, tmp_path: Path) -> None:
    """A folder with a space and a quote in its name stays one argument."""
    import shlex

    out = tmp_path / "it's here"
    for name in WRITERS:
        training = write_subset(dataset, chosen(dataset), out / name, files="link", format=name, attributed=SPEC)
        assert training is not None
        for command in training.commands:
            shlex.split(command)
    words = shlex.split((out / "musubi/TRAIN.md").read_text().split("```sh\n")[1].split("\n")[0])
    assert str(out / "musubi/dataset.toml") in words


def test_column_kinds() -> None:
    rows = [{"a": "1", "b": "1", "c": "1.5", "d": "x", "e": "-0.0", "f": "01", "g": "1", "h": "nan", "i": str(1 << 63)}]
    rows += [{"a": "-2", "b": "2.5", "c": "2", "d": "1", "e": "1.0", "f": "1", "h": "1", "i": "1"}]
    kinds = {name: kind.__name__ for name, kind in Columns.of(rows).kinds.items()}
    assert kinds == {"a": "int", "b": "float", "c": "float", "d": "str", "e": "float", "f": "str", "g": "str", "h": "str",
                     "i": "str"}  # fmt: skip


@pytest.mark.parametrize("count", [1, 1000])
def test_flat_names_are_unique_and_short(count: int) -> None:
    names, folder = FlatNames(), "d" * 200 + "/" + "\u732b" * 60
    found = [names.of(f"{folder}/a b.c {number % 7}.MP4", f"id {number}") for number in range(count)]
    assert len({Path(name).stem.casefold() for name in found}) == count
    assert all(len(name.encode()) < 200 and name.endswith(".mp4") and name.count(".") == 1 for name in found)


class OtherWriter(SelectionWriter):
    """Stands for a writer of another package."""

    name = "other"

    def write(self, export: Export) -> None:
        (export.folder / "other.txt").write_text("".join(path + "\n" for _, path in export.videos(self)))

    def training(self, export: Export) -> Training:
        return Training("other 1.0", ("true",))


def offer(monkeypatch: pytest.MonkeyPatch, points: Sequence[tuple[str, str]]) -> None:
    found = [EntryPoint(name, value, registry.ENTRY_POINTS) for name, value in points]
    monkeypatch.setattr(registry, "entry_points", lambda group: found if group == registry.ENTRY_POINTS else [])


def test_another_package_adds_a_writer(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"format must be same or one of .*musubi.*, got 'other'"):
        write_subset(dataset, chosen(dataset), tmp_path / "out", format="other", files="link")
    offer(monkeypatch, [("other", f"{__name__}:OtherWriter"), ("hf", "nowhere:Nothing"), ("same", "nowhere:Nothing")])
    out = write(dataset, tmp_path, "other")
    assert len((out / "other.txt").read_text().splitlines()) == 6
    assert list(selection_writers()) == sorted([*WRITERS, "other"]), "ours cannot be replaced"


@pytest.mark.parametrize("value", ["nowhere_at_all:Nothing", "motive.errors:NoSuchName", "motive.errors:DatasetError"])
def test_a_broken_entry_point_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    offer(monkeypatch, [("broken", value)])
    with pytest.raises(DatasetError, match="broken"):
        selection_writers()


def test_no_name_of_a_file_is_a_split_to_the_hub(dataset: Dataset, tmp_path: Path) -> None:
    """datasets takes files whose names hold such a word between signs or digits for a split, and leaves out the table."""
    names = [
        "train/a.mp4",
        "Train/a.mp4",
        "data/train-00000-of-00001.parquet/a.mp4",
        "x_test1.mp4",
        "val.mp4",
        "trainer.mp4",
        "contest.mp4",
    ]
    clips = []
    for number, name in enumerate(names):
        path = tmp_path / "more" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video %d" % number)
        clips.append(Clip(name, path, f"caption {number}"))
    rows = [SubsetRow(clip, {"score": 1.0}) for clip in clips]
    more = replace(dataset, clips=tuple(clips), root=tmp_path / "more")
    write_subset(more, rows, tmp_path / "out", files="copy", format="hf")
    written = json_rows(tmp_path / "out/metadata.jsonl")
    assert [row["clip_id"] for row in written] == names
    files = [row["file_name"] for row in written]
    assert files[2:] == [
        "videos/data__Train-00000-of-00001_parquet__a.mp4",
        "videos/x_Test1.mp4",
        "videos/Val.mp4",
        "videos/trainer.mp4",
        "videos/contest.mp4",
    ]
    assert len({name.casefold() for name in files}) == len(files)
    assert [(tmp_path / "out" / name).read_bytes() for name in files] == [clip.path.read_bytes() for clip in clips]
