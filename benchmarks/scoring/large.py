"""Stores of up to ten million clips: searching bytes on disk, how time and memory grow, and opening the store.

    python -m benchmarks.scoring.large [--quick] [--folder PATH] [--threads N] [--out DIR]

The bytes lie in a mapped file, as the cache of a store does (5 GB for ten million clips; it is removed at the end), and
are in the system's cache when time is taken. Each size is checked against the reference for one query before. Memory is
what the process holds beyond the file: anonymous pages, at their highest during a search.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import motive_kernels as mk
from benchmarks.harness.rows import Record, append, commit
from motive.store import ClipIds, Store
from motive.store.tables import encode_table
from motive.store.writer import ShardWriter

WIDTH, QUERIES, TOP = 512, 50, 100
TILE = 1 << 16
SHARD = 100_000


def byte_file(path: Path, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random unit vectors as bytes, mapped from a new file, and their scales."""
    generator = torch.Generator().manual_seed(0)
    base = mk.quantize_rows(torch.randn(TILE, WIDTH, generator=generator))
    scales = torch.empty(rows)
    with open(path, "xb") as file:
        for number, start in enumerate(range(0, rows, TILE)):
            count = min(TILE, rows - start)
            # The same bytes turned by another amount in every tile: other vectors, made as fast as a disk writes.
            file.write(base[0].roll(number, dims=1)[:count].contiguous().numpy().data)
            scales[start : start + count] = base[1][:count]
    return torch.from_numpy(np.memmap(path, np.int8, "c", 0, (rows, WIDTH))), scales


class AnonymousMemory:
    """The most anonymous memory of this process inside a ``with`` block, in bytes."""

    def __enter__(self) -> AnonymousMemory:
        self.peak, self._done = 0, threading.Event()
        self.before = self._now()
        self._watch = threading.Thread(target=self._run)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watch.join()

    def _run(self) -> None:
        while not self._done.wait(0.01):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now() -> int:
        text = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("RssAnon"))


def timed(call: Callable[[], Any], rounds: int) -> list[float]:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def search(folder: Path, rows: int, rounds: int) -> Iterator[Record]:
    """topk_dot and vote over a mapped file."""
    path = folder / f"bytes-{rows}.bin"
    try:
        values, scales = byte_file(path, rows)
        queries = torch.nn.functional.normalize(torch.randn(QUERIES, WIDTH, generator=torch.Generator().manual_seed(1)))
        few = slice(0, min(rows, 200_000))
        for ours, plain in zip(
            mk.topk_dot(queries[:1], values[few], TOP, scales=scales[few]),
            mk.topk_dot(queries[:1], values[few], TOP, scales=scales[few], impl="torch"),
            strict=True,
        ):
            if not torch.equal(ours, plain):
                raise RuntimeError("benchmarks: topk_dot differs from its definition; run the tests")
        calls = {
            "topk_dot": lambda: mk.topk_dot(queries, values, TOP, scales=scales),
            "vote": lambda: mk.vote(queries, values, 0.1, scales=scales),
        }
        for op, call in calls.items():
            call()  # the file comes into the system's cache
            with AnonymousMemory() as memory:
                taken = timed(call, rounds)
            yield {"op": op, "shape": [rows, WIDTH, QUERIES, TOP], "bytes": rows * WIDTH, **spread(taken),
                   "anonymous_bytes": memory.peak, "anonymous_growth_bytes": memory.peak - memory.before}  # fmt: skip
    finally:
        path.unlink(missing_ok=True)


def spread(taken: list[float]) -> Record:
    return {"ms_median": 1e3 * median(taken), "ms_min": 1e3 * min(taken), "ms_max": 1e3 * max(taken)}


def numbered(start: int, count: int) -> ClipIds:
    """Ids such as ``clip-00000042``, made without a loop."""
    numbers = np.arange(start, start + count)
    digits = (numbers[:, None] // 10 ** np.arange(7, -1, -1) % 10 + ord("0")).astype(np.uint8)
    prefix = np.broadcast_to(np.frombuffer(b"clip-", np.uint8), (count, 5))
    data = np.ascontiguousarray(np.concatenate([prefix, digits], axis=1))
    return ClipIds(data.reshape(-1), np.arange(count + 1, dtype=np.int64) * 13)


def opening(folder: Path, clips: int, rounds: int) -> Record:
    """Store.open and its ids, from shards of SHARD clips whose vectors are short: opening does not read them."""
    identity = {"projection": {"kind": "tensor_sketch", "dim": 4, "seed": 0}, "gradient": {}}
    store = Store.create(folder / f"store-{clips}", identity=identity, columns_schema={})
    writer = ShardWriter(store.files, "bench", store.manifest)
    for start in range(0, clips, SHARD):
        ids = numbered(start, min(SHARD, clips - start))
        vectors = np.ones((len(ids), 4), np.float32)
        writer.commit_block(ids, vectors, encode_table(ids.tolist(), [{}] * len(ids), {}, "benchmark"))
    found: list[int] = []
    taken = timed(lambda: found.append(len(Store.open(store.path))), rounds)
    if found[-1] != clips:
        raise RuntimeError(f"benchmarks: the store must hold {clips} clips, got {found[-1]}")
    return {"op": "Store.open", "shape": [clips], "bytes": 21 * clips, **spread(taken)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="up to 1,000,000 clips")
    parser.add_argument("--folder", type=Path, help="where the files are put; by default a temporary folder")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of every row")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shared = {
        "suite": "scoring",
        "impl": "cpp",
        "dtype": "int8",
        "device": f"cpu, {torch.get_num_threads()} threads",
        "commit": commit(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    sizes = (100_000, 1_000_000) if options.quick else (100_000, 1_000_000, 10_000_000)

    def records(folder: Path) -> Iterator[Record]:
        yield opening(folder, sizes[-1], 3)
        for rows in sizes:
            yield from search(folder, rows, 3 if rows > 1_000_000 else 7)

    print(f"{'op':12} {'clips':>10} {'ms':>9} {'least':>9} {'ns a clip':>10} {'anonymous MB':>13}")
    if options.folder:
        Path(options.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for record in records(Path(folder)):
            clips, memory = record["shape"][0], record.get("anonymous_bytes")
            print(
                f"{record['op']:12} {clips:10} {record['ms_median']:9.1f} {record['ms_min']:9.1f} "
                f"{1e6 * record['ms_min'] / clips:10.1f} {'' if memory is None else f'{memory / 1e6:13.0f}'}",
                flush=True,
            )
            append(options.out, {**shared, **record})


if __name__ == "__main__":
    main()
