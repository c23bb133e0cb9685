"""Layouts of curators: Open-Sora, Cosmos-Curate, NeMo Curator, Data-Juicer."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motive.data import Dataset, SubsetRow, read_dataset, write_subset
from motive.data.formats import json_list
from motive.errors import DatasetError
from motive.testing import Entry, FormatContract, place_videos

OPEN_SORA = ("path", "text", "num_frames", "height", "width", "aspect_ratio", "resolution", "fps")


def open_sora_row(path: str, text: str | None) -> dict[str, Any]:
    return dict(zip(OPEN_SORA, (path, text, 120, 720, 1280, 0.5625, 921600, 24.0), strict=True))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def reasons(dataset: Dataset) -> dict[str, str]:
    return {failure.clip_id: failure.reason for failure in dataset.failures}


def unread_of(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.why for item in dataset.unread}


class TestOpenSora(FormatContract):
    format = "opensora"
    table = "meta_clips_info_fmin1_aes.csv"

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        write_table(folder / self.table, [open_sora_row(entry.path, entry.caption) for entry in entries])
        return folder


class TestOpenSoraParquet(TestOpenSora):
    table = "meta.parquet"


def uuid_of(number: int) -> str:
    return str(uuid.UUID(int=number))


def meta(number: int, caption: str | None, cosmos: bool, **more: Any) -> dict[str, Any]:
    """Metadata of a clip with one caption window, as ClipWriterStage writes it."""
    window: dict[str, Any] = {"start_frame": 0, "end_frame": 256}
    if caption is not None:
        window["qwen_caption"] = caption
    return {
        "span_uuid": uuid_of(number),
        "source_video": "/raw/videos/long.mp4",
        "duration_span": [0.0, 10.0],
        "width_source": 1280,
        "height_source": 720,
        "framerate_source": 24.0,
        "clip_location": f"/out/clips/{uuid_of(number)}.mp4",
        "width": 1280,
        "motion_score": {"global_mean": 0.0125, "per_patch_min_256": 1e-6},
        "aesthetic_score": 4.5,
        "windows": [window],
        **({"filtered_windows": [], "has_caption": caption is not None} if cosmos else {}),
        "valid": True,
        **more,
    }


class TestCosmosCurate(FormatContract):
    format = "cosmos_curate"
    has_paths = False
    cosmos = True

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        (folder / "clips").mkdir(exist_ok=True)
        self.write_metas(folder, [meta(at, entry.caption, self.cosmos) for at, entry in enumerate(entries)])
        for number, entry in enumerate(entries):
            (folder / f"clips/{uuid_of(number)}.mp4").write_bytes(entry.data or b"")
        return folder

    def write_metas(self, folder: Path, metas: Sequence[dict[str, Any]]) -> None:
        (folder / "metas/v0").mkdir(parents=True, exist_ok=True)
        for values in metas:
            (folder / f"metas/v0/{values['span_uuid']}.json").write_text(json.dumps(values, indent=4))


class TestNemoCurator(TestCosmosCurate):
    format = "nemo_curator"
    cosmos = False


class TestCosmosChunks(TestCosmosCurate):
    """The same metadata in files of many lines, which Cosmos-Curate writes for each chunk of a video."""

    def write_metas(self, folder: Path, metas: Sequence[dict[str, Any]]) -> None:
        (folder / "metas_jsonl/v0").mkdir(parents=True, exist_ok=True)
        write_table(folder / "metas_jsonl/v0/9f_0.jsonl", metas)


class TestDataJuicer(FormatContract):
    format = "data_juicer"
    table = "demo-processed.jsonl"

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        rows = [
            {
                "videos": [entry.path],
                "text": None if entry.caption is None else f"<__dj__video> {entry.caption} <|__dj__eoc|>",
                "__dj__stats__": {"video_motion_score": [1.5]},
            }
            for entry in entries
        ]
        write_table(folder / self.table, rows)
        return folder


class TestDataJuicerParquet(TestDataJuicer):
    table = "demo-processed.parquet"


def test_several_stages_of_open_sora_are_told_apart_by_path(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    write_table(tmp_path / "meta.csv", [open_sora_row("a.mp4", "first")])
    write_table(tmp_path / "meta_aes.csv", [{**open_sora_row("a.mp4", "second"), "aes": 5.25, "flow": 3.0}])
    with pytest.raises(DatasetError, match=r"several tables of clips: meta\.csv and meta_aes\.csv"):
        read_dataset(tmp_path)
    (clip,) = read_dataset(tmp_path / "meta_aes.csv").clips
    assert (clip.caption, clip.columns["aes"], clip.columns["resolution"]) == ("second", "5.25", "921600")


def test_tables_that_are_not_open_soras_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "notes.csv").write_text("path,owner\na.mp4,me\n")
    (tmp_path / "broken.csv").write_text('path,"text\n')
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    found = read_dataset(tmp_path)
    assert found.format == "folder"
    assert set(unread_of(found)) == {"broken.csv", "broken.parquet", "notes.csv"}


def test_a_folder_with_a_table_for_each_video_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recognising a folder costs the same for a million JSON files beside videos as for a hundred."""
    for number in range(100):
        (tmp_path / f"{number}.mp4").write_bytes(b"x")
        (tmp_path / f"{number}.json").write_text('{"caption": "x"}')
    opened: list[str] = []
    real = json_list.items
    monkeypatch.setattr(json_list, "items", lambda path: opened.append(path.name) or real(path))
    assert read_dataset(tmp_path).format == "folder"
    assert len(opened) < 10


