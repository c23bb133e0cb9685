"""topk_dot and vote over a store in memory, compared with faiss's flat index and tiled torch products.

    python -m benchmarks.scoring.search [--quick] [--rows N] [--threads N] [--out DIR]

One run, the same vectors, everything in turns; a figure is the least of the rounds next to the median, since other work
on a shared machine only adds time. Results are checked first: int8 lists and votes against the definitions on all
scores, faiss and torch against float32 products, and the rescored list against the float32 ranking, which it must equal.

faiss is measured where it can be imported (pip install faiss-cpu).
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

import motive_kernels as mk
from benchmarks.harness.rows import Record, append, commit
from motive.scoring.config import ScoreConfig
from motive.scoring.int8.cache import Int8Store, quantization_errors
from motive.scoring.int8.topk import QuantizedScores, rescored_top
from motive.scoring.joint import Exact
from motive.scoring.similarity import Kernel

WIDTH, QUERIES, TOP, SHARE = 512, 50, 100, 0.1
TILE = 1 << 16
WITHOUT_ROWS = ("memory", "vote int8", "dot_scores int8")
"""Contestants that give no list of rows."""


def unit_vectors(rows: int, seed: int) -> Tensor:
    """Random directions, made a tile at a time."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.empty(rows, WIDTH)
    for part in z.split(TILE):
        part.normal_(generator=generator)
        part.div_(part.norm(dim=1, keepdim=True))
    return z


