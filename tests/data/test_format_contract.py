"""Every dataset format of this tree keeps the published contract; formats of other packages run the same suite."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from motive.data import read_dataset
from motive.data.formats import registry
from motive.data.formats.metadata import TableFormat
from motive.data.formats.metadata import subset_table as table_name
from motive.errors import DatasetError, OptionError
from motive.testing import Entry, FormatContract, place_videos
from tests.data.tables import write_table


class TableContract(FormatContract):
    """A format that is one table."""

    table = "metadata.csv"
    names: tuple[str, str] = ("file_name", "text")

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        rows = [dict(zip(self.names, (entry.path, entry.caption), strict=True)) for entry in entries]
        write_table(folder / self.table, rows)
        return folder

    def subset_path(self, out: Path) -> Path:
        return out / table_name(Path(self.table))


class TestVideoFolder(TableContract):
    format = "videofolder"


class TestVideoFolderTsv(TableContract):
    format, table = "videofolder", "metadata.tsv"


class TestVideoFolderParquet(TableContract):
    format, table, names = "videofolder", "metadata.parquet", ("file_name", "caption")
    subset_table = "clips.csv"

    def subset_path(self, out: Path) -> Path:
        return out


class TestDiffSynth(TableContract):
    format, table, names = "diffsynth", "metadata.csv", ("video", "prompt")


class TestDiffSynthJson(TableContract):
    format, table, names = "diffsynth", "metadata.json", ("video", "prompt")


class TestJsonLines(TableContract):
    format, table, names = "jsonl", "clips.jsonl", ("path", "caption")


class TestTable(TableContract):
    format, table, names = "table", "train.csv", ("path", "caption")

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        return super().write_dataset(folder, entries) / self.table


class TestTableJson(TestTable):
    format, table, names = "table", "train.json", ("video_path", "text")


class TestTableParquet(TestTable):
    format, table, names = "table", "train.parquet", ("video", "caption")


class TestVideoFiles(FormatContract):
    format = "folder"
    has_paths = False

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        for entry in entries:
            if entry.caption is not None:
                (folder / entry.path).with_suffix(".txt").write_text(entry.caption, encoding="utf-8")
        return folder


class TestWebDataset(FormatContract):
    format = "webdataset"
    has_paths = False
    subset_table = "clips.csv"

    def subset_path(self, out: Path) -> Path:
        return out / "shards"

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        with tarfile.open(folder / "x.tar", "w") as archive:
            for entry in entries:
                caption = None if entry.caption is None else entry.caption.encode()
                for name, data in ((entry.path, entry.data), (entry.path.replace(".mp4", ".txt"), caption)):
                    if data is not None:
                        info = tarfile.TarInfo(name)
                        info.size = len(data)
                        archive.addfile(info, io.BytesIO(data))
        return folder


def test_every_format_of_the_tree_keeps_the_contract() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    tried = set(re.findall(r'^ +format(?:, \w+)* = "([\w-]+)"', tests, re.MULTILINE))
    assert set(registry._built_in()) <= tried, "each format needs a subclass of FormatContract under tests/data"


class OtherFormat(TableFormat):
    """Stands for a format of another package."""

    name = "other"
    priority = 10
    path_columns = ("clip_path",)
    caption_columns = ("description",)
    suffixes = (".csv",)


def offer(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    point = EntryPoint(name, value, registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.ENTRY_POINTS else [])


class TestOtherFormat(TableContract):
    """The contract through the entry point, as another package has it."""

    format = "other"  # not of the tree
    names = ("clip_path", "description")

    @pytest.fixture(autouse=True)
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        offer(monkeypatch, "other", f"{__name__}:OtherFormat")


def test_without_its_package_the_format_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(OptionError, match=r"format must be auto or one of .*videofolder.*, got 'other'"):
        read_dataset(tmp_path, "other")


def test_another_package_cannot_replace_a_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "folder", "nowhere:Nothing")
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert read_dataset(tmp_path).format == "folder"


@pytest.mark.parametrize("value", ["nowhere_at_all:Nothing", "motive.errors:NoSuchName", "motive.errors:DatasetError"])
def test_a_broken_entry_point_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    offer(monkeypatch, "broken", value)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(DatasetError, match="broken"):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path, "folder").format == "folder", "a named format of the tree needs no other package"


def test_formats_are_asked_in_the_order_of_their_priority() -> None:
    known = {"musubi", "diffsynth", "videofolder", "jsonl", "webdataset", "zip", "folder"}
    asked = [name for name in registry.dataset_formats() if name in known]
    assert asked == ["musubi", "diffsynth", "videofolder", "jsonl", "webdataset", "zip", "folder"]
