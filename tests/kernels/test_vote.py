"""vote against a full sort, and brackets that fail."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import motive_kernels as mk
from motive_kernels.ops.vote.api import _vote
from motive_kernels.search import bracket, cpp
from motive_kernels.search import elect as vote_search
from motive_kernels.search.base import Queries, Rows
from motive_kernels.search.elect import elect
from motive_kernels.search.stream import streamed
from tests.kernels.search_data import stores, vectors


@pytest.fixture(autouse=True)
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples so small that bounds matter on stores of hundreds of rows."""
    monkeypatch.setattr(vote_search, "SAMPLE_FACTOR", 0.3)


def full_sort(scores: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """docs/scoring.md, section 2, for scores [q, n]."""
    count = max(1, int(Fraction(repr(share)) * scores.shape[1]))
    thresholds = np.sort(scores, axis=1)[:, scores.shape[1] - count]
    return (scores >= thresholds[:, None]).sum(axis=0), thresholds


@pytest.mark.parametrize("share", [0.1, 0.29, 0.5, 1.0, 1e-9])
@pytest.mark.parametrize(("n", "q"), [(1, 1), (10, 3), (997, 17), (3001, 50), (70, 1000)])
def test_votes_are_those_of_a_full_sort(share, n, q) -> None:
    store, scales = mk.quantize_rows(vectors(n, 12))
    queries = vectors(q, 12, seed=1)
    asked = Queries.of(queries, store)
    products = asked.values.double() @ store.double().T
    scores = (products.float() * scales[None]) * asked.scales[:, None]
    votes, thresholds = mk.vote(queries, store, share, scales=scales, impl="cpp")
    expected = full_sort(scores.numpy(), share)
    np.testing.assert_array_equal(votes.numpy(), expected[0])
    np.testing.assert_array_equal(thresholds.numpy(), expected[1])


@pytest.mark.parametrize("name", list(stores(torch.ones(2, 2))))
def test_implementations_agree_with_filters_and_weights(level, name) -> None:
    store, scales = stores(vectors(900, 10))[name]
    queries = vectors(11, 10, seed=1)
    keep = torch.rand(900, generator=torch.Generator().manual_seed(0)) < 0.4
    weights = torch.arange(11, dtype=torch.int32) * 1000
    for kept in (None, keep):
        for given in (None, weights):
            ours, plain = (
                mk.vote(queries, store, 0.1, scales=scales, keep=kept, weights=given, impl=impl)
                for impl in ("cpp", "torch")
            )
            torch.testing.assert_close(ours[1], plain[1], rtol=1e-5, atol=1e-5, msg=level)
            if store.dtype == torch.int8:
                assert torch.equal(ours[0], plain[0])
            else:  # rounding may move a row across a threshold that equals its score
                assert int((ours[0] != plain[0]).sum()) <= 22
            if kept is not None:
                assert not bool(ours[0][~kept].any())


def test_results_do_not_depend_on_threads_batch_or_split(threads) -> None:
    store, scales = mk.quantize_rows(vectors(7001, 16))
    queries = vectors(9, 16, seed=1)
    with threads(1):
        votes, thresholds = mk.vote(queries, store, 0.1, scales=scales)
    with threads(3):
        again = mk.vote(queries, store, 0.1, scales=scales)
        alone = [mk.vote(one[None], store, 0.1, scales=scales) for one in queries]
    assert torch.equal(votes, again[0])
    assert torch.equal(votes, sum(one[0] for one in alone))
    assert torch.equal(thresholds, torch.cat([one[1] for one in alone]))
    rows, asked = Rows(store, scales), Queries.of(queries, store)
    parts = [rows.part(0, 3), rows.part(3, 3), rows.part(3, 6000), rows.part(6000, 7001)]
    for run, split in ((cpp.scan, parts), (streamed(cpp.scan, [torch.device("cpu")] * 2, 999), [rows])):
        done = elect(run, asked, split, 700)
        assert torch.equal(done.votes, votes)
        assert torch.equal(done.thresholds, thresholds)


@pytest.mark.parametrize("high", [True, False])
def test_a_bracket_that_fails_is_widened(monkeypatch, high) -> None:
    """The sample sees only the worst rows, or only the best: the bracket is wrong by almost the whole store."""
    z = torch.cat([vectors(2000, 6)])
    store, scales = mk.quantize_rows(z)
    query = vectors(1, 6, seed=3)
    order = mk.topk_dot(query, store, 2000, scales=scales, impl="torch")[1][0]
    worst = order.flip(0) if not high else order
    monkeypatch.setattr(bracket, "choose_rows", lambda total, count: worst[:count].sort().values)
    passes = []
    for count in (1, 5, 300, 1000, 1999, 2000):
        done = elect(cpp.scan, Queries.of(query, store), [Rows(store, scales)], count)
        passes.append(done.passes)
        scores = mk.topk_dot(query, store, 2000, scales=scales, impl="torch")[0][0]
        assert float(done.thresholds[0]) == float(scores[count - 1])
        assert int(done.votes.sum()) == int((scores >= scores[count - 1]).sum()) == int(done.voted[0])
        assert int(done.tied[0]) == int((scores == scores[count - 1]).sum())
    assert max(passes) > 1, "the adversarial sample must make a bracket fail"


@pytest.mark.parametrize("distinct", [1, 2, 5])
def test_crowds_of_equal_scores(distinct) -> None:
    z = vectors(distinct, 5)[torch.arange(4000) % distinct]
    store, scales = mk.quantize_rows(z)
    queries = vectors(6, 5, seed=2)
    for share in (0.001, 0.1, 0.5, 0.9, 1.0):
        ours, plain = (mk.vote(queries, store, share, scales=scales, impl=impl) for impl in ("cpp", "torch"))
        assert torch.equal(ours[0], plain[0])
        assert torch.equal(ours[1], plain[1])


def test_one_pass_is_enough_where_nothing_is_adversarial() -> None:
    store, scales = mk.quantize_rows(vectors(20000, 8))
    queries = Queries.of(vectors(30, 8, seed=1)[11:], store)  # the zero query has but one score
    assert elect(cpp.scan, queries, [Rows(store, scales)], 2000).passes == 1


@pytest.mark.parametrize("impl", ["cpp", "torch"])
def test_rows_that_are_not_finite_are_refused_by_number(impl) -> None:
    z = vectors(3000, 6)
    z[2999, 0] = math.nan
    with pytest.raises(ValueError, match=r"vote: store .* NaN or infinity in row 2999"):
        mk.vote(torch.ones(2, 6), z, 0.1, impl=impl)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 0}, r"share must be in \(0, 1\]"),
        ({"share": 1.5}, r"share must be in \(0, 1\]"),
        ({"share": math.nan}, r"share must be in \(0, 1\]"),
        ({"keep": torch.zeros(5, dtype=torch.bool)}, "at least one row that takes part"),
        ({"store": torch.ones(0, 4)}, "at least one row that takes part"),
        ({"weights": torch.ones(1)}, r"weights must be int32 \[1\]"),
        ({"weights": torch.tensor([-1], dtype=torch.int32)}, r"weights must be int32 \[1\]"),
    ],
)
def test_wrong_arguments_say_what_is_right(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        mk.vote(**{"queries": torch.ones(1, 4), "store": torch.ones(5, 4), "share": 0.1, **change})


def test_registered() -> None:
    store, scales = mk.quantize_rows(vectors(9, 6))
    for statistics in (False, True):
        torch.library.opcheck(_vote, (vectors(2, 6), store, 0.5, scales, None, None, None, statistics))


@pytest.mark.parametrize("impl", ["cpp", "torch"])
@pytest.mark.parametrize("kept", [False, True])
def test_statistics_are_those_of_all_scores(level, impl, kept) -> None:
    store, scales = mk.quantize_rows(vectors(900, 10))
    queries = vectors(11, 10, seed=1)
    keep = torch.arange(900) % 3 != 1 if kept else None
    plain = mk.vote(queries, store, 0.1, scales=scales, keep=keep, impl=impl)
    *votes, found = mk.vote(queries, store, 0.1, scales=scales, keep=keep, statistics=True, impl=impl)
    assert all(torch.equal(a, b) for a, b in zip(plain, votes, strict=True)), "statistics change no vote"
    every = mk.dot_scores(queries, store, scales=scales, impl="torch")
    there = every if keep is None else every[:, keep]
    thresholds = plain[1][:, None]
    np.testing.assert_array_equal(found.voted.numpy(), (there >= thresholds).sum(dim=1).numpy(), level)
    np.testing.assert_array_equal(found.tied.numpy(), (there == thresholds).sum(dim=1).numpy(), level)
    np.testing.assert_array_equal(found.lowest.numpy(), there.amin(dim=1).numpy(), level)
    np.testing.assert_array_equal(found.highest.numpy(), there.amax(dim=1).numpy(), level)
    allowed = 1e-7 * there.double().abs().sum(dim=1)  # short partial sums are float32
    assert bool(((found.total - there.double().sum(dim=1)).abs() <= allowed).all()), level
    best = every.amax(dim=0)
    best = best if keep is None else torch.where(keep, best, -math.inf)
    np.testing.assert_array_equal(found.best.numpy(), best.numpy(), level)
