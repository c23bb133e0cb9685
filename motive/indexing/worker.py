"""The second half of a run: encoded clips into committed shards of vectors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch

import motive_kernels as mk
from motive.adapters.cache import Cache
from motive.adapters.loading import current_device
from motive.data import Clip, Failure
from motive.data.video.buckets import size_name
from motive.data.video.facts import count_notes, counts_of, read_notes
from motive.data.video.use import Use, count_use
from motive.errors import ClipError, OptionError, StoreError
from motive.gradients.clips import ClipGradients, ClipVector, EncodedClip
from motive.gradients.draws import NoiseField, shared_noise
from motive.indexing.encode import Encoder, Prepared
from motive.indexing.rows import store_rows
from motive.indexing.setup import Setup, set_up
from motive.progress import track
from motive.store import Store, StoreRow, require_same_identity
from motive.workers.in_flight import InFlight
from motive.workers.plan import Task, TaskResult
from motive.workers.process import WorkerSpec

_log = logging.getLogger(__name__)

CHUNK_CLIPS = 4096
"""Clips prepared before their gradients are taken: the encoders and the transformer are loaded once a chunk."""


class Worker:
    """Turns clips into rows of a store. Its GPU is the current device of its thread until it is closed.

    Args:
        setup: what was settled before.
        store: open for appending.
        show_progress: draw bars on stderr.
        in_flight: where to note the clips being processed.

    Attributes:
        stored, failed: clips committed, and clips left out, so far.
        routes: route -> parameter names, as the last gradients were taken (motive_kernels.GradientCapture).
    """

    def __init__(self, setup: Setup, store: Store, show_progress: bool, in_flight: InFlight | None = None) -> None:
        self.stored = 0
        self.failed = 0
        self.routes: dict[str, list[str]] = {}
        self._setup = setup
        self._store = store
        self._show = show_progress
        self._in_flight = in_flight or InFlight()
        config = setup.config
        cache = Cache(cache_folder(config.cache, store))
        self._encoder = Encoder(
            setup.adapter,
            cache,
            setup.clip_specs,
            config.mask,
            config.decode_threads,
            self._in_flight,
            config.segments,
            setup.latents,
        )
        self._on_commit: Callable[[TaskResult], None] | None = None
        self._committed = time.perf_counter()
        self._kept: ClipGradients | None = None
        self._device = ExitStack()
        self._device.enter_context(current_device(setup.device))
        self._wanted: frozenset[str] | None = None
        self._rows: list[StoreRow] = []
        self._failures: list[Failure] = []
        self._notes: dict[str, tuple[int, str]] = {}
        self._used: dict[str, Use] = {}

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Clips left out since the last commit."""
        return tuple(self._failures)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder processes; what was not committed is dropped."""
        self._encoder.close()
        self._device.close()

    def run(
        self, tasks: Sequence[Task], clips: Mapping[str, Clip], on_commit: Callable[[TaskResult], None] | None = None
    ) -> None:
        """Store the vectors of the tasks' clips, loading each model once for a few thousand of them.

        What is finished is committed, also when an exception ends the run.

        Args:
            tasks: from the plan.
            clips: id -> clip, of all that the tasks touch.
            on_commit: called after each commit.
        """
        self._on_commit = on_commit
        try:
            for chunk in _chunks(tasks, CHUNK_CLIPS):
                self._do(chunk, clips, self._gradients_once)
        finally:
            self._commit()

    def run_task(self, task: Task, clips: Mapping[str, Clip]) -> TaskResult:
        """Store the vectors of one task's clips; the transformer stays loaded for the next one."""
        began, stored, failed = time.perf_counter(), self.stored, self.failed
        if task.again:  # an earlier worker may have committed it and died before it could say so
            self._store.refresh()
            task = replace(task, wanted=task.wanted - self._store.done_ids())
        if task.wanted or task.trial:
            self._do([task], clips, self._gradients_kept)
            self._commit()
        seconds = time.perf_counter() - began
        return self._result(self.stored - stored, self.failed - failed, seconds)

    def assign(self, clips: Sequence[Clip]) -> dict[str, str]:
        """Id -> bucket of each clip whose file shows it; empty without buckets."""
        return self._encoder.assign(clips) if self._setup.clip_specs.buckets else {}

    def prepare(self, clips: Sequence[Clip]) -> list[Prepared]:
        """Captions, latents and masks of these clips into the cache; those that failed are left out and noted."""
        self._encoder.encode_captions(clip.caption for clip in clips)
        encoded = self._encoder.encode_clips(clips, self._fail)
        shown = track(encoded, len(clips), "decode, mask, encode", shown=self._show)
        return [prepared for prepared in shown if prepared is not None]

    def load(self, prepared: Prepared) -> EncodedClip:
        """An encoded clip from the cache; ClipError if its entry has gone."""
        return self._encoder.load(prepared)

    def gradients(self, projector: mk.Projector | None = None) -> ClipGradients:
        """The gradient pass with the transformer loaded, into another projection than the store's if one is given."""
        setup = self._setup
        transformer = setup.adapter.load_transformer(setup.expert)
        if setup.lora is not None:
            setup.lora.attach(transformer)
        if setup.config.checkpointing:
            setup.adapter.enable_checkpointing(transformer)
        return ClipGradients(
            setup.adapter,
            transformer,
            projector or setup.projector,
            setup.config.draws,
            prefix=f"{setup.expert.component}.",
            parts=setup.parts if projector is None else {},
            micro_batch_draws=setup.config.micro_batch_draws,
            verify=setup.config.verify,
            noise_of=NoiseField() if setup.clip_specs.buckets else shared_noise,
        )

    def _gradients_once(self) -> ClipGradients:
        return self.gradients()

    def _gradients_kept(self) -> ClipGradients:
        self._kept = self._kept or self.gradients()
        return self._kept

    def _do(self, tasks: Sequence[Task], clips: Mapping[str, Clip], load: Callable[[], ClipGradients]) -> None:
        self._wanted = frozenset(clip_id for task in tasks for clip_id in task.wanted)
        bucket_of = self.assign([clips[clip_id] for task in tasks for clip_id in task.needed])
        tasks = [task.grouped(bucket_of) for task in tasks]
        touched = dict.fromkeys(clip_id for task in tasks for clip_id in task.clips)
        prepared = {item.clip.clip_id: item for item in self.prepare([clips[clip_id] for clip_id in touched])}
        if not prepared:
            return
        gradients = load()
        done = self._batches(gradients, tasks, prepared)
        for _ in track(done, len(prepared), "gradients", shown=self._show):
            if len(self._rows) >= self._setup.config.shard_rows:
                self._commit()
        self.routes = {}
        for name, route in gradients.routes.items():
            self.routes.setdefault(route, []).append(name)
        _log.info("gradient routes: %s", ", ".join(f"{route} {len(names)}" for route, names in self.routes.items()))

    def _batches(
        self, gradients: ClipGradients, tasks: Sequence[Task], prepared: Mapping[str, Prepared]
    ) -> Iterator[str]:
        """Run every batch that is called for; yields the ids of clips that are through."""
        for task in tasks:
            for batch in task.batches:
                self._take(gradients, [prepared.get(clip_id) for clip_id in batch], task)
                yield from (clip_id for clip_id in batch if clip_id in prepared)

    def _take(self, gradients: ClipGradients, batch: Sequence[Prepared | None], task: Task) -> None:
        """The rows of clips that share a pass; a clip that cannot be used keeps its place at weight zero."""
        loaded: list[EncodedClip | None] = [None] * len(batch)
        for place, item in enumerate(batch):
            if item is not None:
                with self._noting(item):
                    loaded[place] = self.load(item)
        ids = [item.clip.clip_id for item in batch if item is not None]
        self._in_flight.enter(ids)
        vectors = _vectors(gradients, loaded)
        self._in_flight.leave(ids)
        for item, vector in zip(batch, vectors, strict=True):
            if item is not None and vector is not None and item.clip.clip_id in task.wanted:
                with self._noting(item):
                    self._rows += store_rows(item, vector)
                    count_notes(self._notes, counts_of(read_notes(item.facts["notes"])))
                    count_use(self._used, {size_name(item.clip_spec): Use.of(item.facts, item.clip_spec)})

    @contextmanager
    def _noting(self, item: Prepared) -> Iterator[None]:
        """Turn a ClipError inside into a failure of this clip."""
        try:
            yield
        except ClipError as error:
            detail = self._encoder.with_use(error.detail, item.facts)
            self._fail(Failure(item.clip.clip_id, str(item.clip.path), "gradient", error.reason, detail))

    def _fail(self, failure: Failure) -> None:
        if self._is_wanted(failure.clip_id):
            self._failures.append(failure)
            self.failed += 1

    def _is_wanted(self, clip_id: str) -> bool:
        return self._wanted is None or clip_id in self._wanted

    def _commit(self) -> None:
        """Make every noted failure and every finished row durable."""
        rows, self._rows = self._rows, []
        failures, self._failures = self._failures, []
        if failures:
            self._store.append_failures(failures)
        if rows:
            self._store.append(rows)
        stored = len(set(self._store.clips_of([row.clip_id for row in rows])))
        self.stored += stored
        if self._on_commit is not None and (rows or failures):
            began, self._committed = self._committed, time.perf_counter()
            seconds = self._committed - began
            self._on_commit(self._result(stored, len(failures), seconds))

    def _result(self, stored: int, failed: int, seconds: float) -> TaskResult:
        notes, self._notes = self._notes, {}
        used, self._used = self._used, {}
        return TaskResult(stored, failed, seconds, peak_gpu_bytes(), self.routes, notes, used)


