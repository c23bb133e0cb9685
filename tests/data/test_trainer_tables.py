"""finetrainers' lists, FastVideo's JSON and DiffSynth's metadata, in the layouts of their documentation."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motive.data import Dataset, SubsetRow, read_dataset, write_subset
from motive.errors import DatasetError
from motive.testing import Entry, FormatContract, place_videos


def files(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def captions(dataset: Dataset) -> dict[str, str]:
    return {clip.clip_id: clip.caption for clip in dataset.clips}


def unread(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.why for item in dataset.unread}


def select_all(dataset: Dataset, out: Path) -> Path:
    write_subset(dataset, [SubsetRow(clip, {"score": 1.0}) for clip in dataset.clips], out, files="copy")
    return out


class TestFileLists(FormatContract):
    format = "finetrainers"
    subset_table = "clips.csv"
    multiline = False

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        (folder / "videos.txt").write_text("".join(f"{entry.path}\n" for entry in entries), encoding="utf-8")
        (folder / "prompts.txt").write_text("".join(f"{entry.caption or ''}\n" for entry in entries), encoding="utf-8")
        return folder


class TestFastVideo(FormatContract):
    format = "fastvideo"

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder / "videos", entries)
        paths = [entry.path if entry.data is not None else entry.path.replace("../", "../../", 1) for entry in entries]
        rows = [{"path": path, "cap": entry.caption} for path, entry in zip(paths, entries, strict=True)]
        (folder / "videos2caption.json").write_text(json.dumps(rows), encoding="utf-8")
        return folder


# finetrainers, diffusers and FastVideo's raw data: two text files.


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    return files(tmp_path / "set", "videos/00000.mp4", "videos/00001.mp4", "videos/00002.mp4")


def write_lists(root: Path, videos: str, texts: str, names: tuple[str, str] = ("videos.txt", "prompt.txt")) -> Path:
    (root / names[0]).write_bytes(videos.encode())
    (root / names[1]).write_bytes(texts.encode())
    return root


PATHS = "videos/00000.mp4\nvideos/00001.mp4\nvideos/00002.mp4\n"


@pytest.mark.parametrize(
    ("videos", "texts"),
    [
        (PATHS, "one\ntwo\nthree\n"),
        (PATHS.rstrip(), "one\r\ntwo\r\nthree"),
        ("\ufeff" + PATHS, "\ufeffone\rtwo\rthree\r"),
        (PATHS.replace("\n", "\n\n"), "one\n\n\ntwo\nthree\n"),
        (PATHS + "\n", "\none\n two \nthree\n"),
    ],
)
def test_lines_belong_together(lists: Path, videos: str, texts: str) -> None:
    dataset = read_dataset(write_lists(lists, videos, texts))
    assert (dataset.format, dataset.source) == ("finetrainers", lists / "videos.txt")
    assert list(captions(dataset).values()) == ["one", "two", "three"]
    assert list(captions(dataset)) == PATHS.split()


def test_an_empty_line_is_a_missing_caption_where_the_lists_are_equally_long(lists: Path) -> None:
    dataset = read_dataset(write_lists(lists, PATHS, "one\n\nthree\n"))
    assert list(captions(dataset).values()) == ["one", "", "three"]
    assert dataset.without_caption == 1


@pytest.mark.parametrize("texts", ["one\ntwo\n", "one\ntwo\nthree\nfour\n", ""])
def test_lists_that_do_not_fit_are_refused(lists: Path, texts: str) -> None:
    with pytest.raises(
        DatasetError, match=r"videos\.txt and prompt\.txt in .* must have equally many lines, got 3 and"
    ):
        read_dataset(write_lists(lists, PATHS, texts))


@pytest.mark.parametrize(
    "names", [("video.txt", "caption.txt"), ("videos.txt", "captions.txt"), ("video.txt", "prompts.txt")]
)
def test_other_names_of_the_lists(lists: Path, tmp_path: Path, names: tuple[str, str]) -> None:
    write_lists(lists, PATHS, "one\ntwo\nthree\n", names)
    dataset = read_dataset(lists / names[1])
    assert list(captions(dataset).values()) == ["one", "two", "three"]
    out = select_all(dataset, tmp_path / "out")
    assert (out / names[0]).read_text() == PATHS
    assert (out / names[1]).read_text() == "one\ntwo\nthree\n"


def test_ambiguous_lists_are_refused(lists: Path) -> None:
    write_lists(lists, PATHS, "one\ntwo\nthree\n")
    (lists / "captions.txt").write_text("x\ny\nz\n")
    with pytest.raises(DatasetError, match=r"prompt\.txt and captions\.txt"):
        read_dataset(lists)
    (lists / "captions.txt").unlink()
    files(lists, "a.mp4", "a.txt")
    with pytest.raises(DatasetError, match=r"both videos\.txt and caption files beside videos \(a\.txt among them\)"):
        read_dataset(lists)
    assert len(read_dataset(lists, "finetrainers").clips) == 3
    assert len(read_dataset(lists, "folder").clips) == 4


def test_bad_lines_cost_their_clips_only(lists: Path) -> None:
    write_lists(lists, PATHS + "gone.mp4\n", "one\nt\0wo\nthree\nfour\n")
    with (lists / "prompt.txt").open("ab") as file:
        file.write(b"caf\xe9\n")
    with (lists / "videos.txt").open("ab") as file:
        file.write(b"videos/00001.mp4\n")
    dataset = read_dataset(lists)
    assert list(captions(dataset)) == ["videos/00000.mp4", "videos/00002.mp4"]
    reasons = [(failure.clip_id, failure.reason) for failure in dataset.failures]
    assert reasons == [("videos/00001.mp4", "bad_text"), ("gone.mp4", "missing_file"), ("videos/00001.mp4", "bad_text")]


def test_metadata_counts_before_the_lists_as_in_finetrainers(lists: Path) -> None:
    write_lists(lists, PATHS, "one\ntwo\nthree\n")
    (lists / "metadata.csv").write_text("file_name,caption\nvideos/00000.mp4,from the table\n")
    dataset = read_dataset(lists)
    assert (dataset.format, captions(dataset)) == ("videofolder", {"videos/00000.mp4": "from the table"})
    assert unread(dataset) == {"videos.txt": "pass --dataset-format finetrainers to read the dataset by it"}


# FastVideo.


@pytest.fixture
def fastvideo(tmp_path: Path) -> Path:
    """As scripts/dataset_preparation/prepare_json_file.py writes it, and as the documentation shows it."""
    root = files(tmp_path / "set", "videos/0.mp4", "videos/Airplane/1.mp4", "videos/2.mp4")
    shape = {"resolution": {"width": 1920, "height": 1080}, "size": 5, "fps": 23.98, "duration": 5.0, "num_frames": 120}
    rows = [
        {"path": "0.mp4", **shape, "cap": ["A cat playing with yarn", "A cat"]},
        {"path": "Airplane/1.mp4", "cap": "Ocean waves \u2603"},
        {"path": "2.mp4", "cap": []},
        {"path": "3.mp4", "cap": "gone"},
        {"path": "2.mp4", "cap": {"no": "text"}},
        {"cap": "no path"},
    ]
    (root / "videos2caption.json").write_text(json.dumps(rows))
    return root


def test_fastvideo(fastvideo: Path) -> None:
    dataset = read_dataset(fastvideo)
    assert dataset.format == "fastvideo"
    assert captions(dataset) == {
        "videos/0.mp4": "A cat playing with yarn",
        "videos/2.mp4": "",
        "videos/Airplane/1.mp4": "Ocean waves \u2603",
    }
    assert dataset.clips[0].columns["cap"] == '["A cat playing with yarn", "A cat"]'
    reasons = [(failure.clip_id, failure.reason) for failure in dataset.failures]
    assert reasons == [("3.mp4", "missing_file"), ("2.mp4", "bad_row"), ("videos2caption.json:6", "bad_row")]
    assert read_dataset(fastvideo / "videos2caption.json").clips == dataset.clips


def test_a_fastvideo_selection_keeps_every_field(fastvideo: Path, tmp_path: Path) -> None:
    out = select_all(read_dataset(fastvideo), tmp_path / "out")
    before = {row["path"]: row for row in json.loads((fastvideo / "videos2caption.json").read_text())[:3]}
    after = {row["path"]: row for row in json.loads((out / "videos2caption.json").read_text())}
    assert after == {path: {**row, "score": 1.0} for path, row in before.items()}
    assert list(after["0.mp4"])[:3] == ["path", "resolution", "size"], "fields keep their order"
    assert captions(read_dataset(out, "fastvideo")) == captions(read_dataset(fastvideo))


def test_fastvideo_under_several_roots(fastvideo: Path, tmp_path: Path) -> None:
    """A video outside the folder videos is named relative to it."""
    other = files(tmp_path / "other", "x.mp4")
    table = fastvideo / "videos2caption.json"
    table.write_text(json.dumps([{"path": "/old/x.mp4", "cap": "far"}, {"path": "0.mp4", "cap": "near"}]))
    dataset = read_dataset(fastvideo, root=[fastvideo], path_map=[f"/old={other}"])
    assert captions(dataset) == {"other/x.mp4": "far", "set/videos/0.mp4": "near"}
    out = select_all(dataset, tmp_path / "out")
    assert [row["path"] for row in json.loads((out / "videos2caption.json").read_text())] == [
        "../other/x.mp4",
        "../set/videos/0.mp4",
    ]
    assert captions(read_dataset(out, "fastvideo")) == captions(dataset)


def test_precomputed_latents_are_named(fastvideo: Path) -> None:
    (fastvideo / "combined_parquet_dataset").mkdir()
    latents = pa.table({"id": ["0"], "vae_latent_bytes": [b"\0"], "caption": ["x"]})
    pq.write_table(latents, fastvideo / "combined_parquet_dataset/data_chunk_0.parquet")
    found = unread(read_dataset(fastvideo))
    assert "latents that FastVideo precomputed" in found["combined_parquet_dataset/data_chunk_0.parquet"]
    files(fastvideo, "videos/0_0832x0480_wan.safetensors", "videos/0.regions.safetensors")
    found = unread(read_dataset(fastvideo, "folder"))
    assert "encoded again" in found["1 .safetensors files"], "the regions of a clip are no latents"


def test_configurations_in_a_folder_are_named(tmp_path: Path) -> None:
    root = files(tmp_path, "a.mp4")
    (root / "train.toml").write_text('[[datasets]]\nvideo_directory = "."\n')
    (root / "pyproject.toml").write_text("[tool.ruff]\n")
    (root / "broken.toml").write_text("[")
    (root / "other.yaml").write_text("a: 1\n")
    assert unread(read_dataset(root)) == {
        "train.toml": "it is the configuration of a trainer; give its path to read what it lists"
    }
    (root / "a.mp4").unlink()
    with pytest.raises(DatasetError, match=r"train\.toml \(it is the configuration of a trainer; give its path"):
        read_dataset(root)


def test_many_configurations_are_not_all_parsed(tmp_path: Path) -> None:
    root = files(tmp_path, "a.mp4")
    for number in range(25):
        (root / f"{number:02}.yaml").write_text("a: 1\n")
    assert unread(read_dataset(root)) == {"5 more .toml or .yaml files": "give the path of one that lists clips"}


# DiffSynth-Studio 2.1.2 (commit fed7b18): files under other keys, and lists of them, are values like any other.

DIFFSYNTH = [
    {
        "video": "a.mp4",
        "prompt": "moves",
        "control_video": "control/a.mp4",
        "vace_reference_image": ["ref/a.png", "ref/b.png"],
        "references": [{"type": "image", "image": "0.png"}, {"type": "video", "video": "ref.mp4"}],
        "frame_rate": 24,
    },
    {"video": "b.mp4", "prompt": "", "control_video": None, "references": [], "frame_rate": 16.0},
]


@pytest.mark.parametrize("name", ["metadata.json", "metadata.jsonl"])
def test_diffsynth_keeps_every_key(tmp_path: Path, name: str) -> None:
    root = files(tmp_path / "set", "a.mp4", "b.mp4")
    text = json.dumps(DIFFSYNTH) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in DIFFSYNTH)
    (root / name).write_text(text)
    dataset = read_dataset(root)
    assert (dataset.format, captions(dataset)) == ("diffsynth", {"a.mp4": "moves", "b.mp4": ""})
    assert dataset.clips[0].columns["references"] == json.dumps(DIFFSYNTH[0]["references"])
    out = select_all(dataset, tmp_path / "out")
    written = (out / {"metadata.json": "clips.json", "metadata.jsonl": "selection.jsonl"}[name]).read_text()
    rows = json.loads(written) if name.endswith(".json") else [json.loads(line) for line in written.splitlines()]
    assert rows == [{**row, "score": 1.0} for row in DIFFSYNTH]
    assert [list(row) for row in rows] == [[*row, "score"] for row in DIFFSYNTH], "keys keep their order"


def test_diffsynth_csv_keeps_every_column(tmp_path: Path) -> None:
    root = files(tmp_path / "set", "a.mp4")
    (root / "metadata.csv").write_text('prompt,control_video,video\n"moves, fast",control/a.mp4,a.mp4\n')
    out = select_all(read_dataset(root), tmp_path / "out")
    with (out / "metadata.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row)[:3] == ["prompt", "control_video", "video"]
    assert (row["prompt"], row["control_video"], row["video"]) == ("moves, fast", "control/a.mp4", "a.mp4")
