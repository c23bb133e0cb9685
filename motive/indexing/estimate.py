"""Estimated cost of a run, measured on a few of the user's own clips before it starts."""

from __future__ import annotations

import math
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from motive.data import Clip, Dataset, Failure, Part, Unread
from motive.data.video.decode import measure_seconds
from motive.data.video.video import DEFAULT_LIMITS
from motive.errors import ClipError, DatasetError, OptionError
from motive.gradients.segments import check_regions
from motive.indexing.config import IndexConfig
from motive.indexing.index import read_clips
from motive.indexing.setup import Setup, set_up
from motive.indexing.summary import dataset_lines, reason_lines, tally
from motive.indexing.worker import Worker
from motive.result import Result
from motive.store import Store

BUCKET_CLIPS = 1000
"""Clips whose files are looked at to count buckets; of more, as many, evenly spaced over the dataset."""

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
        rows: clips that the dataset names, those that could not be read included.
        left_out: the failures of clips that were tried, and of rows that could not be read.
        without_caption: clips of the dataset that have no caption.
        unread: what lies in the dataset and was not read.
        parts: entries of the trainer's configuration that was read, with the clip shapes they train on.
        weight_notes: what the model's weights lost by the way they are stored.
        buckets: bucket -> clips, from the lengths and sizes of up to BUCKET_CLIPS of them; empty without buckets.
        read_as: the dataset's format, and the file or folder it was read from.
    """

    clips: int
    measured: int
    prepare_seconds: float
    gradient_seconds: float
    hours: float
    store_bytes: int
    cache_bytes: int
    memory_bytes: int
    rows: int = 0
    left_out: Sequence[Failure] = ()
    without_caption: int = 0
    unread: Sequence[Unread] = ()
    parts: Sequence[Part] = ()
    weight_notes: Sequence[str] = ()
    buckets: Mapping[str, int] = field(default_factory=dict)
    read_as: str = ""

    def lines(self) -> list[str]:
        """The estimate for a person."""
        lines = [
            f"clips     {self.clips:,} (measured on {self.measured})",
            f"time      {_duration(self.hours)}: {self.prepare_seconds:.3f} s to prepare and "
            f"{self.gradient_seconds:.3f} s of gradients a clip",
            f"store     {self.store_bytes / 1e6:,.1f} MB",
            f"cache     {self.cache_bytes / 1e6:,.1f} MB",
            f"memory    {self.memory_bytes / 1e9:.2f} GB at the peak",
        ]
        lines += [f"bucket    {name}: {count:,} clips" for name, count in self.buckets.items()]
        if self.left_out:
            lines += ["left out so far:", *reason_lines(*tally(self.left_out))]
        lines += [f"dataset   {self.read_as}"] if self.read_as else []
        lines += dataset_lines(self.rows, self.without_caption, self.unread, self.parts)
        return lines + list(self.weight_notes)


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
    found, config = read_clips(dataset, config)
    check_regions(config.segments, found.clips)
    with tempfile.TemporaryDirectory(prefix="motive-estimate-") as folder:
        base = replace(config, cache=str(Path(folder) / "cache"))
        setup = set_up(base, found.parts)
        sample = _spread(found.clips, clips + 1)
        measured = _measure(setup, found.clips, sample, Path(folder) / "store")
        if measured.done < 2:
            raise _too_few(setup, found, sample, measured.done, measured.failed)
        files = (path for path in Path(folder, "cache").rglob("*") if path.is_file())
        cache_bytes = sum(path.stat().st_size for path in files) / measured.done
    total = len(found.clips)
    on_gpu = torch.cuda.is_available() and setup.config.device != "cpu"
    memory = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Estimate(
        clips=total,
        measured=measured.done - 1,
        prepare_seconds=measured.prepare_s,
        gradient_seconds=measured.gradient_s,
        hours=total * (measured.prepare_s + measured.gradient_s) / 3600,
        store_bytes=int(total * measured.rows * (4 * setup.width + _INDEX_BYTES)),
        cache_bytes=int(total * measured.size * cache_bytes),
        memory_bytes=memory,
        rows=found.rows,
        left_out=(*found.failures, *measured.failed),
        without_caption=found.without_caption,
        unread=found.unread,
        parts=found.parts,
        weight_notes=setup.adapter.weight_notes(),
        buckets={name: round(total * share) for name, share in measured.buckets.items()},
        read_as=found.read_as,
    )


def _too_few(
    setup: Setup, found: Dataset, sample: Sequence[Clip], done: int, failed: Sequence[Failure]
) -> DatasetError:
    """Why nothing can be measured: each reason with its count, one clip's sentence, and what to set."""
    reasons, examples = tally(failed if sample else found.failures)
    total = len(sample) if sample else found.rows
    refusals = "; ".join(f"{reason} {count} ({examples[reason]})" for reason, count in sorted(reasons.items()))
    advice = [f"{reason}: {_advice(setup, reason, sample, failed)}" for reason in sorted(reasons)]
    return DatasetError(
        f"estimate: two usable clips are needed, and {done} of {total} tried in {found.location} can be used: "
        f"{refusals or 'there are no more'}. {'; '.join(advice) or 'Add clips'}"
    )


