"""What a run would cost, measured on a few of the user's own clips before it starts."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from motive.data import Clip, read_dataset
from motive.errors import ClipError, DatasetError
from motive.gradients.segments import check_regions
from motive.indexing.config import IndexConfig
from motive.indexing.setup import Setup, set_up
from motive.indexing.worker import Worker
from motive.result import Result
from motive.store import Store

_INDEX_BYTES = 600
"""Bytes of one clip's index columns (path, caption, facts) in a Parquet shard, about."""


@dataclass(frozen=True)
class Estimate(Result):
    """The predicted cost of indexing a dataset.

    Attributes:
        clips: in the dataset.
        measured: clips that were run to measure, the first of them not counted.
        prepare_seconds, gradient_seconds: a clip.
        hours: for all clips on this machine.
        store_bytes: vectors and index of all clips.
        cache_bytes: latents, masks and text embeddings of all clips.
        memory_bytes: peak of this process; on a GPU the peak there.
    """

    clips: int
    measured: int
    prepare_seconds: float
    gradient_seconds: float
    hours: float
    store_bytes: int
    cache_bytes: int
    memory_bytes: int

    def lines(self) -> list[str]:
        """The estimate for a person."""
        return [
            f"clips     {self.clips:,} (measured on {self.measured})",
            f"time      {_duration(self.hours)}: {self.prepare_seconds:.3f} s to prepare and "
            f"{self.gradient_seconds:.3f} s of gradients a clip",
            f"store     {self.store_bytes / 1e6:,.1f} MB",
            f"cache     {self.cache_bytes / 1e6:,.1f} MB",
            f"memory    {self.memory_bytes / 1e9:.2f} GB at the peak",
        ]


def estimate(dataset: Path | str, *, config: IndexConfig | None = None, clips: int = 3) -> Estimate:
    """Run a few clips of a dataset into a temporary folder and extrapolate.

    Args:
        dataset: folder of videos or a metadata file.
        config: settings of the run; default IndexConfig().
        clips: how many clips to measure, after one to warm up.

    Raises:
        DatasetError: not even two clips could be run.
        OptionError: regions of clips in tar shards.
    """
    config = config or IndexConfig()
    found = read_dataset(Path(dataset), config.dataset_format, follow_links=config.follow_links)
    check_regions(config.segments, found.clips)
    with tempfile.TemporaryDirectory(prefix="motive-estimate-") as folder:
        base = replace(config, cache=str(Path(folder) / "cache"))
        setup = set_up(base)
        sample = _spread(found.clips, clips + 1)
        prepare_s, gradient_s, done, rows = _measure(setup, sample, Path(folder) / "store")
        if done < 2:
            raise DatasetError(
                f"estimate: {dataset} must hold two clips that can be used, got {done} of {len(sample)} tried; "
                "run motive index to see each clip's reason"
            )
        cache_bytes = sum(p.stat().st_size for p in Path(folder, "cache").rglob("*") if p.is_file()) / done
    total = len(found.clips)
    on_gpu = torch.cuda.is_available() and setup.config.device != "cpu"
    memory = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Estimate(
        clips=total,
        measured=done - 1,
        prepare_seconds=prepare_s,
        gradient_seconds=gradient_s,
        hours=total * (prepare_s + gradient_s) / 3600,
        store_bytes=int(total * rows * (4 * setup.width + _INDEX_BYTES)),
        cache_bytes=int(total * cache_bytes),
        memory_bytes=memory,
    )


def _duration(hours: float) -> str:
    """Hours, or minutes where there is less than one."""
    return f"{hours:,.2f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _spread(clips: Sequence[Clip], count: int) -> list[Clip]:
    """Up to ``count`` clips, evenly spaced over the dataset."""
    count = min(count, len(clips))
    return [clips[j * len(clips) // count] for j in range(count)]


def _measure(setup: Setup, sample: Sequence[Clip], folder: Path) -> tuple[float, float, int, float]:
    """(seconds to prepare a clip, seconds of gradients a clip, clips done, rows a clip); the first clip only warms
    up."""
    store = Store.create(folder, identity=setup.identity, manifest_extra={})
    with Worker(setup, store, show_progress=False) as worker:
        prepared = worker.prepare(sample[:1])
        began = time.perf_counter()
        rest = worker.prepare(sample[1:])
        prepare_s = (time.perf_counter() - began) / max(1, len(rest))
        gradients = worker.gradients()
        times, rows = [], 0
        for item in prepared + rest:
            began = time.perf_counter()
            try:
                clip = worker.load(item)
            except ClipError:  # left out, as indexing leaves it out
                continue
            (vector,) = gradients([clip])
            times.append(time.perf_counter() - began)
            rows += max(1, len(vector.segments))
    counted = times[1:]
    return prepare_s, sum(counted) / max(1, len(counted)), len(times), rows / max(1, len(times))
