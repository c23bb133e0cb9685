"""A selection is the head of the ranking, written as a dataset that can be read again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from motive.curate import SelectConfig, select
from motive.curate.ranking import Ranking
from motive.data import read_dataset
from motive.errors import MotiveError, OptionError, StoreError
from motive.scoring import ScoreConfig, score
from motive.store import Origin, Source, Store, StoreRow


def ranking(scores: Path, *keys: str) -> list[str]:
    """Clip ids by the given columns of a scores file, larger first, then by id."""
    rows = pq.read_table(scores).to_pylist()
    return [row["clip_id"] for row in sorted(rows, key=lambda r: (*(-r[key] for key in keys), r["clip_id"]))]


@pytest.mark.parametrize("kind", ["folder", "videofolder", "diffsynth", "jsonl"])
@pytest.mark.parametrize("files", ["link", "copy"])
def test_the_selection_is_a_dataset_in_the_inputs_form(tmp_path, scored, kind, files) -> None:
    made = scored(kind)
    selection = select(made.scores, tmp_path / "out", SelectConfig(top="20%", files=files))
    assert list(selection.clip_ids) == ranking(made.scores, "votes", "mean")[:6]
    assert (selection.total, selection.by, selection.store_changed) == (30, "votes", False)
    again = read_dataset(tmp_path / "out" / ("clips.jsonl" if kind == "jsonl" else ""), kind)
    assert [clip.clip_id for clip in again.clips] == sorted(selection.clip_ids)
    assert not again.failures
    original = {
        clip.clip_id: clip for clip in read_dataset(made.dataset / ("clips.jsonl" if kind == "jsonl" else "")).clips
    }
    rows = {row["clip_id"]: row for row in pq.read_table(made.scores).to_pylist()}
    for clip in again.clips:
        before = original[clip.clip_id]
        assert clip.caption == before.caption
        assert clip.path.read_bytes() == before.path.read_bytes()
        if kind != "folder":
            assert clip.columns["rank"] == before.columns["rank"], "the dataset's own column of that name is kept"
            for name in ("votes", "mean", "max", "rank", "percentile"):
                assert float(clip.columns[f"motive_{name}"]) == pytest.approx(rows[clip.clip_id][name], rel=1e-6)
    assert (tmp_path / "out" / "metadata.csv").is_file()


def test_the_record_says_what_was_selected_and_from_what(tmp_path, scored) -> None:
    made = scored("videofolder")
    selection = select(made.scores, tmp_path / "out", SelectConfig(top="5"))
    record = json.loads((tmp_path / "out" / "selection.json").read_text())
    assert (record["format"], record["version"]) == ("motive.selection", 2)
    assert record["clips"] == {"scored": 30, "selected": 5}
    assert record["config"]["amount"] == "5"
    assert record["ranked_by"] == ["votes", "mean"]
    assert record["last_score"] == selection.last_score
    assert record["store_version"] == Store.open(made.store).version
    assert record["store_changed"] is False
    assert set(record["files"]) == {
        path.relative_to(tmp_path / "out").as_posix()
        for path in (tmp_path / "out").rglob("*")
        if not path.is_dir() and path.name != "selection.json"
    }


def test_every_way_to_rank(tmp_path, scored) -> None:
    config = ScoreConfig(groups={"q/0.mp4": "roll", "q/1.mp4": "roll"})
    made = scored(config=config)
    for by, keys in (
        ("votes", ("votes", "mean")),
        ("mean", ("mean",)),
        ("max", ("max", "mean")),
        ("query:q/2.mp4", ("query/q/2.mp4",)),
        ("group:roll", ("group/roll/votes", "group/roll/mean")),
    ):
        selection = select(made.scores, tmp_path / "out", SelectConfig(top="7", by=by))
        assert list(selection.clip_ids) == ranking(made.scores, *keys)[:7], by
        assert selection.by == keys[0]
    selection = select(made.scores, tmp_path / "out", SelectConfig(by="drop_bottom", drop="10%"))
    assert list(selection.clip_ids) == ranking(made.scores, "mean")[:27]
    for by in ("query:nobody.mp4", "group:none"):
        with pytest.raises(OptionError, match="by must name a query or group"):
            select(made.scores, tmp_path / "out", SelectConfig(by=by))


def test_ties_at_the_cut_are_broken_by_id_and_counted(tmp_path, scored) -> None:
    vectors = np.ones((30, 6))
    made = scored(vectors=vectors.tolist())
    ids = sorted(clip.clip_id for clip in read_dataset(made.dataset).clips)
    selection = select(made.scores, tmp_path / "out", SelectConfig(top="4"))
    assert list(selection.clip_ids) == ids[:4]
    assert selection.ties is not None
    assert (selection.ties.tied, selection.ties.tied_above, selection.ties.undecided) == (30, 4, 30)
    assert any("30 clips have that value, 4 of them selected" in line for line in selection.lines())
    whole = select(made.scores, tmp_path / "all", SelectConfig(top="100%"))
    assert whole.ties is not None
    assert whole.ties.tied == 0, "nothing is cut"


def test_min_votes_leaves_clips_out(tmp_path, scored) -> None:
    made = scored()
    votes = {row["clip_id"]: row["votes"] for row in pq.read_table(made.scores).to_pylist()}
    selection = select(made.scores, tmp_path / "out", SelectConfig(top="100%", min_votes=1))
    expected = [clip_id for clip_id in ranking(made.scores, "votes", "mean") if votes[clip_id]]
    assert list(selection.clip_ids) == expected
    assert len(expected) < 30
    with pytest.raises(OptionError, match=r"min_votes must leave a clip, and none of the first \d+ has 5 votes"):
        select(made.scores, tmp_path / "out", SelectConfig(min_votes=5))
    with pytest.raises(OptionError, match="top must be at most the 30 clips there are, got 31"):
        select(made.scores, tmp_path / "out", SelectConfig(top="31"))
    with pytest.raises(OptionError, match="drop must leave a clip"):
        select(made.scores, tmp_path / "out", SelectConfig(by="drop_bottom", drop="30"))


def test_a_store_that_grew_or_moved(tmp_path, scored) -> None:
    made = scored()
    first = select(made.scores, tmp_path / "a")
    Store.open(made.store).append([StoreRow("added later", np.ones(6, np.float32))])
    second = select(made.scores, tmp_path / "b")
    assert second.clip_ids == first.clip_ids
    assert second.store_changed
    assert any("has grown" in line for line in second.lines())
    shutil.move(made.store, tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=r"Store\.open: path must be a store"):
        select(made.scores, tmp_path / "c")
    assert select(made.scores, tmp_path / "c", store=tmp_path / "elsewhere").clip_ids == first.clip_ids
    other = Store.create(tmp_path / "other", identity=Store.open(tmp_path / "elsewhere").identity)
    other.append([StoreRow("x", np.ones(6, np.float32))])
    with pytest.raises(StoreError, match="lacks the scored clip"):
        select(made.scores, tmp_path / "d", store=other)
    assert not (tmp_path / "d").exists()


def test_a_store_that_does_not_know_its_dataset_is_refused(tmp_path, scored) -> None:
    made = scored()
    seen = Store.open(made.store)
    rows = [
        StoreRow(clip_id, vector, {"path": "/nowhere/x.mp4"})
        for clip_id, vector in zip(seen.clip_ids, seen.vectors(), strict=True)
    ]
    bare = Store.create(tmp_path / "bare", identity=seen.identity)
    bare.append(rows)
    with pytest.raises(StoreError, match="does not name its dataset"):
        select(made.scores, tmp_path / "out", store=bare)
    pathless = Store.create(tmp_path / "pathless", identity=seen.identity, columns_schema={"caption": "string"})
    pathless.append([StoreRow(row.clip_id, row.vector) for row in rows])
    with pytest.raises(StoreError, match="index must have column path"):
        select(made.scores, tmp_path / "out", store=pathless)
    broken = Store.create(tmp_path / "broken", identity=seen.identity)
    broken.append([StoreRow(row.clip_id, row.vector, {"path": "/x", "columns": "[1"}) for row in rows])
    with pytest.raises(StoreError, match="must hold path and columns of clip"):
        select(made.scores, tmp_path / "out", store=broken)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_scores_file_is_refused(tmp_path, scored) -> None:
    made = scored()
    with pytest.raises(OptionError, match="scores must be a file written by motive score"):
        select(tmp_path / "missing.parquet", tmp_path / "out")
    data = made.scores.read_bytes()
    for name, content in (("cut", data[: len(data) // 2]), ("other", b"text"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StoreError, match="scores must be a file written by motive score"):
            select(tmp_path / name, tmp_path / "out")
    index = next((made.store / "shards").glob("*.parquet"))
    with pytest.raises(StoreError, match="scores must be a file written by motive score"):
        select(index, tmp_path / "out")


def test_damaged_scores_are_refused_or_harmless(tmp_path, scored) -> None:
    made = scored(count=12)
    good = Ranking(made.scores, SelectConfig(top="5"), "select")
    expected = good.file.clip_ids(good.cut().rows).to_pylist(), good.shown(good.cut().rows)
    data = made.scores.read_bytes()
    for place in range(0, len(data), 41):
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        made.scores.write_bytes(changed)
        try:
            ranked = Ranking(made.scores, SelectConfig(top="5"), "select")
            found = ranked.file.clip_ids(ranked.cut().rows).to_pylist(), ranked.shown(ranked.cut().rows)
        except MotiveError:
            continue
        assert found == expected, f"byte {place} flipped: other clips without an error"


def test_a_missing_video_leaves_no_half_selection(tmp_path, scored) -> None:
    made = scored()
    first = select(made.scores, tmp_path / "out", SelectConfig(top="3"))
    kept = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    (made.dataset / ranking(made.scores, "votes", "mean")[4]).unlink()
    with pytest.raises(MotiveError):
        select(made.scores, tmp_path / "out", SelectConfig(top="10"))
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == kept, "the earlier selection is untouched"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")) == []
    assert len(first.clip_ids) == 3


def test_clips_of_several_stores_are_selected_together(tmp_path, scored) -> None:
    """Two stores of one dataset, one scores file: the selection is that of the one store."""
    made = scored("jsonl")
    whole = select(made.scores, tmp_path / "whole", SelectConfig(top="20%"))
    header = Ranking(made.scores, SelectConfig(), "test").file.metadata
    one, queries = Store.open(header["store"]), header["queries"]
    table = one.columns()
    parts = []
    for number in range(2):
        part = Store.create(
            tmp_path / f"part{number}",
            identity=one.identity,
            columns_schema=one.manifest.columns,
            origin=one.manifest.origin,
        )
        rows = np.arange(number, len(one), 2)
        facts = table.take(rows).drop_columns(["clip_id"]).to_pylist()
        vectors = one.vectors_at(rows)
        part.append([StoreRow(one.ids[int(r)], v, f) for r, v, f in zip(rows, vectors, facts, strict=True)])
        parts.append(part.path)
    for precision in ("float32", "int8"):
        scores = tmp_path / f"{precision}.parquet"
        score(parts, queries, scores, ScoreConfig(precision=precision))
        found = select(scores, tmp_path / precision, SelectConfig(top="20%"))
        assert found.store_changed is False
        record = json.loads((tmp_path / precision / "selection.json").read_text())
        assert record["stores"] == [str(path) for path in parts]
        if precision == "float32":
            assert found.clip_ids == whole.clip_ids
    with pytest.raises(OptionError, match="must be the 2 that were scored, got 1"):
        select(scores, tmp_path / "x", store=parts[0])
    other = Store.create(tmp_path / "other", identity=one.identity, columns_schema=one.manifest.columns,
                         origin=Origin(Source("/elsewhere", "folder")))  # fmt: skip
    rows = np.arange(1, len(one), 2)
    facts = table.take(rows).drop_columns(["clip_id"]).to_pylist()
    other.append([StoreRow(one.ids[int(r)], v, f) for r, v, f in zip(rows, one.vectors_at(rows), facts, strict=True)])
    score([parts[0], other], queries, scores)
    with pytest.raises(OptionError, match="selected clips must be of one dataset"):
        select(scores, tmp_path / "x", SelectConfig(top="100%"))
