"""Scoring by bytes against exact scoring, filters, weights, several stores and checkpoints, and the byte cache."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from motive.errors import IdentityMismatch, OptionError, StoreError
from motive.scoring import ScoreConfig, score, topk
from motive.scoring.filters import Filter
from motive.scoring.int8.run import search_errors
from motive.scoring.precondition import DAMPINGS, held_out_damping
from motive.store import Store, StoreRow
from motive_kernels.search import best as topk_search
from motive_kernels.search import elect as vote_search
from tests.scoring.conftest import identity_of

LINEAR = {
    "cosine": ScoreConfig(),
    "dot": ScoreConfig(similarity="dot"),
    "ridge": ScoreConfig(preconditioner="ridge", damping=0.5),
    "trak": ScoreConfig(similarity="trak", damping=1.0),
}


@pytest.fixture(autouse=True)
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples so small that bounds matter on stores of hundreds of clips."""
    monkeypatch.setattr(topk_search, "SAMPLE_ROOT", 1)
    monkeypatch.setattr(vote_search, "SAMPLE_FACTOR", 0.3)


def with_bytes(config: ScoreConfig, **changes) -> ScoreConfig:
    return ScoreConfig(**{**config.__dict__, "precision": "int8", **changes})


def columns(path: Path) -> dict[str, list]:
    return pq.read_table(path).to_pydict()


def best(table: dict[str, list], query: str, count: int) -> list[tuple[str, float]]:
    """A query's first clips by its exact scores, equal ones by id."""
    rows = sorted(zip(table[f"query/{query}"], table["clip_id"], strict=True), key=lambda row: (-row[0], row[1]))
    return [(clip_id, value) for value, clip_id in rows[:count]]


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize(("clips", "dim"), [(1, 3), (37, 7), (1500, 24)])
def test_listed_clips_are_exactly_the_best(tmp_path, stored, random_vectors, name, clips, dim) -> None:
    """Recall 1 and the same bits as scoring everything: duplicates, a zero vector, more listed than there are."""
    pool = random_vectors(clips, dim)
    pool["a zero"] = np.zeros(dim, np.float32)
    store, queries = stored("clips", pool), stored("queries", random_vectors(5, dim, "query", seed=1))
    exact = columns(score(store, queries, tmp_path / "exact.parquet", LINEAR[name]).path)
    summary = score(store, queries, tmp_path / "bytes.parquet", with_bytes(LINEAR[name], top_k=40))
    table = columns(summary.path)
    assert table["clip_id"] == exact["clip_id"]
    for query in queries.clip_ids:
        expected = best(exact, query, 40)
        listed = [(i, v) for i, v in zip(table["clip_id"], table[f"query/{query}"], strict=True) if v is not None]
        assert sorted(listed) == sorted(expected), f"{name}: {query} lists other clips, or other scores"
        entry = next(one for one in summary.queries if one.clip_id == query)
        assert list(entry.top) == [clip_id for clip_id, _ in expected[:10]]
    scale = np.abs([exact[f"query/{q}"] for q in queries.clip_ids]).max()
    for column in ("mean", "max"):
        np.testing.assert_allclose(table[column], exact[column], rtol=0, atol=0.02 * scale)
    assert summary.zero_examples == ("a zero",)
    assert summary.metadata["precision"] == "int8"
    order = sorted(range(len(pool)), key=lambda n: (-table["votes"][n], -table["mean"][n], table["clip_id"][n]))
    assert [table["rank"][n] for n in order] == list(range(1, len(pool) + 1))
    near = np.abs(np.array(table["votes"]) - exact["votes"])
    assert near.sum() <= 0.1 * sum(exact["votes"]) + 2, "votes by bytes differ only next to a threshold"
    assert sum(table["votes"]) == sum(one.voted for one in summary.queries)