def test_what_a_curator_leaves_beside_its_clips(tmp_path: Path) -> None:
    metas = [
        meta(1, "first", True),
        meta(2, "kept out", True, clip_location=f"s3://bucket/out/filtered_clips/{uuid_of(2)}.mp4"),
        meta(3, None, True, windows=[]),
        meta(4, "lost", True),
        meta(5, "bad", True, windows="none"),
    ]
    window = {"start_frame": 256, "end_frame": 512, "qwen_caption": "later"}
    metas[0]["windows"].append(window)
    metas[0]["windows"][0] |= {"qwen_lm_enhanced_caption": "embellished", "qwen_prompt_tokens": 9}
    TestCosmosCurate().write_metas(tmp_path, metas)
    (tmp_path / "metas/v0/broken.json").write_text("{")
    (tmp_path / "clips").mkdir()
    for number in (1, 3, 5, 9):
        (tmp_path / f"clips/{uuid_of(number)}.mp4").write_bytes(b"x")
    found = read_dataset(tmp_path)
    assert [(clip.clip_id, clip.caption) for clip in found.clips] == [(uuid_of(1), "first"), (uuid_of(3), "")]
    assert found.clips[0].columns["motion_score"] == '{"global_mean": 0.0125, "per_patch_min_256": 1e-06}'
    assert reasons(found) == {uuid_of(4): "missing_file", uuid_of(5): "bad_row", "broken": "bad_row"}
    assert unread_of(found) == {
        "1 videos in clips/": f"they have no metadata, {uuid_of(9)}.mp4 for one",
        "1 clips in filtered_clips/": "the curator filtered them out",
        "the later windows of 1 clips": "a clip has one caption, that of its first window",
    }
    write_subset(found, [SubsetRow(found.clips[0], {"influence": 0.5})], tmp_path / "../sel", files="link")
    written = json.loads((tmp_path / f"../sel/metas/v0/{uuid_of(1)}.json").read_text())
    assert written == {**metas[0], "motive_scores": {"influence": 0.5}}


def curated(folder: Path, cosmos: bool, chunks: bool) -> Path:
    """Three clips of a curator."""
    (folder / "clips").mkdir(parents=True)
    for number in range(3):
        (folder / f"clips/{uuid_of(number)}.mp4").write_bytes(b"x")
    writer = TestCosmosChunks() if chunks else TestCosmosCurate()
    writer.write_metas(folder, [meta(number, f"c{number}", cosmos) for number in range(3)])
    return folder


@pytest.mark.parametrize("first", ["{", "", '{"x": 1}', "[]", "\x00"])
@pytest.mark.parametrize("cosmos", [True, False])
@pytest.mark.parametrize("chunks", [True, False])
def test_one_bad_file_of_metadata_decides_nothing(tmp_path: Path, first: str, cosmos: bool, chunks: bool) -> None:
    curated(tmp_path, cosmos, chunks)
    (tmp_path / ("metas_jsonl/v0/00.jsonl" if chunks else "metas/v0/00.json")).write_text(first)
    found = read_dataset(tmp_path)
    assert found.format == ("cosmos_curate" if cosmos else "nemo_curator")
    assert [clip.caption for clip in found.clips] == ["c0", "c1", "c2"]
    assert len(found.failures) == (0 if chunks and not first else 1), "the bad file is named, an empty one has no rows"


def test_metadata_of_no_curator_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "metas/v0").mkdir(parents=True)
    (tmp_path / "clips/a.mp4").write_bytes(b"x")
    assert [clip.clip_id for clip in read_dataset(tmp_path).clips] == ["clips/a.mp4"], "an empty folder has no captions"
    for number in range(21):
        (tmp_path / f"metas/v0/{number:02}.json").write_text("{" if number else '{"caption": "x"}')
    with pytest.raises(
        DatasetError, match=r"the first 20 of its 21 files have no span_uuid \(00\.json for one\).*folder"
    ):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path, "folder").clips


