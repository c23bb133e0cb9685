"""Scores, votes and ranks against brute force in float64, and their independence of everything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from motive.errors import IdentityMismatch, OptionError, StoreError
from motive.scores.file import ScoreFile
from motive.scores.format import read_header
from motive.scoring import ScoreConfig, score
from motive.store import Store, StoreRow, writer
from tests.scoring.conftest import identity_of

CONFIGS = {
    "cosine": ScoreConfig(),
    "dot": ScoreConfig(similarity="dot"),
    "ridge": ScoreConfig(preconditioner="ridge", damping=0.5),
    "ridge of raw vectors": ScoreConfig(similarity="dot", preconditioner="ridge", damping=2.0),
    "whitened cosine": ScoreConfig(preconditioner="whiten", damping=0.1),
}


def unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def brute_force(clips: np.ndarray, queries: np.ndarray, config: ScoreConfig) -> np.ndarray:
    """docs/scoring.md in float64: scores [n, q]."""
    z, zq = clips.astype(np.float64), queries.astype(np.float64)
    if config.similarity == "cosine":
        z, zq = unit(z), unit(zq)
    if config.applied_preconditioner == "none":
        return z @ zq.T
    count = np.count_nonzero(np.linalg.norm(z, axis=1))
    moment = z.T @ z / count
    inner = moment + config.applied_damping * np.trace(moment) / len(moment) * np.eye(len(moment))
    if config.preconditioner == "ridge":
        return z @ np.linalg.solve(inner, zq.T)
    values, vectors = np.linalg.eigh(inner)
    root = (vectors / np.sqrt(values)) @ vectors.T
    return unit(z @ root) @ unit(zq @ root).T


def read(path: Path) -> tuple[list[str], np.ndarray, dict[str, np.ndarray], dict]:
    table = pq.read_table(path)
    values = {name: table.column(name).to_numpy() for name in table.column_names[1:]}
    scores = np.stack([column for name, column in values.items() if name.startswith("query/")], axis=1)
    return table.column("clip_id").to_pylist(), scores, values, json.loads(table.schema.metadata[b"motive"])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("clips", "queries", "dim"), [(1, 1, 3), (37, 5, 7), (300, 9, 33)])
def test_scores_are_those_of_brute_force(tmp_path, stored, random_vectors, name, clips, queries, dim) -> None:
    config = CONFIGS[name]
    pool, asked = random_vectors(clips, dim), random_vectors(queries, dim, "query", seed=1)
    pool["a zero"] = np.zeros(dim, np.float32)
    store, query_store = stored("clips", pool), stored("queries", asked)
    summary = score(store, query_store, tmp_path / "scores.parquet", config)
    ids, scores, values, _ = read(summary.path)
    assert ids == sorted(pool)
    assert [c for c in values if c.startswith("query/")] == [f"query/{clip_id}" for clip_id in sorted(asked)]
    expected = brute_force(np.stack([pool[i] for i in ids]), np.stack([asked[i] for i in sorted(asked)]), config)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(scores, expected, rtol=2e-6, atol=2e-6 * scale)
    assert not scores[ids.index("a zero")].any()
    assert (summary.zero_clips, summary.zero_examples) == (1, ("a zero",))
    np.testing.assert_allclose(values["mean"], scores.astype(np.float64).mean(axis=1), rtol=1e-6, atol=1e-7 * scale)
    np.testing.assert_array_equal(values["max"], scores.max(axis=1))


@pytest.mark.parametrize("share", [0.1, 0.25, 1.0])
@pytest.mark.parametrize("clips", [1, 9, 10, 11, 101])
def test_votes_and_ranks_are_those_of_a_full_sort(tmp_path, stored, random_vectors, share, clips) -> None:
    pool = random_vectors(clips, 3)
    store, queries = stored("clips", pool), stored("queries", random_vectors(8, 3, "query", seed=2))
    summary = score(store, queries, tmp_path / "scores.parquet", ScoreConfig(vote_share=share))
    ids, scores, values, metadata = read(summary.path)
    count = max(1, int(share * clips))
    thresholds = np.sort(scores, axis=0)[clips - count]
    np.testing.assert_array_equal(values["votes"], (scores >= thresholds).sum(axis=1))
    assert list(metadata["thresholds"].values()) == thresholds.tolist(), "thresholds survive JSON to the bit"
    assert summary.vote_count == count
    expected = sorted(range(clips), key=lambda row: (-values["votes"][row], -values["mean"][row], ids[row]))
    assert np.argsort(values["rank"]).tolist() == expected
    assert sorted(values["rank"]) == list(range(1, clips + 1))
    np.testing.assert_allclose(values["percentile"], 100 * (clips + 1 - values["rank"]) / clips, rtol=1e-6)
    assert summary.voted_clips == np.count_nonzero(values["votes"])
    assert summary.voted_clips + summary.voteless_clips == clips
    for query, column in zip(summary.queries, scores.T, strict=True):
        assert query.voted == (column >= query.threshold).sum() >= count
        assert query.tied == (column == query.threshold).sum()
        best = sorted(range(clips), key=lambda row: (-column[row], row))[:10]
        assert list(query.top) == [ids[row] for row in best]


def test_shards_blocks_and_order_do_not_change_a_bit(tmp_path, stored, random_vectors) -> None:
    pool, asked = random_vectors(203, 19), random_vectors(6, 19, "query", seed=3)
    queries, ids = stored("queries", asked), list(pool)
    splits = [[ids], [ids[start::11] for start in range(11)], [ids[100:], ids[:1], ids[1:100]]]
    stores = [stored(f"clips-{number}", pool, shards) for number, shards in enumerate(splits)]
    for name, config in CONFIGS.items():
        reference = None
        for store, rows in zip([*stores, stores[1]], [4096, 64, 1, 50], strict=True):
            changed = ScoreConfig(**{**config.to_json(), "block_rows": rows})
            path = score(store, queries, tmp_path / "s.parquet", changed).path
            table = pq.read_table(path).replace_schema_metadata(None)
            reference = reference or table
            assert table.equals(reference), f"{name}: {store.path.name}, blocks of {rows} rows"


def test_a_query_does_not_depend_on_the_other_queries(tmp_path, stored, random_vectors) -> None:
    store, asked = stored("clips", random_vectors(50, 8)), random_vectors(5, 8, "query", seed=4)
    config = ScoreConfig(preconditioner="whiten")
    together = pq.read_table(score(store, stored("all", asked), tmp_path / "all.parquet", config).path)
    for number, (clip_id, vector) in enumerate(asked.items()):
        alone = score(store, stored(f"q{number}", {clip_id: vector}), tmp_path / f"{number}.parquet", config)
        column = f"query/{clip_id}"
        assert pq.read_table(alone.path).column(column).equals(together.column(column))


def test_thread_count_does_not_change_a_bit(tmp_path, stored, random_vectors) -> None:
    store, queries = stored("clips", random_vectors(3000, 200)), stored("queries", random_vectors(20, 200, "q", seed=5))
    code = "import sys; from motive.scoring import score; score(*sys.argv[1:4])"
    tables = []
    for threads in ("1", "2"):
        out = tmp_path / f"{threads}.parquet"
        environment = {**os.environ, **{f"{name}_NUM_THREADS": threads for name in ("OMP", "OPENBLAS", "MKL")}}
        command = [sys.executable, "-c", code, str(store.path), str(queries.path), str(out)]
        subprocess.run(command, env=environment, check=True, cwd=Path(__file__).parents[2])
        tables.append(pq.read_table(out).replace_schema_metadata(None))
    assert tables[0].equals(tables[1])


def test_equal_clips_tie_and_the_tie_is_counted(tmp_path, stored) -> None:
    pool = {f"c{number:02d}": np.array([1, 0, 0], np.float32) for number in range(20)}
    pool["best"] = np.array([1, 1, 0], np.float32)
    queries = stored("queries", {"q": np.array([1, 1, 0], np.float32)})
    summary = score(stored("clips", pool), queries, tmp_path / "s.parquet", ScoreConfig(vote_share=0.2))
    ids, _, values, metadata = read(summary.path)
    assert values["votes"].tolist() == [1] * 21, "all tied clips reach the threshold"
    assert [ids[row] for row in np.argsort(values["rank"])] == ["best", *sorted(f"c{n:02d}" for n in range(20))]
    tie = summary.ties["0.2"]
    assert (tie.count, tie.tied, tie.tied_above, tie.undecided) == (4, 21, 4, 20)
    assert metadata["ties"]["0.2"] == {"count": 4, "tied": 21, "tied_above": 4, "undecided": 20}
    assert any("21 clips share" in line for line in summary.lines())


@pytest.mark.parametrize("by", ["votes", "mean", "max"])
def test_ranking_by_other_values(tmp_path, stored, random_vectors, by) -> None:
    queries = stored("queries", random_vectors(5, 6, "q", seed=6))
    summary = score(stored("clips", random_vectors(40, 6)), queries, tmp_path / "s.parquet", ScoreConfig(rank_by=by))
    ids, _, values, _ = read(summary.path)
    expected = sorted(range(40), key=lambda row: (-values[by][row], -values["mean"][row], ids[row]))
    assert np.argsort(values["rank"]).tolist() == expected


def test_groups_have_votes_and_means_of_their_own(tmp_path, stored, random_vectors) -> None:
    asked = random_vectors(6, 5, "q", seed=7)
    names = sorted(asked)
    groups = {names[0]: "roll", names[3]: "roll", names[4]: "spin"}
    config = ScoreConfig(groups=groups)
    path = score(stored("clips", random_vectors(60, 5)), stored("q", asked), tmp_path / "s.parquet", config).path
    _, scores, values, metadata = read(path)
    for group, columns in (("roll", [0, 3]), ("spin", [4])):
        own = scores[:, columns]
        thresholds = np.sort(own, axis=0)[60 - 6]
        np.testing.assert_array_equal(values[f"group/{group}/votes"], (own >= thresholds).sum(axis=1))
        np.testing.assert_allclose(values[f"group/{group}/mean"], own.mean(axis=1), rtol=1e-5, atol=1e-7)
    assert metadata["groups"] == groups
    with pytest.raises(OptionError, match="groups must name queries"):
        score(tmp_path / "clips", tmp_path / "q", tmp_path / "t.parquet", ScoreConfig(groups={"nobody": "x"}))


def test_the_file_says_how_it_was_made(tmp_path, stored, random_vectors) -> None:
    store, queries = stored("clips", random_vectors(12, 5)), stored("q", random_vectors(2, 5, "q", seed=8))
    summary = score(store, queries, tmp_path / "deep" / "s.parquet", CONFIGS["ridge"])
    _, _, _, metadata = read(summary.path)
    assert metadata["format"] == "motive.scores"
    assert (metadata["store"], metadata["queries"]) == (str(store.path), str(queries.path))
    assert (metadata["store_version"], metadata["queries_version"]) == (store.version, queries.version)
    assert metadata["identities"]["store"] == store.manifest.identity_digest
    assert (metadata["similarity"], metadata["preconditioner"], metadata["damping"]) == ("cosine", "ridge", 0.5)
    assert set(metadata["thresholds"]) == set(queries.clip_ids)
    listed = json.loads(summary.summary_path.read_text())
    assert summary.summary_path == tmp_path / "deep" / "s.json"
    assert {key: listed[key] for key in metadata} == metadata
    assert listed["coverage"] == {"voted_clips": summary.voted_clips, "voteless_clips": summary.voteless_clips}
    assert [query["clip_id"] for query in listed["query_summaries"]] == queries.clip_ids
    assert sorted(os.listdir(tmp_path / "deep")) == ["s.json", "s.parquet"], "nothing else is left"


def test_a_mismatch_names_the_field(tmp_path, stored, random_vectors) -> None:
    store, other = stored("clips", random_vectors(5, 4)), random_vectors(1, 4, "q")
    identity = {**store.identity.to_json(), "gradient": {"weights": "cd"}}
    with pytest.raises(IdentityMismatch, match=r"score: .* gradient\.weights: 'ab' against 'cd'"):
        score(store, stored("q", other, identity=identity), tmp_path / "s.parquet")


def test_empty_stores_and_zero_queries_are_refused(tmp_path, stored, random_vectors) -> None:
    full, empty = stored("full", random_vectors(4, 3)), stored("empty", {})
    with pytest.raises(StoreError, match="score: store must hold at least one clip"):
        score(empty, full, tmp_path / "s.parquet")
    with pytest.raises(StoreError, match="score: queries must hold at least one clip"):
        score(full, empty, tmp_path / "s.parquet")
    zero = stored("zero", {"q": np.zeros(3, np.float32), "r": np.ones(3, np.float32)})
    with pytest.raises(OptionError, match="queries must have vectors that are not zero, got zeros for 'q'"):
        score(full, zero, tmp_path / "s.parquet")
    assert not (tmp_path / "s.parquet").exists()


@pytest.mark.parametrize("name", CONFIGS)
def test_vectors_that_are_not_finite_are_refused_when_met(tmp_path, stored, random_vectors, monkeypatch, name) -> None:
    store, queries = stored("clips", random_vectors(4, 3)), stored("q", random_vectors(1, 3, "q"))
    monkeypatch.setattr(writer, "_checked_vector", lambda row, *_: row.vector)
    store.append([StoreRow("broken", np.array([1, np.nan, 1], np.float32))])
    with pytest.raises(StoreError, match=r"'broken'.*motive verify"):
        score(store, queries, tmp_path / "s.parquet", CONFIGS[name])


def test_stores_of_clips_and_of_segments_are_not_mixed(tmp_path) -> None:
    stores = []
    for name, segments in (("whole", ""), ("parts", "time:2")):
        stores.append(Store.create(tmp_path / name, identity=identity_of(3), segments=segments))
        stores[-1].append([StoreRow("a" if not segments else "a#t0", np.ones(3, np.float32))])
    for given in (stores, stores[::-1]):
        with pytest.raises(OptionError, match=r"same segments, got .*whole clips in .*; take each on its own"):
            score(given, stores[0], tmp_path / "s.parquet")


def test_scores_beyond_float32_are_refused_with_a_remedy(tmp_path, stored) -> None:
    big = {"big": np.full(3, 1e38, np.float32)}
    with pytest.raises(StoreError, match=r"scores must fit float32, got overflow for clip 'big'.*; use cosine"):
        score(stored("clips", big), stored("q", big), tmp_path / "s.parquet", ScoreConfig(similarity="dot"))
    assert score(tmp_path / "clips", tmp_path / "q", tmp_path / "s.parquet").queries[0].high == 1.0


@pytest.mark.parametrize("name", ["scores", "scores.csv"])
def test_the_output_must_be_a_parquet_name(tmp_path, stored, random_vectors, name) -> None:
    store = stored("clips", random_vectors(4, 3))
    with pytest.raises(OptionError, match=r"must be a file name that ends in \.parquet"):
        score(store, store, tmp_path / name)


def test_other_files_are_never_replaced_but_earlier_scores_are(tmp_path, stored, random_vectors) -> None:
    store = stored("clips", random_vectors(4, 3))
    (tmp_path / "a.parquet").write_text("my data")
    (tmp_path / "b.json").write_text('{"my": "data"}')
    for name in ("a", "b"):
        with pytest.raises(OptionError, match="holds something else"):
            score(store, store, tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_text() == "my data"
    score(store, store, tmp_path / "c.parquet")
    score(store, store, tmp_path / "c.parquet", ScoreConfig(similarity="dot"))
    assert read(tmp_path / "c.parquet")[3]["similarity"] == "dot"


def test_scores_say_which_clips_they_saw(tmp_path, stored, random_vectors) -> None:
    store, queries = stored("clips", random_vectors(20, 4)), stored("q", random_vectors(2, 4, "q"))
    first = score(store, queries, tmp_path / "a.parquet", CONFIGS["ridge"])
    store.append([StoreRow("added", np.ones(4, np.float32))])
    second = score(store, queries, tmp_path / "b.parquet", CONFIGS["ridge"])
    assert (first.clips, second.clips) == (20, 21)
    assert first.metadata["store_version"] != second.metadata["store_version"] == store.version
    fresh = stored("fresh", {**random_vectors(20, 4), "added": np.ones(4, np.float32)})
    third = score(fresh, queries, tmp_path / "c.parquet", CONFIGS["ridge"])
    assert pq.read_table(second.path).equals(pq.read_table(third.path)), "the preconditioner was rebuilt"


def test_progress_ends_at_the_number_of_clips(tmp_path, stored, random_vectors) -> None:
    seen: list[tuple[int, int]] = []
    store = stored("clips", random_vectors(25, 3))
    config = ScoreConfig(block_rows=10)
    score(store, store, tmp_path / "s.parquet", config, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(10, 25), (20, 25), (25, 25)]


def test_row_groups_put_together_are_the_whole(tmp_path, stored, random_vectors, monkeypatch) -> None:
    from motive.scores import format as scores_format

    store, queries = stored("clips", random_vectors(3000, 3)), stored("q", random_vectors(2, 3, "q"))
    whole = pq.read_table(score(store, queries, tmp_path / "a.parquet").path)
    monkeypatch.setattr(scores_format, "_ROW_GROUP_BYTES", 1)
    path = score(Store.open(store.path), queries, tmp_path / "b.parquet").path
    assert pq.ParquetFile(path).num_row_groups == 3
    assert pq.read_table(path).equals(whole)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"similarity": "euclid"}, "similarity must be one of cosine, dot"),
        ({"preconditioner": "pca"}, "preconditioner must be one of"),
        ({"rank_by": "min"}, "rank_by must be one of"),
        ({"damping": 0}, "damping must be positive"),
        ({"damping": float("nan")}, "damping must be positive"),
        ({"vote_share": 0}, r"vote_share must be in \(0, 1\]"),
        ({"vote_share": 1.5}, r"vote_share must be in \(0, 1\]"),
        ({"block_rows": 0}, "block_rows must be an integer from 1 to"),
        ({"similarity": "dot", "preconditioner": "whiten"}, "take ridge"),
        ({"groups": {"q": ""}}, "groups must be clip id -> group name"),
    ],
)
def test_wrong_options_say_what_is_right(options, reason) -> None:
    with pytest.raises(OptionError, match=reason):
        ScoreConfig(**options)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_files_of_version_1_are_read_under_the_names_of_today(tmp_path, stored, random_vectors, precision) -> None:
    """Written before the damping and top_k had their names."""
    given = {"preconditioner": "ridge", "precision": precision}
    path = score(
        stored("s", random_vectors(40, 5)), stored("q", random_vectors(2, 5, "q")), tmp_path / "s.parquet",
        ScoreConfig(**given),
    ).path  # fmt: skip
    today = read_header(path, "test")
    former = {"damping": "lambda", "dampings": "lambdas", "damping_auto": "lambda_auto", "top_k": "listed"}
    header = {former.get(name, name): value for name, value in today.items()}
    header |= {"version": 1, "listed": 100}  # with float32 too
    assert not set(former) & set(header)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"motive": json.dumps(header).encode()}), path)
    assert read_header(path, "test") == {**today, "version": 1}
    assert ScoreFile(path, "test").top_k == (100 if precision == "int8" else None)
    for wrong in (0, 3, "2", None):
        pq.write_table(
            table.replace_schema_metadata({b"motive": json.dumps({**header, "version": wrong}).encode()}), path
        )
        with pytest.raises(StoreError, match=r"scores must be motive\.scores 1 to 2, got .*; run motive score again"):
            read_header(path, "test")
