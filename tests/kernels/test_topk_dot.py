"""topk_dot against float64 brute force and a stable sort."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import motive_kernels as mk
from motive_kernels.ops.topk_dot.api import _topk_dot
from motive_kernels.search import best as topk_search
from motive_kernels.search import bracket, cpp
from motive_kernels.search.base import Found, Queries, Rows, Wanted
from motive_kernels.search.best import search
from motive_kernels.search.stream import streamed
from tests.kernels.search_data import stores, vectors

SHAPES = [(1, 1, 1), (2, 3, 1), (37, 5, 3), (997, 31, 17), (211, 64, 50), (60, 9, 1000)]


@pytest.fixture(autouse=True)
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples so small that bounds matter, and fail, on stores of hundreds of rows."""
    monkeypatch.setattr(topk_search, "SAMPLE_ROOT", 1)


def brute_force(scores: torch.Tensor, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores [q, top] and rows by numpy's lexsort."""
    table = scores.numpy()
    order = np.stack([np.lexsort((np.arange(row.size), -row))[:top] for row in table])
    return np.take_along_axis(table, order, 1), order


@pytest.mark.parametrize(("n", "k", "q"), SHAPES)
def test_bytes_are_exact_at_every_level(level, n, k, q) -> None:
    """The definition in Python integers, rounded to float32 twice, gives the same bits."""
    values, scales = mk.quantize_rows(vectors(n, k))
    queries = vectors(q, k, seed=1)
    asked = Queries.of(queries, values)
    products = torch.from_numpy(asked.values.numpy().astype(np.int64) @ values.numpy().astype(np.int64).T)
    assert int(products.abs().max()) < 2**31
    scores = (products.float() * scales[None]) * asked.scales[:, None]
    for top in (1, 10, n, n + 9):
        found = mk.topk_dot(queries, values, top, scales=scales, impl="cpp")
        expected = brute_force(scores, top)
        np.testing.assert_array_equal(found[0].numpy(), expected[0], f"{level} top {top}")
        np.testing.assert_array_equal(found[1].numpy(), expected[1], f"{level} top {top}")


@pytest.mark.parametrize("impl", ["cpp", "torch"])
@pytest.mark.parametrize(("n", "k", "q"), SHAPES)
def test_scores_are_those_of_float64(impl, n, k, q) -> None:
    z, queries = vectors(n, k), vectors(q, k, seed=1)
    for name, (store, scales) in stores(z).items():
        factor = torch.ones(n).double() if scales is None else scales.double()
        exact = (queries.double() @ store.double().T) * factor
        size = queries.double().norm(dim=1)[:, None] * (store.double().norm(dim=1) * factor).max()
        size = size.clamp_min(1e-30)
        scores, rows = mk.topk_dot(queries, store, 20, scales=scales, impl=impl)
        assert scores.shape == rows.shape == (q, min(20, n))
        error = (exact.gather(1, rows) - scores).abs() / size
        allowed = 2e-4 if "int8" in name else 2e-6
        assert float(error.max()) < allowed, f"{name}: a score is {float(error.max()):.1e} of its size off"
        best = exact.sort(dim=1, descending=True).values[:, : rows.shape[1]]
        assert float(((best - scores).abs() / size).max()) < allowed, f"{name}: a better row was missed"
        assert all(len(set(row)) == len(row) for row in rows.tolist()), f"{name}: a row is listed twice"
        copies = (scores[:, 1:] == scores[:, :-1]) & (rows[:, 1:] < rows[:, :-1])
        assert not bool(copies.any()), f"{name}: of equal scores the lower row comes first"


@pytest.mark.parametrize("name", list(stores(torch.ones(2, 2))))
@pytest.mark.parametrize("largest", [True, False])
def test_implementations_agree(name, largest) -> None:
    store, scales = stores(vectors(700, 19))[name]
    queries = vectors(7, 19, seed=1)
    keep = torch.rand(700, generator=torch.Generator().manual_seed(0)) < 0.1
    for kept in (None, keep):
        for top in (5, 200):
            ours, plain = (
                mk.topk_dot(queries, store, top, scales=scales, keep=kept, largest=largest, impl=impl)
                for impl in ("cpp", "torch")
            )
            if store.dtype == torch.int8:
                assert torch.equal(ours[0], plain[0])
                assert torch.equal(ours[1], plain[1])
            torch.testing.assert_close(ours[0], plain[0], rtol=1e-5, atol=1e-5)
            assert torch.equal(ours[1] >= 0, plain[1] >= 0)
            if kept is not None:
                assert bool(kept[ours[1][ours[1] >= 0]].all()), "a row that is not kept was found"


@pytest.mark.parametrize("name", list(stores(torch.ones(2, 2))))
def test_results_do_not_depend_on_threads_batch_or_split(threads, name) -> None:
    store, scales = stores(vectors(5000, 24))[name]
    queries = vectors(21, 24, seed=1)
    with threads(1):
        whole = mk.topk_dot(queries, store, 40, scales=scales, impl="cpp")
    with threads(3):
        again = mk.topk_dot(queries, store, 40, scales=scales, impl="cpp")
        alone = [mk.topk_dot(one[None], store, 40, scales=scales, impl="cpp") for one in queries]
    for other in (again, [torch.cat(parts) for parts in zip(*alone, strict=True)]):
        assert torch.equal(whole[0], other[0])
        assert torch.equal(whole[1], other[1])
    rows = Rows(store, scales)
    for edges in ([0, 1, 1, 4000, 5000], [0, 2500, 5000]):
        parts = [rows.part(a, b) for a, b in zip(edges, edges[1:], strict=False)]
        found = search(cpp.scan, Queries.of(queries, store), parts, 40)
        assert torch.equal(found[0], whole[0])
        assert torch.equal(found[1], whole[1])
    blocks = streamed(cpp.scan, [torch.device("cpu")] * 3, block_bytes=70 * 24)
    found = search(blocks, Queries.of(queries, store), [rows], 40)
    assert torch.equal(found[0], whole[0])
    assert torch.equal(found[1], whole[1])


@pytest.mark.parametrize("spread", [True, False], ids=["spread evenly", "all in one block"])
def test_a_block_has_room_for_its_share_of_the_lists(spread) -> None:
    """2,000 of 100,000 rows are listed, with room for 2,500: lists of a block need not have room for all of them."""
    n, size, capacity = 100_000, 1000, 2500
    z = torch.zeros(n, 4)
    z[:: n // 2000 if spread else 1][:2000] = 1
    room: list[int] = []

    def scan(queries: Queries, rows: Rows, wanted: Wanted) -> Found:
        room.append(wanted.capacity)
        return cpp.scan(queries, rows, wanted)

    blocks = streamed(scan, [torch.device("cpu")] * 2, block_bytes=size * 16)
    low = torch.full((3,), 0.5)
    wanted = Wanted(low, torch.full_like(low, math.inf), capacity)
    found = blocks(Queries.of(torch.ones(3, 4), z), Rows(z), wanted)
    assert found.listed.tolist() == [2000] * 3
    assert found.rows.shape == (3, 2000), "lists are as wide as what is listed"
    for rows in found.rows:
        assert torch.equal(rows.sort().values, z[:, 0].nonzero()[:, 0])
    assert (found.scores == 4).all()
    share = int(1.5 * capacity * size / n) + 1024
    assert sorted(set(room)) == [min(size, share)], "a block's room does not grow with the store"


def test_a_list_that_is_longer_in_one_block_is_made_again() -> None:
    z = torch.zeros(50_000, 4)
    z[:4000] = 1
    blocks = streamed(cpp.scan, [torch.device("cpu")], block_bytes=5000 * 16)
    low = torch.full((1,), 0.5)
    found = blocks(Queries.of(torch.ones(1, 4), z), Rows(z), Wanted(low, torch.full_like(low, math.inf), 4000))
    assert torch.equal(found.rows[0].sort().values, torch.arange(4000))
    crowded = blocks(Queries.of(torch.ones(1, 4), z), Rows(z), Wanted(low, torch.full_like(low, math.inf), 3000))
    assert crowded.listed.tolist() == [4000], "the caller sees that the list has no room"


def close_calls(n: int, k: int) -> torch.Tensor:
    """Rows of equal length whose scores differ in the last digits, and others far away."""
    generator = torch.Generator().manual_seed(n)
    z = torch.ones(n, k) + 3e-3 * torch.randn(n, k, generator=generator)
    z[::3] = torch.randn(len(z[::3]), k, generator=generator)
    return z


@pytest.mark.parametrize(
    ("n", "k", "q"), [(1999, 24, 13), (3001, 33, 50), (2500, 530, 17), (1500, 131, 4), (700, 96, 1)]
)
def test_lists_of_bytes_are_those_of_a_pass_that_makes_every_score(level, threads, n, k, q) -> None:
    """A pass for lists alone may make most products with fewer bits; what it finds must not show it."""
    for z in (vectors(n, k), close_calls(n, k)):
        values, scales = mk.quantize_rows(z)
        values[5] = -128  # what quantize_rows never makes
        queries = torch.cat([vectors(q, k, seed=1)[:-1], torch.ones(1, k)])
        asked = Queries.of(queries, values)
        keep = torch.arange(n) % 5 != 0
        every = (asked.values.double() @ values.double().T).float() * scales[None] * asked.scales[:, None]
        for share in (0.002, 0.03, 0.6):
            low = every.sort(dim=1).values[:, int((1 - share) * (n - 1))].contiguous()
            for kept in (None, keep):
                for count in (1, 3):
                    with threads(count):
                        infinity = torch.full_like(low, math.inf)
                        found = cpp.scan(asked, Rows(values, scales, kept), Wanted(low, infinity, n))
                for j in range(q):
                    there = (every[j] > low[j]) & (keep if kept is not None else True)
                    length, rows = int(found.listed[j]), there.nonzero()[:, 0]
                    by_row = found.rows[j, :length].argsort()
                    np.testing.assert_array_equal(found.rows[j, :length][by_row], rows, f"{level} share {share}")
                    np.testing.assert_array_equal(found.scores[j, :length][by_row], every[j, rows], level)


def test_factors_of_any_size_and_sign(level) -> None:
    """Factors that overflow, vanish or turn a score round, where a bound on rounding would be wrong."""
    values, _ = mk.quantize_rows(vectors(1200, 40))
    sizes = torch.tensor([1.0, -1.0, 0.0, 1e-44, 1e-38, 1e-30, 1e-20, 1e20, 1e27, -1e-40])
    scales = sizes[torch.arange(1200) % len(sizes)]
    for size in (1.0, 1e-37, 1e-30, 1e3):
        queries = size * vectors(12, 40, seed=1)
        for top in (1, 150):
            ours, plain = (mk.topk_dot(queries, values, top, scales=scales, impl=impl) for impl in ("cpp", "torch"))
            np.testing.assert_array_equal(ours[0].numpy(), plain[0].numpy(), f"{level} {size} {top}")
            np.testing.assert_array_equal(ours[1].numpy(), plain[1].numpy(), f"{level} {size} {top}")
    scales[777] = 3e38
    for impl in ("cpp", "torch"):
        with pytest.raises(ValueError, match="NaN or infinity in row 777"):
            mk.topk_dot(1e3 * vectors(12, 40, seed=1), values, 3, scales=scales, impl=impl)


@pytest.mark.parametrize("best", [True, False])
def test_a_sample_that_misleads_costs_time_and_no_row(monkeypatch, best) -> None:
    """It holds the best rows alone, so that the bound is too high, or the worst, so that everything is listed."""
    store, scales = mk.quantize_rows(vectors(2000, 6))
    queries = vectors(3, 6, seed=3)
    plain = mk.topk_dot(queries, store, 2000, scales=scales, impl="torch")
    order = plain[1][0] if best else plain[1][0].flip(0)
    monkeypatch.setattr(bracket, "choose_rows", lambda total, count: order[:count].sort().values)
    for top in (1, 30, 500, 1999):
        ours = mk.topk_dot(queries, store, top, scales=scales, impl="cpp")
        assert torch.equal(ours[0], plain[0][:, :top])
        assert torch.equal(ours[1], plain[1][:, :top])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_crowds_of_equal_rows(share) -> None:
    """Nothing but ties, or half of them: the list would be the store, so equals are taken in order of row."""
    z = vectors(3000, 8)
    z[torch.rand(3000, generator=torch.Generator().manual_seed(1)) >= share] = z[0].clone()
    values, scales = mk.quantize_rows(z)
    for queries in (z[:1], -z[:1], z[5:9]):
        for top in (1, 100, 2999):
            ours = mk.topk_dot(queries, values, top, scales=scales, impl="cpp")
            plain = mk.topk_dot(queries, values, top, scales=scales, impl="torch")
            assert torch.equal(ours[0], plain[0])
            assert torch.equal(ours[1], plain[1])


def test_zero_rows_score_zero_and_nothing_kept_gives_nothing() -> None:
    values, scales = mk.quantize_rows(torch.zeros(5, 3))
    scores, rows = mk.topk_dot(torch.ones(1, 3), values, 2, scales=scales)
    assert scores.tolist() == [[0, 0]]
    assert rows.tolist() == [[0, 1]]
    for largest, filler in ((True, -math.inf), (False, math.inf)):
        scores, rows = mk.topk_dot(
            torch.ones(1, 3), values, 2, scales=scales, keep=torch.zeros(5, dtype=torch.bool), largest=largest
        )
        assert scores.tolist() == [[filler, filler]]
        assert rows.tolist() == [[-1, -1]]
    assert mk.topk_dot(torch.ones(2, 3), torch.ones(0, 3), 4)[0].shape == (2, 0)


@pytest.mark.parametrize("impl", ["cpp", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_rows_that_are_not_finite_are_refused_by_number(impl, dtype) -> None:
    for value in (math.nan, math.inf):
        z = vectors(5000, 6).clamp(-9, 9).to(dtype)
        z[4321, 5] = value
        z[4400, 5] = value
        with pytest.raises(ValueError, match="NaN or infinity in row 4321"):
            mk.topk_dot(torch.ones(2, 6), z, 3, impl=impl)


def test_wide_int8_sums_fit() -> None:
    """All elements at their largest, so wide that queries have fewer levels than 16 bits."""
    z = torch.ones(3, 6001)
    z[1] = -1
    values, scales = mk.quantize_rows(z)
    scores, rows = mk.topk_dot(torch.ones(1, 6001), values, 3, scales=scales)
    assert rows.tolist() == [[0, 2, 1]]
    np.testing.assert_allclose(scores[0], np.array([1, 1, -1]) * math.sqrt(6001), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top": 0}, "top must be a positive integer"),
        ({"queries": torch.ones(1, 3)}, r"queries must be \[q >= 1, 4\]"),
        ({"queries": torch.ones(0, 4)}, r"queries must be \[q >= 1, 4\]"),
        ({"queries": torch.full((1, 4), math.nan)}, "queries must be finite"),
        ({"store": torch.ones(5, 4).bfloat16()}, "store must be int8, float16 or float32"),
        ({"scales": torch.ones(4)}, r"scales must be float32 \[5\]"),
        ({"scales": torch.tensor([1, 1, math.nan, 1, 1])}, "scales must be finite, got NaN or infinity in row 2"),
        ({"keep": torch.ones(5)}, r"keep must be bool \[5\]"),
        ({"store": torch.zeros(1, 1 << 18, dtype=torch.int8)}, "wide as int8"),
    ],
)
def test_wrong_arguments_say_what_is_right(change, message) -> None:
    arguments = {"queries": torch.ones(1, 4), "store": torch.ones(5, 4), "top": 2, **change}
    with pytest.raises(ValueError, match=message):
        mk.topk_dot(**arguments)


def test_registered() -> None:
    values, scales = mk.quantize_rows(vectors(9, 6))
    torch.library.opcheck(_topk_dot, (vectors(2, 6), values, 3, scales, None, True, None))
