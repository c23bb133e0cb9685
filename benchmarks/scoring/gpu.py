"""Search and votes on a GPU over stores in its memory, compared with reading them once and with plain torch.

    python -m benchmarks.scoring.gpu [--quick] [--rehearse] [--out DIR] [--again]

Stores of 10,000 clips (the paper's size), a million in float16 and int8, and a hundred million in int8 where the card
has room. Results are checked first: against the definition where it fits, else by rows that are known to be the best.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

import motive_kernels as mk
from benchmarks.harness.device import Call, Ceilings, Meter, Setting, ceilings, measure, parse
from benchmarks.harness.rows import Record, Sink

WIDTH, QUERIES, TOP, SHARE = 512, 50, 100, 0.1
CASES = ((1_000_000, "int8"), (1_000_000, "float16"), (10_000, "float32"), (100_000_000, "int8"))
SMALL = {10_000: 500, 1_000_000: 3000, 100_000_000: 9000}
"""Rows in a rehearsal."""

CHUNK = 1 << 22
BRIEF = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def make_store(rows: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor | None]:
    """Random rows of about unit length, made on the device; bytes have a scale a row."""
    store = torch.empty(rows, WIDTH, dtype=dtype, device=device)
    for part in store.split(CHUNK):
        if dtype == torch.int8:
            part.random_(-127, 128)
        else:
            part.normal_(std=WIDTH**-0.5)
    if dtype != torch.int8:
        return store, None
    length = 127 / 3**0.5 * WIDTH**0.5
    return store, torch.full((rows,), 1 / length, device=device) * (1 + 0.1 * torch.rand(rows, device=device))


def plant(store: Tensor, scales: Tensor | None, queries: Tensor) -> Tensor:
    """Make one row of the store the best of each query; which rows those are."""
    places = torch.arange(len(queries), device=store.device) * (len(store) // len(queries)) + 7
    if store.dtype == torch.int8:
        values, factors = mk.quantize_rows(queries)
        store[places] = values
        if scales is not None:
            scales[places] = factors
    else:
        store[places] = queries.to(store.dtype)
    return places


def check(queries: Tensor, store: Tensor, scales: Tensor | None, planted: Tensor, impl: str) -> None:
    """The planted rows come first; on smaller stores lists and votes equal the definition's."""
    _, rows = mk.topk_dot(queries, store, TOP, scales=scales, impl=impl)
    if not torch.equal(rows[:, 0], planted):
        raise RuntimeError(f"benchmarks: {impl} does not rank the query's own row first; run the tests")
    if len(store) > 1_000_000:
        return
    few = queries[:2]
    found, want = (mk.topk_dot(few, store, TOP, scales=scales, impl=by) for by in (impl, "torch"))
    votes, defined = (mk.vote(few, store, SHARE, scales=scales, impl=by)[0] for by in (impl, "torch"))
    if store.dtype == torch.int8:
        fine = all(torch.equal(a, b) for a, b in zip(found, want, strict=True)) and torch.equal(votes, defined)
    else:  # sums in another order may swap neighbours
        fine = torch.allclose(found[0], want[0].float(), atol=1e-4) and int((votes != defined).sum()) < 20
    if not fine:
        raise RuntimeError(f"benchmarks: {impl} differs from its definition; run the tests")


def product_and_top(queries: Tensor, store: Tensor) -> tuple[Tensor, Tensor]:
    """What one writes without a kernel; it makes the matrix of scores."""
    best = (queries @ store.T).topk(min(TOP, len(store)), dim=1)
    return best.values, best.indices


def contestants(
    queries: Tensor, store: Tensor, scales: Tensor | None, setting: Setting
) -> Iterator[tuple[str, str, Call]]:
    """(op, by whom, call)."""
    one = queries[:1].contiguous()
    for impl in setting.candidates:
        reason = mk.implementations()["topk_dot"][impl]
        if reason is not None:
            print(f"topk_dot: {impl} not measured ({reason})")
            continue
        yield "topk_dot", impl, partial(mk.topk_dot, queries, store, TOP, scales=scales, impl=impl)
        yield "topk_dot, one query", impl, partial(mk.topk_dot, one, store, TOP, scales=scales, impl=impl)
        yield "vote", impl, partial(mk.vote, queries, store, SHARE, scales=scales, impl=impl)
    if store.dtype == torch.int8:
        return
    brief = queries.to(store.dtype)
    yield "topk_dot", "torch", lambda: product_and_top(brief, store)
    compiled = torch.compile(product_and_top, backend="eager" if setting.rehearsal else "inductor")
    yield "topk_dot", "torch.compile", lambda: compiled(brief, store)


def rows(count: int, name: str, limit: Ceilings, setting: Setting) -> Iterator[Record]:
    """A row for each contestant on one store."""
    dtype, size = BRIEF[name], SMALL[count] if setting.rehearsal else count
    needed = size * (WIDTH * dtype.itemsize + 40)
    shape = [size, WIDTH, QUERIES, TOP]
    if not setting.rehearsal and torch.cuda.mem_get_info()[0] < 1.1 * needed:
        yield {"op": "topk_dot", "impl": "none", "dtype": name, "shape": shape,
               "not_measured": f"needs {1.1 * needed / 1e9:.0f} GB of free memory"}  # fmt: skip
        return
    torch.manual_seed(0)
    store, scales = make_store(size, dtype, setting.device)
    queries = unit(setting.random(QUERIES, WIDTH))
    planted = plant(store, scales, queries)
    base: float | None = None
    for op, impl, call in list(contestants(queries, store, scales, setting)):
        if impl in setting.candidates and op == "topk_dot":
            check(queries, store, scales, planted, impl)
        about = {"op": op, "impl": impl, "dtype": name, "shape": [*shape[:2], 1 if "one" in op else QUERIES, TOP],
                 "bytes": store.nbytes, "flops": 2 * size * WIDTH * (1 if "one" in op else QUERIES)}  # fmt: skip
        try:
            times = measure(call, setting, flush=size < 10_000_000)
        except (torch.OutOfMemoryError, TorchDynamoException) as error:
            yield {**about, "not_measured": str(error).splitlines()[0][:120]}
            continue
        if impl == "torch":
            base = times["ms_median"]
        ratio = {} if base is None else {"ratio": times["ms_median"] / base, "baseline": "torch"}
        yield {**about, **times, **ratio, "fraction_of_ceiling": store.nbytes / limit.read / times["ms_median"],
               **Meter(setting.device).clocks()}  # fmt: skip


def show(row: Record) -> None:
    figures = row.get("not_measured")
    if figures is None:
        figures = f"{row['ms_median']:10.3f} ms {row['ms_min']:10.3f} ms {row['fraction_of_ceiling']:6.2f} of the read ceiling"
    print(f"{row['op']:20} {row['impl']:14} {row['shape'][0]:>11,} {row['dtype']:8} {figures}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    setting, options = parse(__doc__ or "", arguments)
    if setting is None:
        return 0
    limit = ceilings(setting, options.out)
    sink = Sink(options.out, setting.common("scoring"), show, options.again)
    for count, name in CASES[:2] if setting.quick and not setting.rehearsal else CASES:
        sink.take(f"search/{count}/{name}", rows(count, name, limit, setting))
        if not setting.rehearsal:
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