def _advice(setup: Setup, reason: str, sample: Sequence[Clip], failed: Sequence[Failure]) -> str:
    """What to set or do about clips that were left out for a reason."""
    if reason == "too_short":
        names = {failure.clip_id for failure in failed if failure.reason == reason}
        seconds = min(measure_seconds(clip.path, DEFAULT_LIMITS) for clip in sample if clip.clip_id in names)
        frames = _fitting_frames(setup, seconds)
        shorter = f"set --clip-frames {frames} ({seconds:.3g} s), or " if frames else ""
        return f"{shorter}fill short clips with --clip-short hold or loop"
    return _ADVICE.get(reason, "docs/formats/datasets.md explains it")


_ADVICE = {
    "static": "nothing moves in these clips; leave them out, or set --mask-weighting uniform",
    "path_escapes_root": "pass --root FOLDER, or --path-map OLD=FOLDER for paths of another machine",
    "missing_file": "check the paths in the table, or pass --path-map OLD=FOLDER for paths of another machine",
    "no_regions": "put the regions beside the clips, or set another --segments",
    "too_large": "cut or scale these videos down first",
    "timeout": "copy the videos to a faster disk, or cut them",
    "out_of_memory": "scale these videos down first",
}


def _fitting_frames(setup: Setup, seconds: float) -> int:
    """The most frames that a clip of this length has at the clip spec's rate and the model takes; 0 for none."""
    for frames in range(int(seconds * setup.clip_spec.fps + 1e-6) + 1, 1, -1):
        try:
            setup.adapter.latent_shape(replace(setup.clip_spec, frames=frames))
        except OptionError:
            continue
        return frames
    return 0


def _duration(hours: float) -> str:
    """Hours, or minutes where there is less than one."""
    return f"{hours:,.2f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _spread(clips: Sequence[Clip], count: int) -> list[Clip]:
    """Up to ``count`` clips, evenly spaced over the dataset."""
    count = min(count, len(clips))
    return [clips[j * len(clips) // count] for j in range(count)]


@dataclass(frozen=True)
class _Measured:
    """Of a few clips, per clip of the dataset.

    Attributes:
        prepare_s, gradient_s: seconds.
        done: clips that were run.
        rows: rows of the store.
        failed: clips left out.
        buckets: bucket -> share of the clips.
        size: mean number of latent cells of the dataset's clips over that of the clips that were run.
    """

    prepare_s: float
    gradient_s: float
    done: int
    rows: float
    failed: tuple[Failure, ...]
    buckets: Mapping[str, float]
    size: float


def _measure(setup: Setup, clips: Sequence[Clip], sample: Sequence[Clip], folder: Path) -> _Measured:
    """Run the sample; its first clip only warms up. With buckets, times are scaled by the latent cells of a clip."""
    store = Store.create(folder, identity=setup.identity)
    with Worker(setup, store, show_progress=False) as worker:
        counts = Counter(worker.assign(_spread(clips, BUCKET_CLIPS)).values())
        shares = {name: count / counts.total() for name, count in counts.most_common()}
        prepared = worker.prepare(sample[:1])
        began = time.perf_counter()
        rest = worker.prepare(sample[1:])
        prepare_s = (time.perf_counter() - began) / max(1, len(rest))
        if not prepared + rest:  # the model need not be loaded to tell why
            return _Measured(prepare_s, 0.0, 0, 1.0, worker.failures, shares, 1.0)
        gradients = worker.gradients()
        times, cells, rows, failed = [], [], 0, []
        for item in prepared + rest:
            began = time.perf_counter()
            try:
                clip = worker.load(item)
            except ClipError as error:  # left out, as indexing leaves it out
                failed.append(Failure(item.clip.clip_id, str(item.clip.path), "gradient", error.reason, error.detail))
                continue
            (vector,) = gradients([clip])
            times.append(time.perf_counter() - began)
            cells.append(clip.weights.numel())
            rows += max(1, len(vector.segments))
        failed += worker.failures
    size = _mean_cells(setup, shares) / (sum(cells[1:]) / len(cells[1:])) if shares and cells[1:] else 1.0
    gradient_s = sum(times[1:]) / max(1, len(times[1:]))
    done = len(times)
    return _Measured(size * prepare_s, size * gradient_s, done, rows / max(1, done), tuple(failed), shares, size)


def _mean_cells(setup: Setup, shares: Mapping[str, float]) -> float:
    """Mean number of latent cells F h w of a clip."""
    buckets = zip(setup.clip_specs.buckets, setup.latent_shapes, strict=True)
    return sum(shares.get(bucket.name, 0.0) * math.prod(shape[1:]) for bucket, shape in buckets)
