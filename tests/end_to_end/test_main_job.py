"""From a folder of video files to a curated subset and a report, by the command line, as a user would."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import motive
from motive.cli.main import main
from motive.toy.pool import write_pool, write_queries
from tests.faults import points
from tests.faults.points import Point
from tests.tiny_wan import build_tiny_wan

SMALL = ("--clip-frames", "9", "--clip-height", "48", "--clip-width", "48")
FAST = ("--noise-strategy", "single", *SMALL, "--quiet")
MOTIONS = ("bounce", "slide", "spin", "static")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("pool") / "clips", clips_per_motion=3, seed=5, motions=MOTIONS)


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(
        tmp_path_factory.mktemp("queries") / "clips",
        clips_per_motion=1,
        seed=5,
        split="demo_queries",
        motions=("bounce", "spin"),
    )


@pytest.fixture(scope="module")
def job(pool: Path, queries: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole job; its folder holds store, run.json of indexing, queries, scores.parquet, selected and report."""
    out = tmp_path_factory.mktemp("job")
    assert main(["index", str(pool), "--out", str(out / "store"), *FAST]) == 3, "static clips must be left out"
    shutil.copy(out / "store" / "run.json", out / "run.json")  # a later run into the store writes its own
    assert main(["query", str(queries), "--like", str(out / "store"), "--out", str(out / "queries"), "--quiet"]) == 0
    scores = str(out / "scores.parquet")
    assert main(["score", str(out / "store"), str(out / "queries"), "--out", scores]) == 0
    assert main(["select", scores, "--top", "3", "--out", str(out / "selected")]) == 0
    assert main(["report", scores, "--selection", str(out / "selected"), "--out", str(out / "report")]) == 0
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_store_holds_every_moving_clip(job: Path, pool: Path) -> None:
    """A still clip may keep a tremble of its compression, so only some of those are left out."""
    still = {row["file_name"] for row in rows(pool / "metadata.csv") if row["motion"] == "static"}
    store = motive.Store.open(job / "store")
    left_out = {failure.clip_id for failure in store.failures()}
    assert left_out
    assert left_out <= still
    assert store.clip_ids == sorted({row["file_name"] for row in rows(pool / "metadata.csv")} - left_out)
    vectors = store.vectors()
    assert vectors.shape == (len(store.clip_ids), 512)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert {failure.reason for failure in store.failures()} == {"static"}
    assert main(["verify", str(job / "store")]) == 0


def test_the_report_says_which_frames_were_attributed(job: Path) -> None:
    page = (job / "report" / "index.html").read_text(encoding="utf-8")
    assert "frames 0-" in page
    assert "resampled to 12 fps" in page


def test_the_selection_is_a_dataset_in_the_inputs_format(job: Path, pool: Path) -> None:
    selected = rows(job / "selected" / "metadata.csv")
    assert len(selected) == 3
    original = {row["file_name"]: row for row in rows(pool / "metadata.csv")}
    for row in selected:
        assert row["text"] == original[row["file_name"]]["text"]
        assert (job / "selected" / row["file_name"]).read_bytes() == (pool / row["file_name"]).read_bytes()
    assert any("score" in column or "votes" in column for column in selected[0])
    again = motive.index(job / "selected", out=job / "again", config=motive.IndexConfig(model="toy"))
    assert again.stored == 3, "a selection must be readable like any dataset"


def test_the_report_is_one_page(job: Path) -> None:
    page = (job / "report" / "index.html").read_text(encoding="utf-8")
    assert "<video" in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page