@pytest.mark.parametrize("name", LINEAR)
def test_topk_is_the_head_of_the_exact_ranking(tmp_path, stored, random_vectors, name) -> None:
    pool = random_vectors(900, 16)
    for row in range(50):  # a crowd that bytes cannot tell apart, in which float32 can
        pool[f"crowd-{row:02d}"] = np.full(16, 3, np.float32) + np.float32(1e-4) * np.arange(row, row + 16) % 7
    store = stored("clips", pool)
    queries = stored("queries", {"q": np.ones(16, np.float32), **random_vectors(3, 16, "r", seed=5)})
    exact = columns(score(store, queries, tmp_path / "s.parquet", LINEAR[name]).path)
    for top in (1, 10, 2000):
        found = topk(store, queries, top, LINEAR[name])
        for place, query in enumerate(queries.clip_ids):
            pairs = [
                (store.ids[int(row)], float(v)) for row, v in zip(found.rows[place], found.scores[place], strict=True)
            ]
            assert pairs == best(exact, query, top)
    rough = topk(store, queries, 10, LINEAR[name], rescore=False)
    assert rough.rescored == 0
    assert rough.rows.shape == (4, 10)


def test_results_do_not_depend_on_shards_or_threads(tmp_path, stored, random_vectors) -> None:
    import torch

    pool, queries = random_vectors(400, 9), stored("q", random_vectors(4, 9, "q"))
    ids = sorted(pool)
    config = with_bytes(LINEAR["cosine"], top_k=7, groups={queries.clip_ids[1]: "one"})
    tables = []
    for number, shards in enumerate(([ids], [ids[1::3], ids[::3], ids[2::3]])):
        before = torch.get_num_threads()
        torch.set_num_threads(1 + 2 * number)
        path = score(stored(f"s{number}", pool, shards), queries, tmp_path / f"{number}.parquet", config).path
        torch.set_num_threads(before)
        tables.append(columns(path))
    assert tables[0] == tables[1]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_filter_ranks_some_clips_and_changes_no_score(tmp_path, random_vectors, stored, precision) -> None:
    pool = random_vectors(120, 6)
    store = Store.create(
        tmp_path / "s", identity=identity_of(6), columns_schema={"seconds": "float32", "camera": "string"}
    )
    facts = {i: {"seconds": n % 5, "camera": ("pan", "still", None)[n % 3]} for n, i in enumerate(sorted(pool))}
    store.append([StoreRow(i, pool[i], facts[i]) for i in sorted(pool)])
    queries = stored("q", random_vectors(3, 6, "q", seed=2))
    config = ScoreConfig(preconditioner="ridge", precision=precision, top_k=200 if precision == "int8" else None)
    whole = columns(score(store, queries, tmp_path / "a.parquet", config).path)
    kept = [i for i in sorted(pool) if facts[i]["seconds"] >= 2 and facts[i]["camera"] not in ("pan", None)]
    text = "seconds >= 2 and camera not in ['pan']"
    summary = score(store, queries, tmp_path / "b.parquet", ScoreConfig(**{**config.__dict__, "filter": text}))
    table = columns(summary.path)
    assert table["clip_id"] == kept
    place = {clip_id: row for row, clip_id in enumerate(whole["clip_id"])}
    for name in table:
        if name.startswith("query/"):
            assert table[name] == [whole[name][place[i]] for i in kept]
    assert summary.vote_count == max(1, len(kept) // 10)
    assert sorted(table["rank"]) == list(range(1, len(kept) + 1))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_several_stores_are_as_one(tmp_path, stored, random_vectors, precision) -> None:
    pool, queries = random_vectors(200, 8), stored("q", random_vectors(3, 8, "q"))
    ids = sorted(pool)
    parts = [ids[::2], ids[50:], ids[1:60:2]]  # overlapping, and together all of them
    stores = [stored(f"part{n}", {i: pool[i] for i in part}) for n, part in enumerate(parts)]
    one = stored("one", pool)
    config = ScoreConfig(preconditioner="ridge", precision=precision, top_k=9 if precision == "int8" else None)
    together = score(stores, queries, tmp_path / "a.parquet", config)
    alone = score(one, queries, tmp_path / "b.parquet", config)
    assert columns(together.path) == columns(alone.path)
    assert [s["clips"] for s in together.metadata["checkpoints"][0]["stores"]] == [len(part) for part in parts]
    changed = {**pool, ids[0]: -pool[ids[0]]}
    first = score([one, stored("other", changed)], queries, tmp_path / "c.parquet", config)
    assert columns(first.path) == columns(alone.path), "of a clip that several hold, the first store's counts"
    foreign = stored("foreign", pool, identity={**one.identity.to_json(), "gradient": {"weights": "cd"}})
    with pytest.raises(IdentityMismatch, match=r"gradient\.weights"):
        score([one, foreign], queries, tmp_path / "d.parquet", config)


def assert_listed_are_best(pairs, exact, tmp_path) -> None:
    """Bytes of several checkpoints list the best clips by mean score, with the same bits."""
    for name, config in LINEAR.items():
        if name != "cosine":
            exact = columns(score(*pairs[0], tmp_path / "e.parquet", config, checkpoints=pairs[1:]).path)
        summary = score(*pairs[0], tmp_path / "b.parquet", with_bytes(config, top_k=9), checkpoints=pairs[1:])
        table = columns(summary.path)
        found = topk(*pairs[0], 9, config, checkpoints=pairs[1:])
        for place, query in enumerate(pairs[0][1].clip_ids):
            expected = best(exact, query, 9)
            listed = [(i, v) for i, v in zip(table["clip_id"], table[f"query/{query}"], strict=True) if v is not None]
            assert sorted(listed) == sorted(expected), f"{name}: {query} lists other clips, or other scores"
            assert found.scores[place].tolist() == [value for _, value in expected]
        scale = np.abs([exact[f"query/{query}"] for query in pairs[0][1].clip_ids]).max()
        for column in ("mean", "max"):
            np.testing.assert_allclose(table[column], exact[column], rtol=0, atol=0.02 * scale)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_filter_with_checkpoints_goes_by_the_first_stores_columns(
    tmp_path, random_vectors, stored, precision
) -> None:
    """A clip's loss differs from checkpoint to checkpoint; the clips compared may not."""
    pools = [random_vectors(40, 5, seed=n) for n in range(2)]
    queries = [stored(f"q{n}", random_vectors(2, 5, "q", seed=7 + n)) for n in range(2)]
    stores = []
    for n, pool in enumerate(pools):
        store = Store.create(tmp_path / f"s{n}", identity=identity_of(5), columns_schema={"loss": "float32"})
        losses = {clip_id: float((place + 3 * n) % 7) for place, clip_id in enumerate(sorted(pool))}
        store.append([StoreRow(i, pool[i], {"loss": losses[i]}) for i in sorted(pool)])
        stores.append(store)
    config = ScoreConfig(precision=precision, top_k=100 if precision == "int8" else None)
    whole, some = (
        columns(score(stores[0], queries[0], tmp_path / f"s{text}.parquet",
                      ScoreConfig(**{**config.__dict__, "filter": text}),
                      checkpoints=[(stores[1], queries[1])]).path)
        for text in ("", "loss < 3")
    )  # fmt: skip
    kept = [i for place, i in enumerate(sorted(pools[0])) if place % 7 < 3]
    assert some["clip_id"] == kept
    for query in queries[0].clip_ids:
        expected = dict(zip(whole["clip_id"], whole[f"query/{query}"], strict=True))
        assert some[f"query/{query}"] == [expected[i] for i in kept]


def test_checkpoints_are_averaged(tmp_path, stored, random_vectors) -> None:
    pools = [random_vectors(60, 6, seed=n) for n in range(3)]
    asked = [random_vectors(4, 6, "q", seed=10 + n) for n in range(3)]
    identities = [{**identity_of(6), "gradient": {"weights": f"w{n}"}} for n in range(3)]
    pairs = [
        (stored(f"s{n}", pools[n], identity=identities[n]), stored(f"q{n}", asked[n], identity=identities[n]))
        for n in range(3)
    ]
    for config in (ScoreConfig(), ScoreConfig(preconditioner="whiten")):
        summary = score(*pairs[0], tmp_path / "s.parquet", config, checkpoints=pairs[1:])
        table = columns(summary.path)
        if config.preconditioner == "none":
            assert_listed_are_best(pairs, table, tmp_path)
        alone = [columns(score(*pair, tmp_path / f"{n}.parquet", config).path) for n, pair in enumerate(pairs)]
        for name in (f"query/{q}" for q in pairs[0][1].clip_ids):
            expected = np.float32(np.mean([np.array(one[name], np.float64) for one in alone], axis=0))
            np.testing.assert_allclose(table[name], expected, rtol=1e-7, atol=1e-9)
        assert len(summary.metadata["checkpoints"]) == 3
    missing = stored("less", dict(list(pools[1].items())[1:]), identity=identities[1])
    with pytest.raises(StoreError, match="checkpoints must hold the same clips"):
        score(*pairs[0], tmp_path / "x.parquet", checkpoints=[(missing, pairs[1][1])])


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_weights_count_in_votes_and_means(tmp_path, stored, random_vectors, precision) -> None:
    store, queries = stored("s", random_vectors(300, 8)), stored("q", random_vectors(4, 8, "q", seed=3))
    a, b, c, d = queries.clip_ids
    config = ScoreConfig(precision=precision, weights={a: 2, b: 0.5, c: 0}, groups={a: "g", b: "g", c: "h", d: "h"})
    table = columns(score(store, queries, tmp_path / "w.parquet", config).path)
    alone = [
        columns(score(store, queries, tmp_path / f"{q}.parquet", ScoreConfig(precision=precision, weights=only)).path)
        for q in (a, b, d)
        for only in [{other: float(other == q) for other in queries.clip_ids}]
    ]
    votes = sum(w * np.array(one["votes"]) for w, one in zip((2, 0.5, 1), alone, strict=True))
    np.testing.assert_allclose(table["votes"], votes, atol=1e-3)
    mean = sum(w * np.array(one["mean"]) for w, one in zip((2, 0.5, 1), alone, strict=True)) / 3.5
    np.testing.assert_allclose(table["mean"], mean, atol=1e-4)
    np.testing.assert_allclose(table["group/h/mean"], alone[2]["mean"], atol=1e-4)
    for wrong in ({"nobody": 1.0}, dict.fromkeys((a, b, c, d), 0.0), {c: 0.0, d: 0.0}):
        with pytest.raises(OptionError, match="weights must"):
            score(store, queries, tmp_path / "x.parquet", ScoreConfig(weights=wrong, groups=config.groups))


@pytest.mark.parametrize("preconditioner", ["none", "ridge"])
def test_relative_influence_is_that_of_brute_force(tmp_path, stored, random_vectors, preconditioner) -> None:
    pool, asked = random_vectors(80, 6), random_vectors(3, 6, "q", seed=4)
    pool["a zero"] = np.zeros(6, np.float32)
    shrunk = {"damping": 0.3} if preconditioner == "ridge" else {}
    config = ScoreConfig(similarity="relative", preconditioner=preconditioner, **shrunk)
    table = columns(score(stored("s", pool), stored("q", asked), tmp_path / "r.parquet", config).path)
    z = np.stack([pool[i] for i in sorted(pool)]).astype(np.float64)
    inverse = np.eye(6)
    if preconditioner == "ridge":
        moment = z.T @ z / (len(pool) - 1)
        inverse = np.linalg.inv(moment + 0.3 * np.trace(moment) / 6 * np.eye(6))
    effect = z @ inverse
    sizes = np.linalg.norm(effect, axis=1)
    for query, vector in asked.items():
        expected = effect @ vector / np.where(sizes > 0, sizes, 1)
        np.testing.assert_allclose(table[f"query/{query}"], expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_damping_is_chosen_on_the_other_half(tmp_path, stored, random_vectors) -> None:
    rng = np.random.default_rng(0)
    plain = {f"{n:03d}": rng.standard_normal(8).astype(np.float32) for n in range(40)}
    strong = rng.standard_normal((400, 8)) * np.array([30, 20, 10, 5, 1, 0.5, 0.2, 0.1])
    shaped = {f"{n:03d}": strong[n].astype(np.float32) for n in range(400)}
    chosen = [held_out_damping(stored(name, pool), False, "test") for name, pool in (("p", plain), ("s", shaped))]
    assert chosen[0] > chosen[1], "few clips without structure are trusted less than many with it"
    assert set(chosen) <= set(DAMPINGS)
    queries = stored("q", {"q": np.ones(8, np.float32)})
    config = ScoreConfig(similarity="dot", preconditioner="ridge", damping_auto=True)
    summary = score(tmp_path / "s", queries, tmp_path / "s.parquet", config)
    assert summary.metadata["damping"] == chosen[1]
    given = ScoreConfig(similarity="dot", preconditioner="ridge", damping=chosen[1])
    again = score(tmp_path / "s", queries, tmp_path / "t.parquet", given)
    assert columns(summary.path) == columns(again.path)


def test_the_cache_is_read_rebuilt_and_may_be_deleted(tmp_path, stored, random_vectors) -> None:
    store, queries = stored("s", random_vectors(90, 7)), stored("q", random_vectors(2, 7, "q"))
    config = ScoreConfig(precision="int8", top_k=5)

    def run() -> tuple[str, dict]:
        summary = score(tmp_path / "s", queries, tmp_path / "o.parquet", config)
        return summary.metadata["int8_cache"], columns(summary.path)

    first = run()
    (path,) = (tmp_path / "s" / "cache").glob("int8-*")
    assert (first[0], run()) == ("written", ("read", first[1]))
    whole = path.read_bytes()
    for damaged in (whole[:-1], b"x" * len(whole), whole[:4100] + b"\x7f" + whole[4101:], b""):
        path.write_bytes(damaged)
        assert run() == first, "a damaged cache is written again"
    path.unlink()
    assert run() == first
    store.append([StoreRow("added", np.ones(7, np.float32))])
    state, table = run()
    assert (state, len(table["clip_id"])) == ("grown", 91)
    assert len(list((tmp_path / "s" / "cache").glob("int8-*"))) == 1, "caches of earlier versions go"
    assert not list((tmp_path / "s" / "cache").glob(".tmp-*"))


def test_a_store_that_cannot_be_written_is_still_scored(tmp_path, stored, random_vectors) -> None:
    store, queries = stored("s", random_vectors(30, 4)), stored("q", random_vectors(2, 4, "q"))
    (store.path / "cache").write_text("in the way")
    summary = score(store, queries, tmp_path / "o.parquet", ScoreConfig(precision="int8"))
    assert summary.metadata["int8_cache"].startswith("not kept: ")


def test_byte_scores_beyond_float32_are_refused(tmp_path, stored) -> None:
    big = {"big": np.full(3, 1e38, np.float32)}
    with pytest.raises(StoreError, match="must fit float32"):
        score(
            stored("s", big), stored("q", big), tmp_path / "s.parquet", ScoreConfig(similarity="dot", precision="int8")
        )


def test_what_a_search_refuses_for_another_reason_is_not_called_an_overflow() -> None:
    refused = ValueError("vote: store must be of at most 9 rows, got 10; search it in parts")
    with pytest.raises(StoreError, match="the int8 vectors cannot be searched: vote: store"), search_errors():
        raise refused
    with pytest.raises(OptionError, match=r"^top$"), search_errors():
        raise OptionError("top")


@pytest.mark.parametrize("rescore", [True, False])
def test_lists_beyond_float32_are_refused(stored, rescore) -> None:
    big = {"big": np.full(3, 1e25, np.float32)}
    with pytest.raises(StoreError, match=r"must fit float32.*; use cosine"):
        topk(stored("s", big), stored("q", big), 1, ScoreConfig(similarity="dot"), rescore=rescore)


@pytest.mark.parametrize("name", ["cuda:0", "cuda:2", "gpu7", "cpu", "cuda:01"])
def test_devices_that_are_not_there_are_refused(tmp_path, stored, random_vectors, monkeypatch, name) -> None:
    there = 2 if name == "cuda:2" else 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: name != "cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    store, config = stored("s", random_vectors(4, 3)), ScoreConfig(precision="int8", devices=(name,))
    for run in (lambda: score(store, store, tmp_path / "s.parquet", config), lambda: topk(store, store, 1, config)):
        with pytest.raises(OptionError, match=f"devices must be GPUs of this machine .*, got {name}; leave"):
            run()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a > 1", [False, False, True, False]),
        ("not a > 1", [True, True, False, False]),
        ("a in (0, 2) or b == 'y'", [True, True, True, False]),
        ("b != 'x' and not flag", [False, False, False, False]),
        ("flag", [True, False, False, True]),
        ("a >= 1 and a <= 1", [False, True, False, False]),
        ("b not in ['x']", [False, True, False, False]),
    ],
)
def test_filters(text, expected) -> None:
    import pyarrow as pa

    table = pa.table({"a": [0, 1, 2, None], "b": ["x", "y", None, None], "flag": [True, False, None, True]})
    if text == "b != 'x' and not flag":
        expected = [False, True, False, False]
    assert Filter(text, "score").mask(table, "score").tolist() == expected


