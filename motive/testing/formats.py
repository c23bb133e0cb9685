"""Contract suite of dataset formats."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from motive.data import Dataset, SubsetRow, dataset_format, read_dataset, write_subset
from motive.data.formats.tables import cell_text, read_rows
from motive.data.media import media_of
from motive.errors import DatasetError


@dataclass(frozen=True)
class Entry:
    """One clip of a dataset to be written.

    Attributes:
        path: of the video, relative to the dataset's folder; a hostile one may lead out of it.
        caption: None for none.
        data: the video's bytes; None where no file must be made.
    """

    path: str
    caption: str | None
    data: bytes | None


def place_videos(folder: Path, entries: Sequence[Entry]) -> None:
    """Write the entries' videos where their paths say."""
    for entry in entries:
        if entry.data is not None:
            target = folder / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(entry.data)


def entry(path: str, caption: str | None) -> Entry:
    """An entry whose bytes are found nowhere else."""
    return Entry(path, caption, f"video at {path}".encode())


class FormatContract(ABC):
    """Tests of a dataset format. Subclass with the name ``Test...``, set ``format``, and define ``write_dataset``.

    Attributes:
        format: name of the format, as it is registered.
        by_itself: whether the dataset that write_dataset makes is recognised without naming the format.
        has_paths: whether the dataset writes paths, which may then lead out of its folder or name no file.
        multiline: whether a caption may hold a line end.
        subset_format: format that a subset is read as.
        subset_table: the table beside a subset that has its clips and scores.
    """

    format: str
    by_itself = True
    has_paths = True
    multiline = True
    subset_format: str | None = None
    subset_table = "metadata.csv"

    @abstractmethod
    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        """Write a dataset with these videos and captions into an empty folder; returns the path to read."""

    def subset_path(self, out: Path) -> Path:
        """What to read of a subset in ``out``."""
        return out

    @pytest.fixture
    def entries(self) -> list[Entry]:
        """Clips with captions of many kinds, and with none."""
        captions = ['says "hi", then; goes\\on', "\u732b \u2603 caf\u00e9", "=1+1", "nan", "None", "plain", None]
        entries = [entry(f"clip_{j}.mp4", caption) for j, caption in enumerate(captions)]
        more = [entry("sub/clip_0.mp4", "in a folder")]
        return [*entries, *more, *([entry("lines.mp4", "two\nlines")] if self.multiline else [])]

    def read(self, folder: Path, entries: Sequence[Entry]) -> Dataset:
        """The dataset of these entries, read as the format that it is."""
        folder.mkdir(parents=True, exist_ok=True)
        return read_dataset(self.write_dataset(folder, entries), self.format)

    def test_it_is_registered_under_its_name(self) -> None:
        reader = dataset_format(self.format)
        assert reader.name == self.format
        assert type(reader)().name == self.format, "a format is made without arguments"

    def test_it_is_recognised(self, tmp_path: Path, entries: list[Entry]) -> None:
        path = self.write_dataset(tmp_path, entries)
        named = read_dataset(path, self.format)
        assert named.format == self.format
        if self.by_itself:
            assert read_dataset(path) == named

    def test_captions_and_videos_are_those_that_were_written(self, tmp_path: Path, entries: list[Entry]) -> None:
        dataset = self.read(tmp_path, entries)
        assert not dataset.failures
        assert contents(dataset) == {item.data: item.caption or "" for item in entries}
        assert dataset.without_caption == sum(not item.caption for item in entries)

    def test_ids_are_sorted_unique_and_stay_when_the_folder_moves(self, tmp_path: Path, entries: list[Entry]) -> None:
        dataset = self.read(tmp_path / "here", entries)
        ids = [clip.clip_id for clip in dataset.clips]
        assert ids == sorted(set(ids))
        (tmp_path / "here").rename(tmp_path / "there")
        moved = read_dataset(tmp_path / "there" / Path(dataset.location).relative_to(tmp_path / "here"), self.format)
        assert [clip.clip_id for clip in moved.clips] == ids

    def test_no_path_leads_out_and_a_missing_file_is_told(self, tmp_path: Path) -> None:
        if not self.has_paths:
            return
        (tmp_path / "secret.mp4").write_bytes(b"secret")
        outside = ["../secret.mp4", str(tmp_path / "secret.mp4"), "x/../../secret.mp4"]
        hostile = [Entry(path, "x", None) for path in [*outside, "gone.mp4"]]
        dataset = self.read(tmp_path / "set", [entry("a.mp4", "good"), *hostile])
        assert [clip.caption for clip in dataset.clips] == ["good"]
        reasons = sorted(failure.reason for failure in dataset.failures)
        assert reasons == ["missing_file", *["path_escapes_root"] * 3]

    def test_a_subset_is_a_dataset(self, tmp_path: Path, entries: list[Entry]) -> None:
        dataset = self.read(tmp_path / "set", entries)
        chosen = [clip for clip in dataset.clips if clip.caption][1:4]
        captions = {clip.caption for clip in chosen}
        wanted = {data: caption for data, caption in contents(dataset).items() if caption in captions}
        out = tmp_path / "out"
        write_subset(dataset, [SubsetRow(clip, {"score": 0.5}) for clip in chosen], out, files="copy")
        again = read_dataset(self.subset_path(out), self.subset_format or self.format)
        assert contents(again) == wanted
        rows = [
            {name: cell_text(cell) for name, cell in row.values.items()} for row in read_rows(out / self.subset_table)
        ]
        assert [row["score"] for row in rows] == ["0.5"] * 3
        assert {row["clip_id"] for row in rows} == {clip.clip_id for clip in chosen}

    def test_scores_without_videos(self, tmp_path: Path, entries: list[Entry]) -> None:
        """A subset without its videos has every clip and score in the CSV beside it, and places no video."""
        dataset = self.read(tmp_path / "set", entries)
        chosen = list(reversed(dataset.clips[1:4]))
        out = tmp_path / "out"
        write_subset(dataset, [SubsetRow(clip, {"score": n}) for n, clip in enumerate(chosen)], out, files="none")
        videos = {item.data for item in entries}
        assert not [path for path in out.rglob("*") if path.is_file() and path.read_bytes() in videos]
        rows = [row.values for row in read_rows(out / "metadata.csv")]
        assert [(row["clip_id"], row["score"]) for row in rows] == [(c.clip_id, str(n)) for n, c in enumerate(chosen)]

    def test_reading_again_gives_the_same(self, tmp_path: Path, entries: list[Entry]) -> None:
        path = self.write_dataset(tmp_path, entries)
        assert read_dataset(path, self.format) == read_dataset(path, self.format)

    def test_other_folders_are_not_its_own(self, tmp_path: Path) -> None:
        reader = dataset_format(self.format)
        (tmp_path / "readme.md").write_text("nothing to read")
        assert reader.detect(tmp_path, named=False) is None
        assert reader.detect(tmp_path / "readme.md", named=False) is None

    def test_damaged_files_give_an_answer(self, tmp_path: Path, entries: list[Entry]) -> None:
        """Bytes that were flipped, cut or repeated are an error or a failure, and never another exception."""
        path = self.write_dataset(tmp_path, entries)
        choose = random.Random(0)
        videos = {item.data for item in entries}
        files = [file for file in sorted(tmp_path.rglob("*")) if file.is_file() and file.read_bytes() not in videos]
        for file in files[:3]:
            whole = file.read_bytes()
            for _ in range(12):
                file.write_bytes(_damaged(whole, choose))
                try:
                    dataset = read_dataset(path, self.format)
                except DatasetError:
                    continue
                assert all(media_of(clip.path).file.is_relative_to(tmp_path) for clip in dataset.clips)
            file.write_bytes(whole)


def contents(dataset: Dataset) -> dict[bytes, str]:
    """Bytes of every clip -> its caption."""
    found: dict[bytes, str] = {}
    for clip in dataset.clips:
        with media_of(clip.path).open() as file:
            found[file.read()] = clip.caption
    return found


def _damaged(whole: bytes, choose: random.Random) -> bytes:
    data = bytearray(whole)
    at = choose.randrange(len(data) or 1)
    kind = choose.randrange(4)
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        return bytes(data[:at] + choose.randbytes(40) + data[at:])
    if kind == 2:
        return bytes(data[:at] + data[at // 2 :])
    for _ in range(8):
        if data:
            data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
    return bytes(data)