def tiled_topk(queries: Tensor, store: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """What one writes without a kernel: a product a tile, its best, and the best of those."""
    scores, rows = [], []
    for number, tile in enumerate(store.split(TILE)):
        best = (queries @ tile.T).float().topk(min(top, len(tile)), dim=1)
        scores.append(best.values)
        rows.append(best.indices + number * TILE)
    best = torch.cat(scores, dim=1).topk(top, dim=1)
    return best.values, torch.cat(rows, dim=1).gather(1, best.indices)


def flat_faiss(z: Tensor) -> Any:
    """faiss's exact index over the vectors, or None."""
    try:
        import faiss  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        if error.name != "faiss":
            raise
        print("faiss: not measured (the package is not installed)")
        return None
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(WIDTH)
    for tile in z.split(TILE):
        index.add(tile.numpy())  # pyright: ignore[reportCallIssue]
    return index


def rescored(z: Tensor, values: Tensor, scales: Tensor, queries: Tensor) -> Callable[[], Any]:
    """The list by bytes, proven and scored again from the float32 vectors."""
    record, parts = z.numpy(), zip(z.split(TILE), values.split(TILE), scales.split(TILE), strict=True)
    facts = [quantization_errors(a.numpy(), b.numpy(), c.numpy()) for a, b, c in parts]
    norms, errors = (np.concatenate(found).astype(np.float32) for found in zip(*facts, strict=True))
    stored = Int8Store(values.numpy(), scales.numpy(), norms, errors, "")
    exact = Exact((Kernel.of(queries.numpy(), ScoreConfig(), None),))

    def call() -> tuple[Any, Any]:
        top = rescored_top(
            exact, QuantizedScores.of(exact, stored, None), lambda rows: [record[rows]], TOP, len(record)
        )
        return top.scores, top.rows

    return call


def recall(found: Tensor, exact: Tensor) -> float:
    """Share of the exact rows that were found."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]))


def contestants(z: Tensor, queries: Tensor) -> tuple[dict[str, Callable[[], Any]], dict[str, float]]:
    """Implementation -> call, checked against each other, and the recall of each list of the float32 top."""
    values, scales = mk.quantize_rows(z)
    half, brief = z.bfloat16(), queries.bfloat16()
    calls: dict[str, Callable[[], Any]] = {
        "memory": lambda: values.view(torch.int64).sum(),
        "topk_dot int8": lambda: mk.topk_dot(queries, values, TOP, scales=scales),
        "vote int8": lambda: mk.vote(queries, values, SHARE, scales=scales),
        "dot_scores int8": lambda: mk.dot_scores(queries[:1], values, scales=scales),
        "rescored int8": rescored(z, values, scales, queries),
        "topk_dot float32": lambda: mk.topk_dot(queries, z, TOP),
        "torch bfloat16": lambda: tiled_topk(brief, half, TOP),
        "torch float32": lambda: tiled_topk(queries, z, TOP),
    }
    index = flat_faiss(z)
    if index is not None:
        calls["faiss float32"] = lambda: index.search(queries.numpy(), TOP)
    exact = tiled_topk(queries.double(), _Wide(z), TOP)[1]  # type: ignore[arg-type]
    check(calls, values, scales, queries)
    found = {name: calls[name]()[1] for name in calls if name not in WITHOUT_ROWS}
    return calls, {name: recall(torch.as_tensor(rows), exact) for name, rows in found.items()}


class _Wide:
    """A store that is float64 a tile at a time."""

    def __init__(self, z: Tensor) -> None:
        self._z = z

    def split(self, rows: int) -> Iterator[Tensor]:
        return (tile.double() for tile in self._z.split(rows))


def check(calls: dict[str, Callable[[], Any]], values: Tensor, scales: Tensor, queries: Tensor) -> None:
    """int8 results against the definitions, for a few queries; nothing is timed if one is wrong."""
    few = queries[:3]
    for ours, plain in (
        (mk.topk_dot(few, values, TOP, scales=scales), _plain(few, values, scales, TOP)),
        (mk.vote(few, values, SHARE, scales=scales), mk.vote(few, values, SHARE, scales=scales, impl="torch")),
    ):
        if not (torch.equal(ours[0], plain[0]) and torch.equal(ours[1], plain[1])):
            raise RuntimeError("benchmarks: int8 results differ from their definition; run the tests")


def _plain(queries: Tensor, values: Tensor, scales: Tensor, top: int) -> tuple[Tensor, Tensor]:
    return mk.topk_dot(queries, values, top, scales=scales, impl="torch")


def measure(rows: int, rounds: int) -> Iterator[Record]:
    """A record for each contestant, timed in turns."""
    z, queries = unit_vectors(rows, 0), unit_vectors(QUERIES, 1)
    calls, recalls = contestants(z, queries)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        for name, call in calls.items():
            if name == "faiss float32" and turn >= 2:
                continue  # it takes seconds
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    least = {name: min(taken) for name, taken in times.items()}
    for name, taken in times.items():
        asked = 1 if name == "dot_scores int8" else QUERIES
        stored = rows * WIDTH * (4 if "float32" in name else 2 if "bfloat16" in name else 1)
        yield {
            "op": name.split()[0],
            "impl": name,
            "dtype": name.split()[-1],
            "shape": [rows, WIDTH, asked, TOP],
            "bytes": stored,
            "flops": None if name == "memory" else 2 * rows * WIDTH * asked,
            "ms_median": 1e3 * median(taken),
            "ms_min": 1e3 * min(taken),
            "ms_max": 1e3 * max(taken),
            "fraction_of_ceiling": least["memory"] * stored / (rows * WIDTH) / min(taken),
            "baseline": "torch bfloat16",
            "ratio": least[name] / least["torch bfloat16"],
            "recall": recalls.get(name),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100,000 rows, fewer rounds")
    parser.add_argument("--rows", type=int, help="rows of the store")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of every row")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shared = {
        "suite": "scoring",
        "route": None,
        "device": f"cpu, {torch.get_num_threads()} threads",
        "commit": commit(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    print(f"{'by':18} {'ms':>9} {'least':>9} {'x bf16':>7} {'recall':>8}")
    for record in measure(options.rows or (100_000 if options.quick else 1_000_000), 3 if options.quick else 7):
        found = "" if record["recall"] is None else f"{record['recall']:8.4f}"
        print(f"{record['impl']:18} {record['ms_median']:9.1f} {record['ms_min']:9.1f} {record['ratio']:7.2f} {found}")
        append(options.out, {**shared, **record})


if __name__ == "__main__":
    main()