@pytest.mark.parametrize("text", ["", "a >", "__import__('os')", "a.b > 1", "a > b", "1 < a < 2", "a + 1 > 2", "f(a)"])
def test_what_is_no_filter_is_refused(text) -> None:
    with pytest.raises(OptionError, match="score: filter must be"):
        Filter(text, "score")


def test_filters_that_fit_nothing_are_refused(tmp_path, stored, random_vectors) -> None:
    store, queries = stored("s", random_vectors(5, 4)), stored("q", random_vectors(1, 4, "q"))
    for text, error, message in (
        ("nothing == 1", OptionError, "names must be among"),
        ("path > 3", OptionError, "fits the columns' types"),
        ("path == 'x'", StoreError, "no clip passes the filter"),
    ):
        with pytest.raises(error, match=message):
            score(store, queries, tmp_path / "s.parquet", ScoreConfig(filter=text))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"precision": "int8", "preconditioner": "whiten"}, "precision must be float32 with whiten"),
        ({"precision": "int8", "similarity": "relative"}, "precision must be float32 with whiten"),
        ({"devices": ("cuda:0",)}, "devices must be left out with precision float32"),
        ({"damping_auto": True}, "damping_auto must be left out"),
        ({"top_k": 0}, "top_k must be an integer from 1"),
        ({"weights": {"q": -1}}, "weights must be clip id -> number"),
        ({"similarity": "trak", "preconditioner": "whiten"}, "take ridge"),
        ({"similarity": "trak", "preconditioner": "none"}, "preconditioner must be ridge with similarity trak"),
        ({"damping": 3.0}, "damping must be left out without a preconditioner, got 3"),
        (
            {"preconditioner": "ridge", "damping": 3.0, "damping_auto": True},
            "damping must be left out with damping_auto",
        ),
        ({"top_k": 100}, "top_k must be left out with precision float32"),
        ({"precision": "int8", "block_rows": 4096}, "block_rows must be left out with precision int8"),
        ({"precision": "int8", "top_k": True}, "top_k must be an integer from 1"),
    ],
)
def test_wrong_options_say_what_is_right_too(options, reason) -> None:
    with pytest.raises(OptionError, match=reason):
        ScoreConfig(**options)