def test_an_empty_folder_of_metadata_does_not_hide_the_chunks(tmp_path: Path) -> None:
    curated(tmp_path, cosmos=True, chunks=True)
    (tmp_path / "metas/v0").mkdir(parents=True)
    assert [clip.caption for clip in read_dataset(tmp_path).clips] == ["c0", "c1", "c2"]


def test_clips_under_another_root(tmp_path: Path) -> None:
    TestNemoCurator().write_metas(tmp_path / "set", [meta(1, "x", False)])
    (tmp_path / "set/clips").mkdir()
    (tmp_path / "disk/clips").mkdir(parents=True)
    (tmp_path / f"disk/clips/{uuid_of(1)}.mp4").write_bytes(b"x")
    found = read_dataset(tmp_path / "set", root=tmp_path / "disk")
    assert [clip.path.parent for clip in found.clips] == [tmp_path / "disk/clips"]
    write_subset(found, [SubsetRow(found.clips[0], {"s": 1})], tmp_path / "out", files="copy")
    assert [clip.caption for clip in read_dataset(tmp_path / "out", "nemo_curator").clips] == ["x"]


def test_metadata_cannot_name_a_file_outside(tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    folder = tmp_path / "set"
    (folder / "clips").mkdir(parents=True)
    (folder / "metas_jsonl/v0").mkdir(parents=True)
    rows = [{**meta(1, "x", True), "span_uuid": "../../secret"}, {**meta(1, "x", True), "span_uuid": None}]
    write_table(folder / "metas_jsonl/v0/a_0.jsonl", rows)
    found = read_dataset(folder, "cosmos_curate")
    assert not found.clips
    assert reasons(found) == {"../../secret": "path_escapes_root", "metas_jsonl/v0/a_0.jsonl:2": "bad_row"}


def test_samples_of_data_juicer(tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    rows: list[dict[str, Any]] = [
        {"videos": ["a.mp4"], "text": "<__dj__video> a cartoon", "meta": {"src": "x"}},
        {
            "videos": ["b.mp4", "c.mp4"],
            "text": "<__dj__video> first <|__dj__eoc|> second <__dj__video><|__dj__eoc|> no video here",
            "__dj__stats__": {"video_motion_score": [1.0, 2.0], "lang": "en"},
        },
        {"videos": ["d.mp4", "e.mp4"], "text": "<__dj__video> only one token"},
        {"videos": [], "text": "none"},
        {"videos": "f.mp4", "text": "no list"},
        {"videos": ["f.mp4"], "text": "<__dj__video> title <|__dj__eoc|> more words <|__dj__eoc|>"},
    ]
    table = write_table(tmp_path / "set.jsonl", rows)
    write_table(tmp_path / "set_stats.jsonl", [{"__dj__stats__": {}}])
    found = read_dataset(tmp_path)
    assert found.format == "data_juicer"
    captions = {clip.clip_id: clip.caption for clip in found.clips}
    assert captions == {"a.mp4": "a cartoon", "b.mp4": "first", "c.mp4": "second", "f.mp4": "title more words"}
    assert found.clips[0].columns["meta"] == '{"src": "x"}'
    assert [failure.reason for failure in found.failures] == ["bad_row"] * 4
    assert "2 videos and 1 <__dj__video> tokens" in found.failures[0].detail
    assert unread_of(found)["set_stats.jsonl"].startswith("statistics beside the samples are not read")
    chosen = [found.clips[2], found.clips[0]]
    write_subset(found, [SubsetRow(clip, {"influence": 1}) for clip in chosen], tmp_path / "../dj", files="copy")
    written = [json.loads(line) for line in (tmp_path / "../dj" / table.name).read_text().splitlines()]
    assert written == [
        {
            "videos": ["c.mp4"],
            "text": "<__dj__video> second",
            "__dj__stats__": {"video_motion_score": [2.0], "lang": "en"},
            "influence": 1,
        },
        {**rows[0], "influence": 1},
    ]
    write_subset(found, [SubsetRow(chosen[0], {"influence": 1})], tmp_path / "../dj2", files="none")
    (row,) = [json.loads(line) for line in (tmp_path / "../dj2" / table.name).read_text().splitlines()]
    assert (row["videos"], row["text"], row["influence"]) == (["c.mp4"], "<__dj__video> second", 1)
