"""Parts of clips from the command line: index, score, select and report, and the parts of a score add up."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from safetensors.numpy import save_file

import motive
from motive.cli.main import main
from motive.store.ids import clip_of
from motive.toy.pool import write_pool

FAST = ("--noise-strategy", "single", "--quiet")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_pool(
        tmp_path_factory.mktemp("pool") / "clips", clips_per_motion=2, seed=5, motions=("bounce", "slide")
    )
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        names = sorted(row["file_name"] for row in csv.DictReader(file))
    left = np.zeros((40, 40), np.uint8)
    left[:, :20] = 1
    for name in names[:3]:
        save_file({"left": left}, (folder / name).with_suffix(".regions.safetensors"))
    return folder


@pytest.fixture(scope="module")
def job(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of three windows and of regions; whole clips are the queries; dot products of the windows and of them."""
    out = tmp_path_factory.mktemp("job")
    for name, segments, code in (("time", "time:3", 0), ("regions", "regions", 3)):
        index = ["index", str(pool), "--out", str(out / name), "--cache", str(out / "cache"), "--segments", segments]
        assert main([*index, *FAST]) == code
    assert main(["query", str(pool), "--like", str(out / "time"), "--out", str(out / "whole"), "--quiet"]) == 0
    for name in ("whole", "time"):
        scores = ["score", str(out / name), str(out / "whole"), "--similarity", "dot"]
        assert main([*scores, "--out", str(out / f"{name}.parquet")]) == 0
    return out


def test_a_clip_without_regions_is_listed_and_the_others_have_a_row_each(job: Path) -> None:
    store = motive.Store.open(job / "regions")
    assert [failure.reason for failure in store.failures()] == ["no_regions"]
    assert {row.rpartition("#")[2] for row in store.clip_ids} <= {"left", "rest"}
    assert len(store.done_ids()) == 3
    assert main(["verify", str(job / "regions")]) == 0


def test_estimate_and_probe_leave_out_a_clip_without_regions(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = ["index", str(pool), "--segments", "regions", *FAST]
    assert main([*index, "--estimate"]) == 0
    assert "time" in capsys.readouterr().out
    assert main([*index, "--out", str(tmp_path / "store"), "--probe", "4"]) == 3
    assert json.loads((tmp_path / "store" / "run.json").read_text())["probe"]["clips"] == 3


def test_regions_of_clips_in_shards_are_refused_before_anything_is_made(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    with tarfile.open(folder / "shard-000.tar", "w") as shard:
        for path in sorted(pool.glob("*.mp4")):
            shard.add(path, path.name)
    index = ["index", str(folder), "--segments", "regions", *FAST]
    for more in (["--estimate"], ["--out", str(tmp_path / "store")]):
        assert main([*index, *more]) == 2
        assert "unpack it" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_the_parts_of_a_score_add_up(job: Path) -> None:
    whole, parts = (parquet.read_table(job / f"{name}.parquet").to_pylist() for name in ("whole", "time"))
    queries = [name for name in whole[0] if name.startswith("query/")]
    assert len(queries) == 4
    for row in whole:
        mine = [part for part in parts if clip_of(part["clip_id"]) == row["clip_id"]]
        assert 1 <= len(mine) <= 3
        for query in queries:
            assert sum(part[query] for part in mine) == pytest.approx(row[query], abs=1e-5)


@pytest.mark.parametrize("how", ["best", "sum"])
def test_a_selection_holds_clips_and_says_which_part(job: Path, pool: Path, tmp_path: Path, how: str) -> None:
    selected, scores = tmp_path / "selected", str(job / "time.parquet")
    arguments = ["select", scores, "--top", "2", "--by", "mean", "--segments", how, "--out", str(selected)]
    assert main(arguments) == 0
    with (selected / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["file_name"] for row in rows}) == 2
    assert all((pool / row["file_name"]).is_file() for row in rows)
    assert {row["motive_segment"] for row in rows} <= {"t0", "t1", "t2"}
    means: dict[str, list[float]] = {}
    for row in parquet.read_table(scores).to_pylist():
        means.setdefault(clip_of(row["clip_id"]), []).append(row["mean"])
    value = {clip: max(each) if how == "best" else sum(each) for clip, each in means.items()}
    best = sorted(value, key=lambda clip: -value[clip])[:2]
    assert [row["file_name"] for row in rows] == best
    sums = [float(row.get("motive_sum", "nan")) for row in rows]
    if how == "sum":
        assert sums == pytest.approx([value[clip] for clip in best], rel=1e-5)
        return
    assert "motive_sum" not in rows[0]
    report = tmp_path / "report"
    assert main(["report", scores, "--selection", str(selected), "--out", str(report)]) == 0
    assert "#t0" in (report / "index.html").read_text(encoding="utf-8")


def test_scores_of_whole_clips_and_lists_of_segments_are_not_summed(
    job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "selected")]
    assert main(["select", str(job / "whole.parquet"), "--segments", "best", *out]) == 2
    assert "segments must be left out for scores of whole clips, got best" in capsys.readouterr().err
    scores = str(tmp_path / "listed.parquet")
    listed = ["score", str(job / "time"), str(job / "whole"), "--precision", "int8", "--top-k", "4", "--out", scores]
    assert main(listed) == 0
    assert "segments of 4 clips scored for 4 queries" in capsys.readouterr().out
    table = parquet.read_table(scores).to_pylist()
    query = next(name for name in table[0] if name.startswith("query/"))
    clips = len({clip_of(row["clip_id"]) for row in table if row[query] is not None})
    assert clips < 4, "some clip must be listed twice"
    select = ["select", scores, "--by", f"query:{query[len('query/') :]}", *out]
    assert main([*select, "--segments", "sum", "--top", "1"]) == 2
    assert "segments must be best for scores of a query's top-k alone, got sum" in capsys.readouterr().err
    assert main([*select, "--top", "4"]) == 2
    assert (
        f"at most the {clips} clips that the query has scores of, from 4 segments in its top-k, got 4"
        in capsys.readouterr().err
    )
    assert main([*select, "--top", str(clips)]) == 0


def test_running_again_adds_nothing_and_other_segments_are_refused(
    job: Path, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = ["index", str(pool), "--out", str(job / "time"), "--cache", str(job / "cache"), *FAST]
    assert main([*index[:3], str(tmp_path / "new"), *index[4:], "--segments", "time:3"]) == 0
    assert "4 clips stored, 0 were there" in capsys.readouterr().out
    assert main([*index, "--segments", "time:3"]) == 0
    assert "0 clips stored, 4 were there" in capsys.readouterr().out
    assert main([*index, "--segments", "time:2"]) == 2
    assert "segments must be time:3" in capsys.readouterr().err
