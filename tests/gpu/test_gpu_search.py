"""Search on a GPU against the CPU: every kind of store, in one piece and streamed, to the bit where numbers are int8."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import motive_kernels as mk
from motive_kernels.search import stream
from tests.kernels.search_data import stores, vectors

DEVICE, IMPL = "cuda", "triton"
KINDS = list(stores(torch.ones(2, 2)))
SHAPES = [(1, 1, 1), (3, 16, 2), (997, 31, 17), (5000, 512, 50), (131, 1024, 1000), (200_000, 64, 3)]
"""(n, k, q): one row, ragged tiles, the usual width, more queries than rows, and more rows than a sample."""


def on_device(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.to(DEVICE)


def case(kind: str, n: int, k: int, q: int) -> tuple[Tensor, Tensor, dict[str, Tensor | None]]:
    """Queries, store, and its scales and kept rows, on the CPU."""
    store, scales = stores(vectors(n, k))[kind]
    keep = torch.arange(n) % 3 != 1 if n > 2 else None
    return vectors(q, k, seed=1), store, {"scales": scales, "keep": keep}


def moved(given: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
    return {name: on_device(value) for name, value in given.items()}


def same(found: Tensor, wanted: Tensor, kind: str) -> None:
    """Bits for int8, whose sums are exact; float32 sums are in another order."""
    if kind.startswith("int8"):
        assert torch.equal(found.cpu(), wanted)
    else:
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "k", "q"), SHAPES)
def test_topk(kind: str, n: int, k: int, q: int) -> None:
    queries, store, given = case(kind, n, k, q)
    scores, rows = mk.topk_dot(queries.to(DEVICE), store.to(DEVICE), 20, **moved(given), impl=IMPL)
    wanted, there = mk.topk_dot(queries, store, 20, **given, impl="cpp")
    same(scores, wanted, kind)
    if kind.startswith("int8"):
        assert torch.equal(rows.cpu(), there), "of equal scores the lower row comes first"
    every = mk.dot_scores(queries, store, **given, impl="cpp")
    real = there >= 0
    assert torch.equal(rows.cpu() >= 0, real)
    same(every.gather(1, rows.cpu().clamp_min(0))[real], wanted[real], "" if kind.startswith("int8") else kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "k", "q"), SHAPES)
def test_votes(kind: str, n: int, k: int, q: int) -> None:
    queries, store, given = case(kind, n, k, q)
    weights = torch.arange(q, dtype=torch.int32) + 1
    for share in (0.1, 1.0):
        votes, thresholds = mk.vote(
            queries.to(DEVICE), store.to(DEVICE), share, **moved(given), weights=weights.to(DEVICE), impl=IMPL
        )
        wanted, bounds = mk.vote(queries, store, share, **given, weights=weights, impl="cpp")
        same(thresholds, bounds, kind)
        if kind.startswith("int8"):
            assert torch.equal(votes.cpu(), wanted)
        else:  # a row at a threshold may fall to the other side
            assert float((votes.cpu() != wanted).float().mean()) < 1e-2 or n < 1000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("q", [1, 7])
def test_every_score(kind: str, q: int) -> None:
    queries, store, given = case(kind, 3001, 96, q)
    found = mk.dot_scores(queries.to(DEVICE), store.to(DEVICE), **moved(given), impl=IMPL)
    same(found, mk.dot_scores(queries, store, **given, impl="cpp"), kind)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("unit", [True, False])
def test_quantized_rows_have_the_bits_of_the_cpu(dtype: torch.dtype, unit: bool) -> None:
    for n, k in ((1, 1), (5, 16), (1000, 513), (70_000, 64)):
        z = vectors(n, k).to(dtype)
        values, scales = mk.quantize_rows(z.to(DEVICE), unit=unit, impl=IMPL)
        wanted, factors = mk.quantize_rows(z, unit=unit, impl="torch")
        assert torch.equal(values.cpu(), wanted)
        assert torch.equal(scales.cpu(), factors)


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_on_the_host_is_streamed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 4,096 bytes' worth of rows: the copy of each is under way while another is scanned."""
    monkeypatch.setattr(stream, "BLOCK_BYTES", 1 << 16)
    queries, store, given = case(kind, 20_011, 96, 9)
    for call in (
        lambda **more: mk.topk_dot(queries, store, 30, **given, **more),
        lambda **more: mk.vote(queries, store, 0.1, **given, **more),
        lambda **more: (mk.dot_scores(queries[:1], store, **given, **more),),
    ):
        streamed, there = call(devices=[DEVICE], impl=IMPL), call(impl="cpp")
        same(streamed[0].float(), there[0].float(), kind if streamed[0].is_floating_point() else "")
        again = call(devices=[DEVICE, DEVICE], impl=IMPL)
        assert all(torch.equal(a, b) for a, b in zip(streamed, again, strict=True)), "two threads, the same bits"


def test_streaming_takes_memory_for_a_block_and_not_for_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK_BYTES", 1 << 22)
    store, scales = mk.quantize_rows(torch.randn(400_000, 128, generator=torch.Generator().manual_seed(0)))
    queries = vectors(20, 128, seed=1)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    mk.vote(queries, store, 0.1, scales=scales, devices=[DEVICE], impl=IMPL)
    assert torch.cuda.max_memory_allocated() - before < 8 * (1 << 22), f"the store has {store.nbytes} bytes"


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_repeats_to_the_bit(kind: str) -> None:
    queries, store, given = case(kind, 50_000, 64, 8)
    there = (queries.to(DEVICE), store.to(DEVICE))
    first, again = (mk.vote(*there, 0.1, **moved(given), impl=IMPL) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    first, again = (mk.topk_dot(*there, 100, **moved(given), impl=IMPL) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("devices", [(), ("cuda",)], ids=["on the card", "streamed"])
def test_a_row_that_is_not_finite_is_named(devices: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK_BYTES", 1 << 12)
    z = torch.ones(4000, 8)
    z[3210, 5] = float("inf")
    queries = torch.ones(2, 8)
    given = {"devices": devices} if devices else {}
    if not devices:
        z, queries = z.to(DEVICE), queries.to(DEVICE)
    for call in (
        lambda: mk.topk_dot(queries, z, 3, **given, impl=IMPL),
        lambda: mk.vote(queries, z, 0.1, **given, impl=IMPL),
        lambda: mk.dot_scores(queries[:1], z, **given, impl=IMPL),
    ):
        with pytest.raises(mk.NotFiniteError, match="row 3210"):
            call()
