"""Clips outside the table's folder, under two roots: index, query, replay, select and report find them again."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import motive
from motive.cli.main import main
from motive.toy.pool import write_pool

FAST = ("--noise-strategy", "single", "--quiet", "--threads", "1")


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips in two places, and in ``set`` a table with the paths that another machine had."""
    folder = tmp_path_factory.mktemp("far")
    pool = write_pool(folder / "pool", clips_per_motion=1, seed=3, motions=("bounce", "slide", "spin", "static"))
    with (pool / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = []
    for place, row in zip(("one/clips", "two/clips", "two/clips", "one/clips"), rows, strict=True):
        (folder / place).mkdir(parents=True, exist_ok=True)
        shutil.move(pool / row["file_name"], folder / place / row["file_name"])
        moving = row["motion"] != "static"
        old = f"D:\\data\\{row['file_name']}" if place.startswith("two") else str(folder / place / row["file_name"])
        lines.append(
            json.dumps({"video": old, "prompt": "moves" if moving else None, "id": None, "motion": row["motion"]})
        )
    (folder / "set").mkdir()
    (folder / "set/metadata.jsonl").write_text("".join(line.replace(', "id": null', "") + "\n" for line in lines))
    (folder / "set/notes.csv").write_text("clip,who\n")
    return folder


def places(far: Path) -> list[str]:
    return ["--root", str(far / "one/clips"), "--path-map", f"D:\\data={far / 'two/clips'}"]


@pytest.fixture(scope="module")
def store(far: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "store"
    assert main(["index", str(far / "set"), "--out", str(out), *places(far), *FAST]) == 3, "one clip is static"
    return out


def test_ids_and_paths(far: Path, store: Path) -> None:
    made = motive.Store.open(store)
    assert len(made.clip_ids) == 3
    assert {clip_id.rpartition("/")[0] for clip_id in made.clip_ids} == {"one/clips", "two/clips"}
    for clip_id, path in zip(made.clip_ids, made.columns(["path"])["path"].to_pylist(), strict=True):
        assert path == str(far / clip_id)


def test_the_summary_tells_what_was_lost(far: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", str(far / "set"), "--out", str(store), *places(far), *FAST]) == 3
    used = "frames 0-32 of 34 at 24 fps, 1.38 s, resampled to 12 fps; 128x128 px; stream 0"
    assert capsys.readouterr().out.splitlines() == [
        f"{store}: 0 clips stored, 3 were there, 1 left out",
        f"left out: 1 of 4 clips (25.0%); {store}/failed.parquet has each reason",
        f"  static 1: nothing moves in this clip, so it has no motion gradient ({used})",
        f"dataset: diffsynth from {far / 'set' / 'metadata.jsonl'}",
        "no caption: 1 of 4 clips",
        "not read: notes.csv: no format has its columns (clip, who)",
    ]
    summary = json.loads((store / "summary.json").read_text())
    assert (summary["failures"], summary["lost_share"], summary["rows"]) == ({"static": 1}, 0.25, 4)
    assert (summary["without_caption"], [item["name"] for item in summary["unread"]]) == (1, ["notes.csv"])


def test_other_roots_are_another_dataset(far: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--root", str(far / "two/clips"), *places(far)]
    assert main(["index", str(far / "set"), "--out", str(store), *more, *FAST]) == 2
    assert "give another --out" in capsys.readouterr().err


def test_the_rest_of_the_job_finds_the_files(
    far: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(far)  # a relative root in run.json must not depend on where a replay starts
    queries, scores = tmp_path / "queries", str(tmp_path / "scores.parquet")
    (tmp_path / "q").mkdir()
    table = tmp_path / "q/queries.jsonl"
    table.write_text("".join(json.dumps({"path": str(path)}) + "\n" for path in sorted((far / "two/clips").iterdir())))
    command = ["query", str(table), "--like", str(store), "--out", str(queries), "--quiet"]
    assert main([*command, "--root", "two/clips"]) in (0, 3)
    assert len(motive.Store.open(queries).clip_ids) >= 1
    assert main(["score", str(store), str(queries), "--out", scores]) == 0
    assert main(["select", scores, "--top", "3", "--out", str(tmp_path / "selected")]) == 0
    written = {path.relative_to(tmp_path / "selected").as_posix() for path in (tmp_path / "selected").rglob("*.mp4")}
    assert written == set(motive.Store.open(store).clip_ids)
    lines = (tmp_path / "selected/selection.jsonl").read_text().splitlines()
    assert {json.loads(line)["video"] for line in lines} == written
    assert main(["report", scores, "--selection", str(tmp_path / "selected"), "--out", str(tmp_path / "report")]) == 0
    assert "cannot be shown" not in (tmp_path / "report/index.html").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    for record, original in ((store / "run.json", store), (queries / "run.json", queries)):
        again = tmp_path / f"again-{original.name}"
        assert main(["replay", str(record), "--out", str(again), "--quiet"]) in (0, 3)
        first, second = motive.Store.open(original), motive.Store.open(again)
        assert second.clip_ids == first.clip_ids
        np.testing.assert_array_equal(first.vectors(), second.vectors())


def test_flags_are_said_in_the_failures(far: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", str(far / "set"), "--out", str(tmp_path / "s"), *FAST]) == 3
    printed = capsys.readouterr().out
    assert "left out: 4 of 4 clips (100.0%)" in printed
    assert "--root" in printed
    assert "--path-map" in printed


def test_estimate_says_why_nothing_can_be_measured(
    far: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first contact of everyone whose clips are shorter than the model's."""
    wanted = ["--clip-frames", "81", "--clip-fps", "16", "--clip-short", "error"]
    assert main(["index", str(far / "set"), "--estimate", *places(far), *wanted, *FAST]) == 1
    printed = capsys.readouterr().err
    assert "0 of 4 tried" in printed
    assert "too_short 4 (" in printed
    assert "81 frames at 16 fps need 5 s" in printed
    frames = printed.partition("set --clip-frames ")[2].partition(" ")[0]
    assert (
        main(["index", str(far / "set"), "--estimate", *places(far), *wanted[2:], "--clip-frames", frames, *FAST]) == 0
    )
    printed = capsys.readouterr().out
    assert "static 1: nothing moves" in printed, "a clip that was left out is named although others were measured"
    assert main(["index", str(far / "set"), "--estimate", *FAST]) == 1
    printed = capsys.readouterr().err
    assert "path_escapes_root" in printed
    assert "--root FOLDER" in printed
