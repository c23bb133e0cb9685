"""Cached clips to a store of vectors, through the code of motive index, for as long as there is time.

    python -m benchmarks.pipeline.end_to_end --seconds S [--model wan2.1-1.3b] [--clip preview] [--batch 16]
                                             [--rehearse] [--out DIR] [--again]

Latents, masks and text embeddings of a few clips are put into the cache at their real sizes; many more clip ids share
them, so that reading is as it would be from the system's cache. Units are indexed one after the other; the first is not
counted. benchmarks.pipeline.extrapolate extrapolates to a million clips.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

import motive_kernels as mk
from benchmarks.harness.device import Meter, Setting, memory_of, parse
from benchmarks.harness.rows import Record, Sink
from benchmarks.pipeline.models import MODELS, FullModel, conditioning, random_adapter, small
from motive.adapters.cache import Cache
from motive.data import Clip
from motive.data.video.buckets import ClipSpecs
from motive.data.video.facts import SourceFacts
from motive.gradients.clips import EncodedClip
from motive.gradients.draws import DrawConfig
from motive.indexing.config import IndexConfig
from motive.indexing.encode import Prepared, content_hash
from motive.indexing.setup import Setup
from motive.indexing.worker import Worker
from motive.store import Identity, Store
from motive.store.manifest import PlanConfig
from motive.workers.plan import make_tasks

DISTINCT, UNIT = 64, 128
"""Clips that are really different; clips of a unit."""

MOST = 200_000


class TimedWorker(Worker):
    """A worker that notes how long it prepares, loads and commits.

    Attributes:
        spent: what -> seconds.
    """

    def __init__(self, setup: Setup, store: Store, show_progress: bool) -> None:
        super().__init__(setup, store, show_progress)
        self.spent: dict[str, float] = {}

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.spent[what] = self.spent.get(what, 0.0) + time.perf_counter() - begin

    def prepare(self, clips: Sequence[Clip]) -> list[Prepared]:
        with self._noted("prepare"):
            return super().prepare(clips)

    def load(self, prepared: Prepared) -> EncodedClip:
        with self._noted("load"):
            return super().load(prepared)

    def _commit(self) -> None:
        with self._noted("store"):
            super()._commit()

    def fill(self, cache: Cache, clips: Sequence[Clip], model: FullModel, shape: tuple[int, ...]) -> None:
        """Put random latents, masks and embeddings of clips into the cache, as encoding them would."""
        encoder, spec = self._encoder, self._setup.clip_specs.base
        for clip in clips:
            content = content_hash(clip.path)
            facts = {**SourceFacts(16.0, 81, 5.0, 480, 832, used_last=80, used_end_s=5.0).columns(),
                     "content_hash": content, "static": False,
                     "magnitude_px_mean": 1.0, "magnitude_px_max": 9.0, "mask_mean": 0.5, "camera": None,
                     "camera_residual_share": None}  # fmt: skip
            note = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
            cache.put("latents", encoder._latent_key(content, spec), {"latents": torch.randn(shape)})
            cache.put("mask", encoder._mask_key(content, spec), {"weights": torch.rand(shape[1:]), "facts": note})
            cache.put("text", encoder._text_key(clip.caption), conditioning(model, "cpu", torch.bfloat16))


def make_clips(folder: Path) -> list[Clip]:
    """Ids by the hundred thousand over a few files."""
    folder.mkdir()
    paths = [folder / f"{number}.bin" for number in range(DISTINCT)]
    for number, path in enumerate(paths):
        path.write_bytes(number.to_bytes(4, "little") * 250_000)  # a megabyte, as a short clip has
    return [Clip(f"clip-{j:08d}", paths[j % DISTINCT], f"caption {j % DISTINCT}") for j in range(MOST)]


def set_up(model: FullModel, clip: str, batch: int, setting: Setting, folder: Path) -> Setup:
    """What motive index settles before the first clip, for random weights."""
    dtype = "float32" if setting.rehearsal else "bfloat16"
    adapter = random_adapter(model, folder / "model", setting.device, dtype)
    expert, clip_spec = adapter.experts[0], model.clips[clip]
    names = adapter.parameter_shapes(expert)
    projector = mk.Projector(mk.ProjectionSpec(), {f"{expert.component}.{n}": s for n, s in names.items()})
    config = IndexConfig(
        model=model.name,
        device=setting.device,
        dtype=dtype,
        clip_spec=clip_spec,
        draws=DrawConfig("single"),
        cache=str(folder / "cache"),
        batch_size=batch,
        shard_rows=UNIT,
        decode_threads=1 if setting.rehearsal else 8,
    )
    identity = Identity(projector.fields, {"model": model.name, "clip": clip})
    shape = adapter.latent_shape(clip_spec)
    return Setup(config, adapter, expert, ClipSpecs(clip_spec), (shape,), projector, identity)


def rows(model: FullModel, clip: str, batch: int, seconds: float, setting: Setting, folder: Path) -> Iterator[Record]:
    """One row: clips a second, and where the time goes."""
    setup = set_up(model, clip, batch, setting, folder)
    store = Store.create(folder / "store", identity=setup.identity, dim=setup.projector.dim)
    clips = make_clips(folder / "clips")
    cache = Cache(folder / "cache")
    unit = 2 * batch if setting.rehearsal else UNIT
    ids = [c.clip_id for c in clips[: unit * 4 if setting.rehearsal else MOST]]
    tasks = make_tasks(ids, PlanConfig.of(ids, unit, batch))
    named, meter = {c.clip_id: c for c in clips}, Meter(setting.device)
    worker = TimedWorker(setup, store, show_progress=False)
    with worker:
        worker.fill(cache, clips[:DISTINCT], model, setup.latent_shapes[0])
        cached = sum(path.stat().st_size for path in cache.directory.rglob("*.safetensors"))
        worker.run_task(tasks[0], named)
        worker.spent.clear()
        counted = 0
        with memory_of(setting.device) as memory:
            before, begin = meter.joules(), time.perf_counter()
            for task in tasks[1:]:
                counted += worker.run_task(task, named).stored
                if time.perf_counter() - begin > seconds:
                    break
            taken, after = time.perf_counter() - begin, meter.joules()
    if worker.failed or counted == 0:
        raise RuntimeError(f"benchmarks: every clip must be stored, got {worker.failed} that failed; run the tests")
    if len(Store.open(store.path)) != worker.stored:
        raise RuntimeError(
            f"benchmarks: {worker.stored} clips were stored, {len(Store.open(store.path))} are there; run the tests"
        )
    rest = taken - sum(worker.spent.values())
    yield {
        "op": "end to end", "impl": "motive index", "model": model.name, "clip": clip, "batch": batch,
        "clips": counted, "seconds": taken, "clips_per_second": counted / taken,
        "shares": {**{name: s / taken for name, s in worker.spent.items()}, "gradients": rest / taken},
        "cached_bytes_per_clip": cached / DISTINCT,
        "store_bytes_per_clip": sum(p.stat().st_size for p in store.path.rglob("*") if p.is_file()) / worker.stored,
        "joules_per_clip": None if before is None or after is None else (after - before) / counted,
        **memory, **meter.clocks(),
    }  # fmt: skip


def show(row: Record) -> None:
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in row["shares"].items())
    print(
        f"{row['model']} {row['clip']} x {row['batch']}: {row['clips_per_second']:.2f} clips/s ({shares})", flush=True
    )


def main(arguments: list[str] | None = None) -> int:
    def extend(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--model", choices=tuple(MODELS), default="wan2.1-1.3b")
        parser.add_argument("--clip", default="preview")
        parser.add_argument("--batch", type=int, default=16, help="clips of a pass")
        parser.add_argument("--seconds", type=float, default=120.0, help="for everything")

    setting, options = parse(__doc__ or "", arguments, extend)
    if setting is None:
        return 0
    model = small(MODELS[options.model]) if setting.rehearsal else MODELS[options.model]
    batch = 2 if setting.rehearsal else options.batch
    sink = Sink(options.out, setting.common("pipeline"), show, options.again)
    with tempfile.TemporaryDirectory(prefix="motive-end-to-end-") as folder:
        # Loading, filling the cache and the first unit take about 40 s.
        seconds = 1.0 if setting.rehearsal else max(5.0, options.seconds - 45)
        found = rows(model, options.clip, batch, seconds, setting, Path(folder))
        sink.take(f"end to end/{model.name}/{options.clip}/{batch}", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