def test_running_again_adds_nothing(job: Path, pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = motive.Store.open(job / "store").version
    main(["index", str(pool), "--out", str(job / "store"), *FAST])
    assert motive.Store.open(job / "store").version == before
    count = len(motive.Store.open(job / "store").clip_ids)
    assert f"0 clips stored, {count} were there" in capsys.readouterr().out


def test_replay_gives_the_same_vectors(job: Path, tmp_path: Path) -> None:
    record = json.loads((job / "run.json").read_text())
    main(["replay", str(job / "run.json"), "--out", str(tmp_path / "again"), "--quiet"])
    first, again = motive.Store.open(job / "store"), motive.Store.open(tmp_path / "again")
    assert first.clip_ids == again.clip_ids
    assert np.array_equal(first.vectors(), again.vectors())
    routes = json.loads((tmp_path / "again" / "run.json").read_text())["routes"]
    assert routes == record["routes"]
    assert {"closed", "operand"} < set(routes), "which route each parameter took"
    assert {"factorized", "materialized"} & set(routes)
    assert "stream" not in routes


def test_run_json_tells_what_ran(job: Path) -> None:
    record = json.loads((job / "store" / "run.json").read_text())
    assert record["config"]["vectors"]["draws"]["strategy"] == "single"
    assert record["versions"]["torch"]
    assert record["implementations"]["tensor_sketch_into"]["torch"] is None
    assert record["finished"]


def test_other_settings_are_refused_by_field(
    job: Path, pool: Path, queries: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", str(pool), "--out", str(job / "store"), "--quiet", "--noise-seed", "1"]) == 1
    assert "gradient.draws.seed" in capsys.readouterr().err
    config = motive.IndexConfig(projection=motive_projection(64))
    motive.index(queries, out=tmp_path / "other", config=config)
    assert main(["score", str(job / "store"), str(tmp_path / "other"), "--out", str(tmp_path / "s.parquet")]) == 1
    error = capsys.readouterr().err
    assert "projection.dim" in error
    assert "Traceback" not in error


def motive_projection(dim: int):
    from motive_kernels import ProjectionSpec

    return ProjectionSpec(dim=dim)


def test_bad_clips_are_listed_and_the_run_goes_on(pool: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = [row["file_name"] for row in rows(pool / "metadata.csv") if row["motion"] == "bounce"][:2]
    for name in good:
        shutil.copy(pool / name, folder / name)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_bytes(b"this is no video" * 100)
    (folder / "cut.mp4").write_bytes((pool / good[0]).read_bytes()[:700])
    assert main(["index", str(folder), "--out", str(tmp_path / "store"), *FAST]) == 3
    store = motive.Store.open(tmp_path / "store")
    assert store.clip_ids == sorted(good)
    assert {f.clip_id for f in store.failures()} == {"empty.mp4", "text.mp4", "cut.mp4"}
    assert (tmp_path / "store" / "failed.parquet").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["index", "no-such-folder", "--out", "s"], 1, "no-such-folder"),
        (["index", "{pool}", "--out", "s", "--model", "no/such-model-dir/x"], 1, "model"),
        (["index", "{pool}"], 2, "--out"),
        (["index", "{pool}", "--out", "s", "--clip-frames", "16"], 2, "4 n + 1"),
        (["query", "{pool}", "--like", "nowhere", "--out", "s"], 1, "nowhere"),
        (["score", "nowhere", "nowhere", "--out", "s.parquet"], 1, "nowhere"),
        (["select", "nowhere.parquet", "--out", "s"], 1, "nowhere.parquet"),
        (["replay", "nowhere.json", "--out", "s"], 1, "nowhere.json"),
        (["index", "{pool}", "--out", "s", "--parameters", "blocks.*", "blockz.*"], 2, "blockz"),
        (["index", "{pool}", "--out", "s", "--noise-sigma", "0.3"], 2, "sigma"),
        (["score", "a", "b", "--out", "s.parquet", "--damping", "9"], 2, "preconditioner"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(
    arguments: list[str], code: int, says: str, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    got = main([argument.format(pool=pool) for argument in arguments])
    error = capsys.readouterr().err
    assert says in error
    assert len(error.strip().splitlines()) == 1, error
    assert got in (1, 2), f"expected {code}: {error}"


def test_a_store_takes_clips_of_its_own_dataset_only(
    job: Path, pool: Path, queries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = motive.Store.open(job / "store").clip_ids
    assert main(["index", str(queries), "--out", str(job / "store"), *FAST]) == 2
    assert str(queries) in capsys.readouterr().err
    assert main(["query", str(queries), "--like", str(job / "store"), "--out", str(job / "store"), "--quiet"]) == 2
    assert motive.Store.open(job / "store").clip_ids == before


def test_a_failed_start_leaves_no_store(pool: Path, tmp_path: Path) -> None:
    assert main(["index", str(pool), "--out", str(tmp_path / "store"), "--probe", "2", *FAST]) == 2
    assert not (tmp_path / "store").exists()


def test_a_flag_changes_the_models_own_clip_spec(queries: Path, tmp_path: Path) -> None:
    assert main(["index", str(queries), "--out", str(tmp_path), "--clip-fps", "10", *FAST]) in (0, 3)
    toy = motive.adapters.load_adapter("toy").clip_spec
    assert motive.Store.open(tmp_path).identity.require("test").clip_spec == replace(
        toy, fps=10.0, frames=9, height=48, width=48
    )


def test_estimate_and_probe(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "moving"
    folder.mkdir()
    for row in rows(pool / "metadata.csv"):
        if row["motion"] in ("bounce", "spin"):
            shutil.copy(pool / row["file_name"], folder)
    assert main(["index", str(folder), "--estimate", *FAST]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["clips", "time", "store", "cache", "memory"]
    count = len(list(folder.iterdir()))
    assert lines[5:] == [f"dataset   folder from {folder}", f"no caption: {count} of {count} clips"]
    main(["index", str(folder), "--out", str(tmp_path / "store"), "--probe", "4", *FAST])
    found = json.loads((tmp_path / "store" / "run.json").read_text())["probe"]
    assert found["clips"] == 4
    assert found["pairs"] == 6
    assert found["rmse"] < 4 * found["expected_rmse"]


@pytest.mark.parametrize(
    "arguments", [["index", "x", "--clip-fit", "odd"], ["index", "x", "--bogus", "3"], ["score", "--groups", "[1]"]]
)
def test_wrong_flags_are_one_line_that_names_the_verb(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith(f"motive {arguments[0]}: ")
    assert len(error.strip().splitlines()) == 1, error


def test_an_interrupted_run_goes_on(job: Path, pool: Path, tmp_path: Path) -> None:
    """Ctrl-C after the second commit: what is finished is stored, and the same command completes the rest."""
    store = tmp_path / "store"
    point = Point("commit", 2, signal=signal.SIGINT)
    command = points.command(point, "index", str(pool), "--out", str(store), "--shard-rows", "1", *FAST)
    process = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as in a background job
    )
    assert process.returncode == 130, process.stderr
    assert "Traceback" not in process.stderr
    assert len(motive.Store.open(store).commits) == 2
    assert main(["index", str(pool), "--out", str(store), *FAST]) == 3
    assert motive.Store.open(store).clip_ids == motive.Store.open(job / "store").clip_ids


def test_a_wan_pipeline_directory_goes_the_whole_way(queries: Path, tmp_path: Path) -> None:
    model = build_tiny_wan(tmp_path / "wan")
    small = ["--clip-frames", "9", "--clip-height", "32", "--clip-width", "32", "--clip-short", "hold"]
    store, asked, scores = tmp_path / "store", tmp_path / "queries", tmp_path / "scores.parquet"
    assert main(["index", str(queries), "--model", str(model), "--out", str(store), *small, *FAST]) == 0
    assert main(["query", str(queries), "--like", str(store), "--out", str(asked), "--quiet"]) == 0
    assert main(["score", str(store), str(asked), "--out", str(scores)]) == 0
    first, second = motive.Store.open(store), motive.Store.open(asked)
    assert np.array_equal(first.vectors(), second.vectors()), "the same clips must have the same vectors"
    assert first.identity.family == "wan"


def test_the_demo_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    small = ["--clips-per-motion", "1", "--queries-per-motion", "1", "--noise-strategy", "single", "--quiet"]
    assert main(["demo", "--out", str(out), *small]) == 0
    said = capsys.readouterr().out
    assert str(out / "report" / "index.html") in said
    assert str(out / "selected" / "metadata.csv") in said
    assert "chance" in said
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("irreplaceable")
    assert main(["demo", "--out", str(tmp_path / "mine"), *small]) == 2
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_write_queries_and_pool_are_disjoint(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "p", clips_per_motion=1, motions=("bounce",))
    asked = write_queries(tmp_path / "q", clips_per_motion=1)
    seeds = {row["seed"] for row in rows(pool / "metadata.csv")} & {row["seed"] for row in rows(asked / "metadata.csv")}
    assert not seeds


def test_vectors_are_the_same_bits_for_any_workers_and_interruptions(pool: Path, tmp_path: Path) -> None:
    """Batches of three clips, some of which fail; a store started with one worker process, cut and finished with none."""
    common = [str(pool), "--batch-size", "3", "--shard-rows", "4", "--threads", "1", *FAST]
    assert main(["index", *common, "--out", str(tmp_path / "calm")]) == 3
    calm = motive.Store.open(tmp_path / "calm")
    metrics = tmp_path / "motive.prom"
    command = ["index", *common, "--out", str(tmp_path / "two"), "--workers", "2", "--metrics", str(metrics)]
    assert main(command) == 3
    two = motive.Store.open(tmp_path / "two")
    assert two.clip_ids == calm.clip_ids
    assert np.array_equal(two.vectors(), calm.vectors())
    assert f"motive_clips_stored {len(calm)}.0\n" in metrics.read_text()
    assert json.loads((tmp_path / "two" / "summary.json").read_text())["failures"] == {"static": len(two.failures())}
    victim = sorted((tmp_path / "two" / "shards").glob("*.safetensors"))[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    assert main(["repair", str(tmp_path / "two")]) == 0
    assert len(motive.Store.open(tmp_path / "two")) < len(calm)
    assert main(["index", *common, "--out", str(tmp_path / "two")]) == 3
    again = motive.Store.open(tmp_path / "two")
    assert np.array_equal(again.vectors(), calm.vectors()), "half-done batches are run whole"
    assert main(["index", *common, "--out", str(tmp_path / "two"), "--batch-size", "2"]) == 2, "another composition"