def cache_folder(cache: str | None, store: Store) -> Path:
    """Where latents, masks and text embeddings are kept.

    Raises:
        OptionError: none is given and the store is not on a local disk.
    """
    if cache:
        return Path(cache)
    if "://" in store.location:
        raise OptionError(f"index: a store at {store.location} needs a local cache folder; give one with --cache")
    return store.path / "cache"


def peak_gpu_bytes() -> int:
    """The most memory that this process has had on a GPU, on whichever it works; 0 without one."""
    if not torch.cuda.is_initialized():
        return 0
    return max(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))


def _chunks(tasks: Iterable[Task], limit: int) -> Iterator[list[Task]]:
    """Runs of tasks with at least ``limit`` clips, but for the last."""
    chunk: list[Task] = []
    count = 0
    for task in tasks:
        chunk.append(task)
        count += len(task.clips)
        if count >= limit:
            yield chunk
            chunk, count = [], 0
    if chunk:
        yield chunk


def _vectors(gradients: ClipGradients, clips: Sequence[EncodedClip | None]) -> list[ClipVector | None]:
    """The vector of each clip that is there.

    Where a parameter takes the stream route, a bad clip would spoil the others of its pass, so each has its own. A
    model shows its routes in its first pass, which is therefore taken again if it turns out so.
    """
    mate = next((clip for clip in clips if clip is not None), None)
    if mate is None:
        return [None] * len(clips)
    if not _streams(gradients):
        empty = _at_weight_zero(mate)
        found = gradients([empty if clip is None else clip for clip in clips])
        if len(clips) == 1 or not _streams(gradients):
            return [None if clip is None else vector for clip, vector in zip(clips, found, strict=True)]
    return [None if clip is None else gradients([clip])[0] for clip in clips]


def _streams(gradients: ClipGradients) -> bool:
    return "stream" in gradients.routes.values()


def _at_weight_zero(mate: EncodedClip) -> EncodedClip:
    """What stands in a batch for a clip that cannot be used."""
    return replace(
        mate,
        latents=torch.zeros_like(mate.latents),
        weights=torch.zeros_like(mate.weights),
        conditioning={name: torch.zeros_like(value) for name, value in mate.conditioning.items()},
    )


def index_worker(spec: WorkerSpec, in_flight: InFlight) -> Worker:
    """The worker that computes vectors in a process of a pool."""
    torch.set_num_threads(max(1, spec.config.threads))
    setup, store = set_up(spec.config), Store.open(spec.store)
    require_same_identity(store.identity, setup.identity, "worker")
    if setup.vectors_digest != spec.vectors_digest:
        raise StoreError(f"worker: settings beyond the identity of {spec.store} differ in this process; run it again")
    return Worker(setup, store, show_progress=False, in_flight=in_flight)
