"""dot_scores against float64, its agreement with topk_dot, and streaming through devices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import motive_kernels as mk
from motive_kernels.ops.dot_scores.api import _dot_scores
from motive_kernels.search import cpp, passes, stream
from tests.kernels.search_data import stores, vectors

SHAPES = [(1, 1, 1), (2, 3, 1), (997, 31, 17), (60, 9, 100)]


@pytest.mark.parametrize("impl", ["cpp", "torch"])
@pytest.mark.parametrize(("n", "k", "q"), SHAPES)
def test_scores_are_those_of_float64(impl, n, k, q) -> None:
    z, queries = vectors(n, k), vectors(q, k, seed=1)
    for name, (store, scales) in stores(z).items():
        factor = torch.ones(n).double() if scales is None else scales.double()
        exact = (queries.double() @ store.double().T) * factor
        size = queries.double().norm(dim=1)[:, None] * (store.double().norm(dim=1) * factor).max()
        scores = mk.dot_scores(queries, store, scales=scales, impl=impl)
        assert scores.shape == (q, n)
        error = float(((exact - scores).abs() / size.clamp_min(1e-30)).max())
        assert error < (2e-4 if "int8" in name else 2e-6), f"{name}: a score is {error:.1e} of its size off"


@pytest.mark.parametrize("name", list(stores(torch.ones(2, 2))))
@pytest.mark.parametrize("kept", [False, True])
def test_scores_have_the_bits_of_topk_dot(level, name, kept) -> None:
    store, scales = stores(vectors(700, 19))[name]
    queries = vectors(7, 19, seed=1)
    keep = torch.arange(700) % 3 != 0 if kept else None
    every = mk.dot_scores(queries, store, scales=scales, keep=keep, impl="cpp")
    best, rows = mk.topk_dot(queries, store, 700, scales=scales, keep=keep, impl="cpp")
    there = rows >= 0
    found = every.gather(1, rows.clamp_min(0))
    np.testing.assert_array_equal((found + 0.0)[there].numpy(), best[there].numpy(), level)
    if keep is not None:
        assert bool((every[:, ~keep] == -math.inf).all())
        assert int(there.sum()) == 7 * int(keep.sum())
    if store.dtype == torch.int8:
        plain = mk.dot_scores(queries, store, scales=scales, keep=keep, impl="torch")
        np.testing.assert_array_equal(every.numpy(), plain.numpy(), level)


@pytest.mark.parametrize("name", list(stores(torch.ones(2, 2))))
def test_one_query_has_the_bits_that_it_has_among_others(level, name) -> None:
    """One query's scores are each row's best; those of several are listed."""
    store, scales = stores(vectors(700, 19))[name]
    queries = vectors(4, 19, seed=1)
    keep = torch.arange(700) % 3 != 0
    together = mk.dot_scores(queries, store, scales=scales, keep=keep, impl="cpp")
    for query, scores in zip(queries, together, strict=True):
        alone = mk.dot_scores(query[None], store, scales=scales, keep=keep, impl="cpp")
        np.testing.assert_array_equal(alone[0].numpy() + 0.0, scores.numpy() + 0.0, level)


def test_one_query_makes_no_list(monkeypatch) -> None:
    """A list has 12 bytes for each row: 1.2 GB for 1e8 rows, where their scores take 0.4."""
    room: list[int] = []

    def scan(queries, rows, wanted):
        room.append(wanted.capacity)
        return cpp.scan(queries, rows, wanted)

    monkeypatch.setitem(passes.BY_NAME, "cpp", scan)  # type: ignore[arg-type]
    monkeypatch.setattr(stream, "BLOCK_BYTES", 70 * 24)
    store, scales = mk.quantize_rows(vectors(900, 24))
    mk.dot_scores(vectors(1, 24, seed=1), store, scales=scales, devices=["cpu"])
    assert len(room) == 13
    assert max(room) == 1


def test_streaming_through_devices_changes_no_bit(monkeypatch) -> None:
    """The public ops scan block by block where devices are named; the CPU stands in for GPUs."""
    monkeypatch.setattr(stream, "BLOCK_BYTES", 70 * 24)
    store, scales = mk.quantize_rows(vectors(900, 24))
    queries = vectors(5, 24, seed=1)
    keep = torch.arange(900) % 4 != 1
    given = {"scales": scales, "keep": keep}
    for devices in ("cpu", ["cpu"], [torch.device("cpu")] * 3):
        assert torch.equal(
            mk.dot_scores(queries, store, **given), mk.dot_scores(queries, store, **given, devices=devices)
        )
        for whole, parts in (
            (mk.topk_dot(queries, store, 9, **given), mk.topk_dot(queries, store, 9, **given, devices=devices)),
            (mk.vote(queries, store, 0.1, **given), mk.vote(queries, store, 0.1, **given, devices=devices)),
        ):
            assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize(
    ("devices", "error", "message"),
    [
        (["cpu", "cuda:0"], ValueError, "devices must be all of one type"),
        (["cuda:77"], ValueError, "devices must be among the .* GPUs"),
        (["gpu7"], ValueError, "devices must be devices of torch"),
    ],
)
def test_devices_that_are_not_there_are_refused(devices, error, message) -> None:
    for call in (mk.dot_scores, lambda *a, **o: mk.topk_dot(*a, 1, **o), lambda *a, **o: mk.vote(*a, 0.5, **o)):
        with pytest.raises(error, match=message):
            call(torch.ones(1, 3), torch.ones(4, 3), devices=devices)
    with pytest.raises(RuntimeError, match="torch does not stream a store"):
        mk.topk_dot(torch.ones(1, 3), torch.ones(4, 3), 1, devices=["cpu"], impl="torch")


def test_rows_that_are_not_finite_are_refused_by_number() -> None:
    z = vectors(3000, 6)
    z[2999, 0] = math.nan
    for impl in ("cpp", "torch"):
        with pytest.raises(ValueError, match=r"dot_scores: store .* NaN or infinity in row 2999"):
            mk.dot_scores(torch.ones(2, 6), z, impl=impl)


def test_rounded_queries_are_those_that_meet_int8_rows() -> None:
    """scores = exact integer products of the public roundings, rounded to float32 after each factor."""
    queries = torch.cat([vectors(6, 40, seed=2), torch.zeros(1, 40)])
    store, scales = mk.quantize_rows(vectors(50, 40))
    values, factors = mk.quantize_queries(queries)
    assert (values.dtype, factors.dtype) == (torch.int16, torch.float32)
    products = values.double() @ store.double().T
    expected = (products.float() * scales[None]) * factors[:, None]
    np.testing.assert_array_equal(mk.dot_scores(queries, store, scales=scales).numpy(), expected.numpy())
    error = (queries.double() - factors.double()[:, None] * values.double()).norm(dim=1)
    assert bool((error <= 1e-4 * queries.double().norm(dim=1)).all())
    wide = mk.quantize_queries(torch.ones(1, 6001))[0].double()
    assert float(wide.sum()) * 128 < 2**31, "so wide that 16 bits would overflow a sum"
    with pytest.raises(ValueError, match="queries must be a floating-point tensor"):
        mk.quantize_queries(torch.ones(2, 3, dtype=torch.int8))


def test_registered() -> None:
    store, scales = mk.quantize_rows(vectors(9, 6))
    torch.library.opcheck(_dot_scores, (vectors(2, 6), store, scales, None, None))
