"""A selection is a dataset again: same format, same ids and captions, scores as columns."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motive.data import Dataset, SubsetRow, read_dataset, spreadsheet_safe, write_subset
from motive.errors import DatasetError, OptionError

CAPTIONS = {"x/a.mp4": "=SUM(A1)", "y/a.mp4": 'a "quoted",\ncaption \u732b', "y/b.mkv": "-3.5", "c.mp4": ""}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Video files, two of them of one name in different folders."""
    folder = tmp_path / "set"
    for number, name in enumerate(CAPTIONS):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video" + bytes([number]))
    return folder


def table(root: Path, kind: str) -> Path:
    """A table of the four clips, in one of the kinds that are read."""
    rows: list[dict[str, Any]] = [
        {"caption": caption, "path": name, "n": index, "tags": ["t", str(index)]}
        for index, (name, caption) in enumerate(CAPTIONS.items())
    ]
    if kind == "folder":
        for row in rows:
            if row["caption"]:
                (root / row["path"]).with_suffix(".txt").write_text(row["caption"], encoding="utf-8")
        return root
    file, path_key, caption_key = {
        "videofolder.csv": ("metadata.csv", "file_name", "text"),
        "videofolder.jsonl": ("metadata.jsonl", "file_name", "text"),
        "videofolder.parquet": ("metadata.parquet", "file_name", "text"),
        "named.csv": ("train.csv", "file_name", "caption"),
        "diffsynth.csv": ("metadata.csv", "video", "prompt"),
        "diffsynth.json": ("metadata.json", "video", "prompt"),
        "jsonl": ("clips.jsonl", "path", "caption"),
    }[kind]
    rows = [
        {"own": f"id{row['n']}", path_key: row["path"], caption_key: row["caption"], "n": row["n"], "tags": row["tags"]}
        for row in rows
    ]
    if file.endswith(".csv"):
        with open(root / file, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif file.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), root / file)
    elif file.endswith(".jsonl"):
        (root / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        (root / file).write_text(json.dumps(rows))
    return root / file


KINDS = [
    "folder",
    "videofolder.csv",
    "videofolder.jsonl",
    "videofolder.parquet",
    "named.csv",
    "diffsynth.csv",
    "diffsynth.json",
    "jsonl",
]


def chosen(dataset: Dataset, *ids: str) -> list[SubsetRow]:
    clips = {clip.clip_id: clip for clip in dataset.clips}
    return [SubsetRow(clips[i], {"motive_rank": n, "motive_mean_score": 0.5 - n}) for n, i in enumerate(ids, 1)]


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def own_table(kind: str, out: Path) -> Path:
    return {
        "folder": out,
        "videofolder.csv": out / "metadata.csv",
        "videofolder.jsonl": out / "metadata.jsonl",
        "videofolder.parquet": out / "metadata.parquet",
        "named.csv": out / "train.csv",
        "diffsynth.csv": out / "metadata.csv",
        "diffsynth.json": out / "clips.json",
        "jsonl": out / "clips.jsonl",
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(root: Path, tmp_path: Path, kind: str) -> None:
    dataset = read_dataset(table(root, kind))
    rows = chosen(dataset, "y/a.mp4", "x/a.mp4", "y/b.mkv")
    out = tmp_path / "out"
    write_subset(dataset, rows, out, files="link")
    again = read_dataset(own_table(kind, out), format=dataset.format)
    assert not again.failures
    before = {row.clip.clip_id: row.clip for row in rows}
    assert [clip.clip_id for clip in again.clips] == sorted(before)
    for clip in again.clips:
        old = before[clip.clip_id]
        assert clip.caption == old.caption, f"{kind} changes the caption of {clip.clip_id}"
        assert clip.path.read_bytes() == old.path.read_bytes()
        kept = {name: value for name, value in clip.columns.items() if name in old.columns}
        assert kept == dict(old.columns), f"{kind} changes columns"
    if kind != "folder":
        scores = {
            clip.clip_id: (clip.columns["motive_rank"], clip.columns["motive_mean_score"]) for clip in again.clips
        }
        assert scores == {"y/a.mp4": ("1", "-0.5"), "x/a.mp4": ("2", "-1.5"), "y/b.mkv": ("3", "-2.5")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_csv_of_the_clips_is_always_there(root: Path, tmp_path: Path, kind: str) -> None:
    dataset = read_dataset(table(root, kind))
    out = tmp_path / "out"
    write_subset(dataset, chosen(dataset, "y/b.mkv", "x/a.mp4", "c.mp4"), out, files="copy")
    kept = {"videofolder.jsonl": "metadata.jsonl", "videofolder.parquet": "metadata.parquet"}.get(kind)
    rows = read_csv(out / ("clips.csv" if kept else "metadata.csv"))
    assert [row["file_name"] for row in rows] == ["y/b.mkv", "x/a.mp4", "c.mp4"], "in the order of the rows"
    assert [row["clip_id"] for row in rows] == ["y/b.mkv", "x/a.mp4", "c.mp4"]
    assert [row["motive_rank"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["caption"] == "-3.5"
    # A caption that is a formula runs only where the input was a CSV already.
    assert rows[1]["caption"] == ("=SUM(A1)" if own_table(kind, out).name == "metadata.csv" else "'=SUM(A1)")
    videofolder = read_dataset(out, format="videofolder")
    assert [clip.clip_id for clip in videofolder.clips] == ["c.mp4", "x/a.mp4", "y/b.mkv"]
    metadata = sorted(path.name for path in out.glob("metadata.*"))
    assert metadata == [kept or "metadata.csv"], "the hub's loader refuses two kinds of metadata"


def test_types_survive(root: Path, tmp_path: Path) -> None:
    dataset = read_dataset(table(root, "jsonl"))
    write_subset(dataset, chosen(dataset, "y/a.mp4"), tmp_path / "json", files="link")
    row = json.loads((tmp_path / "json/clips.jsonl").read_text())
    assert (row["n"], row["tags"], row["motive_rank"], row["motive_mean_score"]) == (1, ["t", "1"], 1, -0.5)
    (root / "clips.jsonl").unlink()
    schema = pa.schema(
        [("file_name", pa.large_string()), ("text", pa.string()), ("n", pa.int16()), ("v", pa.list_(pa.float32()))]
    )
    rows = [{"file_name": name, "text": text, "n": 3, "v": [0.1, 2.0]} for name, text in CAPTIONS.items()]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), root / "metadata.parquet")
    dataset = read_dataset(root)
    write_subset(dataset, chosen(dataset, "y/a.mp4", "c.mp4"), tmp_path / "parquet", files="link")
    written = pq.read_table(tmp_path / "parquet/metadata.parquet")
    assert [written.schema.field(name).type for name in schema.names] == schema.types
    assert written.column("motive_rank").to_pylist() == [1, 2]
    assert written.column("v").to_pylist() == [[pytest.approx(0.1), 2.0]] * 2


def test_own_ids_stay(root: Path, tmp_path: Path) -> None:
    (root / "clips.jsonl").write_text('{"id": 7, "path": "c.mp4"}\n{"id": 8, "video": "x/a.mp4"}\n')
    dataset = read_dataset(root / "clips.jsonl")
    write_subset(dataset, chosen(dataset, "8", "7"), tmp_path / "out", files="link")
    for path in (tmp_path / "out/clips.jsonl", tmp_path / "out/metadata.csv"):
        assert [clip.clip_id for clip in read_dataset(path).clips] == ["7", "8"]


def test_two_clips_of_one_file(root: Path, tmp_path: Path) -> None:
    (root / "clips.jsonl").write_text('{"id": "p", "path": "c.mp4"}\n{"id": "q", "path": "./c.mp4"}\n')
    dataset = read_dataset(root / "clips.jsonl")
    write_subset(dataset, chosen(dataset, "q", "p"), tmp_path / "out", files="copy")
    assert [row["clip_id"] for row in read_csv(tmp_path / "out/metadata.csv")] == ["q", "p"]


def test_a_subset_of_a_subset(root: Path, tmp_path: Path) -> None:
    """Scores of the second round take the place of the first round's."""
    dataset = read_dataset(table(root, "diffsynth.csv"))
    write_subset(dataset, chosen(dataset, "y/a.mp4", "x/a.mp4"), tmp_path / "one", files="link")
    first = read_dataset(tmp_path / "one")
    assert first.format == "diffsynth"
    write_subset(first, chosen(first, "x/a.mp4"), tmp_path / "two", files="link")
    (row,) = read_csv(tmp_path / "two/metadata.csv")
    assert (row["clip_id"], row["motive_rank"]) == ("x/a.mp4", "1")
    assert list(row).count("motive_rank") == 1


def test_links_and_copies(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = read_dataset(table(root, "folder"))
    rows = chosen(dataset, "x/a.mp4")
    write_subset(dataset, rows, tmp_path / "link", files="link")
    assert os.path.samefile(tmp_path / "link/x/a.mp4", root / "x/a.mp4")
    assert not (tmp_path / "link/x/a.mp4").is_symlink(), "a hard link, so that the subset is read like any folder"
    write_subset(dataset, rows, tmp_path / "copy", files="copy")
    assert not os.path.samefile(tmp_path / "copy/x/a.mp4", root / "x/a.mp4")

    def another_file_system(*_: object) -> None:
        raise OSError(errno.EXDEV, "cross-device link")

    monkeypatch.setattr(os, "link", another_file_system)
    write_subset(dataset, rows, tmp_path / "soft", files="link")
    assert (tmp_path / "soft/x/a.mp4").resolve() == (root / "x/a.mp4").resolve()
    assert not read_dataset(tmp_path / "soft").clips
    assert len(read_dataset(tmp_path / "soft", follow_links=True).clips) == 1

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(DatasetError, match="no space left"):
        write_subset(dataset, rows, tmp_path / "full", files="link")
    assert not (tmp_path / "full/metadata.csv").exists(), "without it the subset does not pass for whole"


def test_hub_cache_layout(root: Path, tmp_path: Path) -> None:
    """Clips that are links to blobs elsewhere keep their names."""
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (root / "c.mp4").rename(blobs / "0f3a")
    (root / "c.mp4").symlink_to(blobs / "0f3a")
    dataset = read_dataset(table(root, "videofolder.csv"), follow_links=True)
    write_subset(dataset, chosen(dataset, "c.mp4"), tmp_path / "out", files="link")
    assert os.path.samefile(tmp_path / "out/c.mp4", blobs / "0f3a")
    assert len(read_dataset(tmp_path / "out").clips) == 1


def test_nothing_is_overwritten(root: Path, tmp_path: Path) -> None:
    dataset = read_dataset(table(root, "jsonl"))
    rows = chosen(dataset, "x/a.mp4")
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text("{}")
    write_subset(dataset, rows, out, files="link")
    with pytest.raises(OptionError, match=r"metadata\.csv"):
        write_subset(dataset, rows, out, files="link")
    (out / "metadata.csv").unlink()
    with pytest.raises(OptionError, match=r"clips\.jsonl"):
        write_subset(dataset, rows, out, files="link")
    with pytest.raises(OptionError, match="outside"):
        write_subset(dataset, rows, root, files="link")
    bare = read_dataset(root, format="folder")
    with pytest.raises(OptionError, match="outside"):
        write_subset(bare, chosen(bare, "c.mp4"), root / "selected", files="link")


def test_rows_that_do_not_fit(root: Path, tmp_path: Path) -> None:
    source = table(root, "jsonl")
    dataset = read_dataset(source)
    one = chosen(dataset, "x/a.mp4")
    out = tmp_path / "out"
    with pytest.raises(OptionError, match="at least one"):
        write_subset(dataset, [], out, files="link")
    with pytest.raises(OptionError, match="once"):
        write_subset(dataset, one * 2, out, files="link")
    with pytest.raises(OptionError, match="hardlink"):
        write_subset(dataset, one, out, files="hardlink")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="same score columns"):
        write_subset(dataset, [*one, SubsetRow(dataset.clips[0], {})], out, files="link")
    with pytest.raises(OptionError, match="prompt"):
        write_subset(dataset, [SubsetRow(one[0].clip, {"prompt": 1.0})], out, files="link")
    with pytest.raises(OptionError, match="clips of the dataset"):
        write_subset(read_dataset(root / "y"), one, out, files="link")
    source.write_text('{"path": "c.mp4"}\n')
    with pytest.raises(DatasetError, match="x/a"):
        write_subset(dataset, one, out, files="link")
    assert not (out / "metadata.csv").exists()


def test_scores_that_are_not_finite(root: Path, tmp_path: Path) -> None:
    dataset = read_dataset(table(root, "jsonl"))
    rows = [
        SubsetRow(clip, {"score": value}) for clip, value in zip(dataset.clips, (float("nan"), 1e-300), strict=False)
    ]
    write_subset(dataset, rows, tmp_path / "out", files="link")
    assert [row["score"] for row in read_csv(tmp_path / "out/metadata.csv")] == ["", "1e-300"]
    lines = (tmp_path / "out/clips.jsonl").read_text().splitlines()
    assert [json.loads(line)["score"] for line in lines] == [None, 1e-300]


def test_file_names_that_look_like_formulas(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (root / "=cmd|' calc'!A0.mp4").write_bytes(b"x")
    dataset = read_dataset(root)
    write_subset(dataset, chosen(dataset, dataset.clips[0].clip_id), tmp_path / "out", files="link")
    (row,) = read_csv(tmp_path / "out/metadata.csv")
    assert row["file_name"].startswith("./=")
    assert [clip.path.name for clip in read_dataset(tmp_path / "out").clips] == ["=cmd|' calc'!A0.mp4"]


@pytest.mark.parametrize("text", ["=1+1", "+1+cmd", "-a", "@SUM(1)", "\t=1", "\r=1", "\uff1d1"])
def test_formulas_are_disarmed(text: str) -> None:
    assert spreadsheet_safe(text) == "'" + text


@pytest.mark.parametrize("text", ["", "a cat", "-3.5", "+2e9", "1=1", "'=x"])
def test_plain_text_is_left_alone(text: str) -> None:
    assert spreadsheet_safe(text) == text


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_the_row_that_was_read_is_the_row_that_is_written(tmp_path: Path, suffix: str) -> None:
    """Rows before it that could not be used have its id, and so has a later one."""
    (tmp_path / "a.mp4").write_bytes(b"x")
    captions: list[object] = [["a list"], "half a pair \ud800", "a NUL \0", "good", "later"]
    rows = [{"video": "a.mp4", "prompt": text, "n": number} for number, text in enumerate(captions)]
    rows[3]["video"] = "./a.mp4"
    lines = [json.dumps(row) for row in rows]
    text = "".join(line + "\n" for line in lines) if suffix == "jsonl" else f"[{', '.join(lines)}]"
    (tmp_path / f"metadata.{suffix}").write_text(text)
    dataset = read_dataset(tmp_path)
    assert [(clip.caption, clip.columns["n"]) for clip in dataset.clips] == [("good", "3")]
    assert [failure.reason for failure in dataset.failures] == ["bad_row", "bad_text", "bad_text", "duplicate_id"]
    write_subset(dataset, [SubsetRow(dataset.clips[0], {"score": 1.0})], tmp_path / "out", files="none")
    written = json.loads((tmp_path / "out" / {"jsonl": "selection.jsonl", "json": "clips.json"}[suffix]).read_text())
    assert written in ({**rows[3], "score": 1.0}, [{**rows[3], "score": 1.0}])
