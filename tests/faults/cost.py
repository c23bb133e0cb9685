"""Cost of all of this: clips through the whole way against a bare loop that keeps nothing safe.

The bare loop decodes in its own process, computes masks, latents and gradients, and appends vectors to one open file:
no checksums, no commits, no records, no supervision. Each clip goes both ways,
one after the other, since a difference of two long runs would drown in the noise of the machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motive.adapters.cache import Cache
from motive.data import ClipSpec, DecoderPool, Failure, load_clip, read_dataset, write_video
from motive.gradients.draws import DrawConfig
from motive.indexing.config import IndexConfig
from motive.indexing.encode import Encoder
from motive.indexing.setup import Setup, set_up
from motive.indexing.worker import Worker
from motive.store import Store, StoreRow
from motive.store.fingerprint import digest
from motive.toy.pool import write_pool
from motive.workers.in_flight import InFlight
from tests.faults.rows import Row

MAX_SHARE = 0.02


def run(quick: bool, folder: Path) -> list[Row]:
    """Parts, then both ways whole, in turn."""
    torch.set_num_threads(1)
    pool = write_pool(folder / "pool", clips_per_motion=2 if quick else 21, seed=1, motions=("bounce", "slide", "spin"))
    commit_ms, hash_ms = _commit(folder, 4 if quick else 12)
    decode_ms, plain_ms = _decode(folder, 6 if quick else 24)
    rows = [
        Row(
            "cost of committing, a clip",
            256,
            f"{commit_ms:.3f} ms a clip in shards of 256 clips of width 512",
            f"of it {hash_ms:.3f} ms BLAKE2b; forcing it to disk included",
        ),
        Row(
            "cost of decoding in another process, a clip",
            24,
            f"{decode_ms - plain_ms:+.1f} ms a clip of 81 frames at 480 x 832",
            f"{decode_ms:.1f} ms there, {plain_ms:.1f} ms here",
        ),
    ]
    return [*rows, _whole(folder, pool, 5 if quick else 60, commit_ms)]


def _whole(folder: Path, pool: Path, count: int, commit_ms: float) -> Row:
    """Clip after clip both ways, in turn; the gradient pass is the same code in both and is timed once."""
    setup = set_up(IndexConfig(device="cpu", threads=1, draws=DrawConfig()))
    clips = read_dataset(pool).clips[: count + 1]
    store = Store.create(folder / "store", identity=setup.identity, dim=setup.config.draws.parts * setup.projector.dim)
    safe, bare, passes = [], [], []
    with Worker(setup, store, show_progress=False) as worker:
        gradients = worker.gradients()
        encoders = [_encoder(setup, folder / name) for name in ("safe", "bare")]
        encoders[1]._decoders = _Here()  # type: ignore[assignment]
        for number, clip in enumerate(clips):
            took = {}
            for place in (0, 1) if number % 2 else (1, 0):
                encoders[place].encode_captions([clip.caption])
                took[place] = _timed(lambda place=place, clip=clip: list(encoders[place].encode_clips([clip], _drop)))
            if number:  # the first one starts the decoder
                safe.append(took[0])
                bare.append(took[1])
                prepared = next(item for item in encoders[0].encode_clips([clip], _drop) if item is not None)
                encoded = encoders[0].load(prepared)
                passes.append(_timed(lambda encoded=encoded: gradients([encoded])))
        for encoder in encoders:
            encoder.close()
    extra_ms = 1e3 * statistics.median(a - b for a, b in zip(safe, bare, strict=True)) + commit_ms
    whole_ms = 1e3 * (statistics.median(bare) + statistics.median(passes))
    return Row(
        "cost of the whole way against a bare loop",
        len(safe),
        f"{100 * extra_ms / whole_ms:+.2f} % time a clip (at most 2 % is the aim)",
        f"{extra_ms:+.2f} ms (decoder process and commit) of {whole_ms:.0f} ms: {1e3 * statistics.median(bare):.0f} to "
        f"prepare and {1e3 * statistics.median(passes):.0f} for the gradient of a clip of the built-in model, which is "
        "the fastest there is: medians of clips run both ways in turn",
    )


def _encoder(setup: Setup, folder: Path) -> Encoder:
    config = setup.config
    return Encoder(setup.adapter, Cache(folder), setup.clip_specs, config.mask, config.decode_threads, InFlight())


def _drop(failure: Failure) -> None:
    """A clip that cannot be used is timed all the same."""


class _Here:
    def load_clip(self, path: Path, clip_spec: ClipSpec) -> Any:
        """As DecoderPool.load_clip, in this process."""
        return load_clip(path, clip_spec)

    def close(self) -> None:
        """Nothing is held."""


def _commit(folder: Path, repetitions: int) -> tuple[float, float]:
    """Milliseconds a clip of a shard of 256, and of hashing it alone."""
    rng = np.random.default_rng(0)
    identity = {"projection": {"dim": 512}, "gradient": {}}
    store = Store.create(folder / "commit", identity=identity, columns_schema={"path": "string", "loss": "float32"})
    times = []
    for number in range(repetitions):
        block = rng.standard_normal((256, 512)).astype(np.float32)
        rows = [StoreRow(f"{number}/{j}", block[j], {"path": "/x/y", "loss": 1.0}) for j in range(256)]
        times.append(_timed(lambda rows=rows: store.append(rows)))
    data = bytes(256 * 512 * 4 + 8192)
    hashing = [_timed(lambda: digest(data)) for _ in range(20)]
    return 1e3 * statistics.median(times) / 256, 1e3 * statistics.median(hashing) / 256


def _decode(folder: Path, repetitions: int) -> tuple[float, float]:
    """Milliseconds of a clip of the paper's size in a decoder process, and in this one."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 104, 3), dtype=np.uint8)
    still = np.kron(noise, np.ones((8, 8, 1), np.uint8))
    path = folder / "large.mp4"
    write_video(path, np.stack([np.roll(still, 3 * t, 1) for t in range(81)]), 16.0)
    clip_spec = ClipSpec(fps=16.0, frames=81, height=480, width=832)
    there, here = [], []
    with DecoderPool(clip_spec) as pool:
        pool.load_clip(path)
        for _ in range(repetitions):
            there.append(_timed(lambda: pool.load_clip(path)))
            here.append(_timed(lambda: load_clip(path, clip_spec)))
    return 1e3 * statistics.median(there), 1e3 * statistics.median(here)


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
