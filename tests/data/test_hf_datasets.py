"""Hugging Face datasets: embedded and linked videos in Parquet, and folders of save_to_disk, in the layout of 5.2.0."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motive.data import ClipReader, ClipSpec, SubsetRow, load_clip, read_dataset, write_subset, write_video
from motive.data.media import ByteRange, Cell, media_of
from motive.errors import DatasetError
from motive.indexing.encode import content_hash
from motive.testing import Entry, FormatContract, place_videos

VIDEO = pa.struct({"bytes": pa.binary(), "path": pa.string()})
STANDARD = ClipSpec(fps=12.0, frames=5, height=32, width=32, short="hold")


def table_of(rows: Sequence[dict[str, Any]], kind: Any = VIDEO, stated: bool = True) -> pa.Table:
    """A table as datasets writes it: which column is a video is in the schema's metadata."""
    fields = [pa.field("video", kind)]
    fields += [pa.field(name, pa.array([row[name] for row in rows]).type) for name in rows[0] if name != "video"]
    features = {"video": {"decode": False, "_type": "Video"}, "caption": {"dtype": "string", "_type": "Value"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if stated else None
    return pa.Table.from_pylist(list(rows), schema=pa.schema(fields, metadata=metadata))


def save_to_disk(folder: Path, table: pa.Table, options: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=3)
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    (folder / "dataset_info.json").write_text('{"features": {}}')
    return folder


def embedded(path: str | None, data: bytes | None, **more: Any) -> dict[str, Any]:
    return {"video": {"bytes": data, "path": path}, **more}


class TestParquet(FormatContract):
    format = "hf_datasets"
    has_paths = False
    subset_format = "videofolder"
    subset_table = "metadata.jsonl"

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        rows = [embedded(entry.path, entry.data, caption=entry.caption) for entry in entries]
        pq.write_table(table_of(rows), folder / "data/train-00000-of-00001.parquet", row_group_size=3)
        return folder


class TestLinkedParquet(TestParquet):
    has_paths = True

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        rows = [embedded(entry.path, None, caption=entry.caption) for entry in entries]
        pq.write_table(table_of(rows), folder / "train.parquet")
        return folder


class TestSavedToDisk(TestParquet):
    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        return save_to_disk(
            folder, table_of([embedded(entry.path, entry.data, caption=entry.caption) for entry in entries])
        )


def test_columns_splits_and_ids(tmp_path: Path) -> None:
    """Two splits; embedded and linked videos in one row group; bytes without a path; another row without either."""
    (tmp_path / "data").mkdir()
    (tmp_path / "linked.mp4").write_bytes(b"L")
    rows = [
        embedded("a.mp4", b"A", caption="first", motion=[1.5, 2.0], cover=b"picture"),
        embedded("linked.mp4", None, caption=None, motion=None, cover=None),
        embedded(None, b"no name", caption="third", motion=None, cover=None),
        embedded("/home/me/b.mp4", b"B", caption="fourth", motion=None, cover=None),
        embedded(None, None, caption="none", motion=None, cover=None),
        embedded("hf://datasets/x/y/c.mp4", None, caption="hub", motion=None, cover=None),
    ]
    pq.write_table(table_of(rows), tmp_path / "data/train-00000-of-00001.parquet")
    pq.write_table(table_of([embedded("a.mp4", b"T", caption="t")]), tmp_path / "data/test-00000-of-00001.parquet")
    found = read_dataset(tmp_path)
    train = "data/train-00000-of-00001.parquet"
    clips = {clip.clip_id: clip for clip in found.clips}
    assert sorted(clips) == [
        "data/test-00000-of-00001.parquet/a.mp4", f"{train}/a.mp4", f"{train}/b.mp4", f"{train}/row 2", "linked.mp4",
    ]  # fmt: skip
    first = clips[f"{train}/a.mp4"]
    assert (first.caption, dict(first.columns)) == (
        "first", {"split": "train", "caption": "first", "motion": "[1.5, 2.0]"},
    ), "columns of bytes are not loaded"  # fmt: skip
    assert media_of(first.path) == Cell(tmp_path / train, "a.mp4", 0, "video.bytes")
    with media_of(clips[f"{train}/b.mp4"].path).open() as file:
        assert file.read() == b"B"
    assert [(failure.clip_id, failure.reason) for failure in found.failures] == [
        (f"{train}/row 4", "bad_row"),
        (f"{train}/hf://datasets/x/y/c.mp4", "bad_path"),
    ]
    assert [item.name for item in found.unread] == ["column cover"]


def test_linked_videos_under_another_root(tmp_path: Path) -> None:
    """to_parquet writes absolute paths; the files may be elsewhere by now."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here/a.mp4").write_bytes(b"A")
    rows = [embedded("/there/a.mp4", None, caption="linked"), embedded("b.mp4", b"B", caption="embedded")]
    pq.write_table(table_of(rows), tmp_path / "train.parquet")
    found = read_dataset(tmp_path / "train.parquet", path_map=[f"/there={tmp_path / 'here'}"])
    assert sorted(clip.caption for clip in found.clips) == ["embedded", "linked"]
    found = read_dataset(tmp_path / "train.parquet", root=tmp_path / "here", path_map=[f"/there={tmp_path / 'here'}"])
    assert [(clip.clip_id, clip.caption) for clip in found.clips] == [("a.mp4", "linked")]
    assert [(failure.clip_id, failure.reason) for failure in found.failures] == [
        ("train.parquet/b.mp4", "path_escapes_root")
    ]


def test_a_column_of_bytes_as_web_datasets_become_on_the_hub(tmp_path: Path) -> None:
    table = pa.table({"__key__": ["k"], "mp4": pa.array([b"V"], pa.binary()), "caption": pa.array([b"caf\xc3\xa9"])})
    pq.write_table(table, tmp_path / "0000.parquet")
    (clip,) = read_dataset(tmp_path).clips
    assert (clip.clip_id, clip.caption, clip.columns["__key__"]) == ("0000.parquet/row 0", "caf\u00e9", "k")
    with media_of(clip.path).open() as file:
        assert file.read() == b"V"


def test_pictures_and_other_tables_are_left_alone(tmp_path: Path) -> None:
    table = table_of([embedded("a.png", b"A", caption="x")]).rename_columns(["image", "caption"])
    meta = {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})}
    pq.write_table(table.replace_schema_metadata(meta), tmp_path / "train.parquet")
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert read_dataset(tmp_path).format == "folder"
    with pytest.raises(DatasetError, match="no Parquet or Arrow file with a column of videos"):
        read_dataset(tmp_path, "hf_datasets")


def test_a_dict_of_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save_to_disk(tmp_path / split, table_of([embedded("a.mp4", split.encode(), caption=split)]))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    found = read_dataset(tmp_path)
    assert [(clip.caption, clip.columns["split"]) for clip in found.clips] == [("test", "test"), ("train", "train")]
    assert found.clips[0].clip_id == "test/data-00000-of-00001.arrow/a.mp4"
    assert len(read_dataset(tmp_path / "train").clips) == 1


def test_arrow_videos_are_byte_ranges(tmp_path: Path) -> None:
    rows = [embedded(f"{at}.mp4", bytes([at]) * (100 + at), caption="") for at in range(7)]
    found = read_dataset(save_to_disk(tmp_path, table_of(rows)))
    for at, clip in enumerate(found.clips):
        part = media_of(clip.path)
        assert isinstance(part, ByteRange)
        with part.open() as file:
            assert file.read() == bytes([at]) * (100 + at)


def test_compressed_arrow_buffers_are_refused(tmp_path: Path) -> None:
    rows = [embedded("a.mp4", b"A" * 5000, caption="x")]
    save_to_disk(tmp_path, table_of(rows), pa.ipc.IpcWriteOptions(compression="zstd"))
    found = read_dataset(tmp_path)
    assert not found.clips
    assert "compressed" in found.failures[0].detail


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_damage_gives_an_answer(tmp_path: Path, kind: str) -> None:
    rows = [embedded(f"{at}.mp4", bytes([at]) * 40, caption=f"c{at}") for at in range(9)]
    if kind == "arrow":
        file = save_to_disk(tmp_path, table_of(rows)) / "data-00000-of-00001.arrow"
    else:
        file = tmp_path / "train.parquet"
        pq.write_table(table_of(rows), file, row_group_size=3)
    whole, choose = file.read_bytes(), random.Random(0)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(choose.randrange(1, 5)):
            data[choose.randrange(len(data))] = choose.randrange(256)
        file.write_bytes(data[: choose.choice([len(data), len(data), choose.randrange(len(data))])])
        try:
            found = read_dataset(tmp_path, "hf_datasets")
        except DatasetError:
            continue
        for clip in found.clips:
            part = media_of(clip.path)
            assert part.file == file
            if isinstance(part, ByteRange):
                assert part.start + part.length <= file.stat().st_size


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_decoding_and_selecting_in_place(tmp_path: Path, kind: str) -> None:
    film = tmp_path / "film.mp4"
    write_video(film, np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), np.uint8), 12.0)
    rows = [embedded(f"{at}.mp4", film.read_bytes() if at == 4 else b"none", caption=f"c{at}") for at in range(6)]
    folder = tmp_path / "set"
    if kind == "arrow":
        save_to_disk(folder, table_of(rows))
    else:
        folder.mkdir()
        pq.write_table(table_of(rows), folder / "train.parquet", row_group_size=3)
    found = read_dataset(folder)
    clip = found.clips[4]
    right = load_clip(film, STANDARD)
    with ClipReader() as decoders:
        for got in (load_clip(clip.path, STANDARD), decoders.load_clip(clip.path, STANDARD)):
            np.testing.assert_array_equal(got.frames, right.frames)
    assert content_hash(clip.path) == content_hash(film)
    write_subset(found, [SubsetRow(clip, {"score": 1})], tmp_path / "out", files="link")
    (again,) = read_dataset(tmp_path / "out").clips
    assert (again.path.read_bytes(), again.caption) == (film.read_bytes(), "c4")
    if kind == "arrow":
        save_to_disk(folder, table_of(rows[1:]))
    else:
        pq.write_table(table_of(rows[1:]), folder / "train.parquet", row_group_size=3)
    with pytest.raises(DatasetError, match="has changed since it was read"):
        write_subset(found, [SubsetRow(clip, {"score": 1})], tmp_path / "out2", files="link")