def test_options_that_are_left_out_take_the_defaults_that_apply() -> None:
    """None is not given; what is applied, and written, is the default of the combination."""
    plain, trak, quick = ScoreConfig(), ScoreConfig(similarity="trak"), ScoreConfig(precision="int8")
    assert (plain.applied_preconditioner, plain.applied_damping, plain.applied_top_k) == ("none", None, None)
    assert (trak.applied_preconditioner, trak.applied_damping) == ("ridge", 3.0)
    assert trak.preconditioner is None, "a config is never rewritten"
    assert quick.applied_top_k == 100
    written = trak.to_json()
    assert (written["similarity"], written["preconditioner"], written["damping"]) == ("trak", "ridge", 3.0)
    assert ScoreConfig(similarity="trak", preconditioner="ridge").applied_preconditioner == "ridge"
    assert ScoreConfig(preconditioner="ridge", damping_auto=True).to_json()["damping"] is None


def test_the_summary_says_what_was_scored(tmp_path, stored, random_vectors) -> None:
    store, queries = stored("s", random_vectors(50, 4)), stored("q", random_vectors(2, 4, "q"))
    summary = score(store, queries, tmp_path / "s.parquet", ScoreConfig(precision="int8", top_k=3))
    written = json.loads(summary.summary_path.read_text())
    assert written["checkpoints"][0]["stores"][0]["version"] == store.version == written["store_version"]
    assert written["coverage"]["voted_clips"] + written["coverage"]["voteless_clips"] == 50
    assert (written["precision"], written["top_k"]) == ("int8", 3)
