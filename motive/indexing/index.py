"""The main job: a dataset of clips into a store of gradient vectors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from motive.addresses import scheme_of
from motive.config import to_json
from motive.data import Dataset, read_dataset
from motive.data.clip_list import ClipsById
from motive.data.shards.cache import default_cache
from motive.data.shards.listed import remote_shards
from motive.errors import ConfigError, OptionError, StoreError
from motive.gradients.segments import check_regions
from motive.indexing.config import IndexConfig, ReadConfig, Role, names_with
from motive.indexing.probe import check_probe
from motive.indexing.probe import probe as probe_clips
from motive.indexing.record import RunRecord, Verb, ending, publish_json
from motive.indexing.setup import Setup, set_up
from motive.indexing.summary import IndexSummary, facts, tally
from motive.indexing.work import QUARANTINED, in_processes, work
from motive.indexing.worker import Worker, cache_folder
from motive.store import Code, Origin, PlanConfig, Source, Store, require_comparable, require_same_identity
from motive.store.files import LocalFiles
from motive.store.location import open_files
from motive.store.manifest import MANIFEST
from motive.store.tables import index_columns
from motive.versions import git_commit, versions
from motive.workers.launch import LaunchConfig, rank_of
from motive.workers.plan import make_tasks, share
from motive.workers.reporter import RunReporter


def read_clips(path: Path | str, config: IndexConfig, show_progress: bool = False) -> tuple[Dataset, IndexConfig]:
    """A dataset by a config's settings, and the config with its folders as absolute paths.

    Shards at addresses are fetched, with a progress bar if show_progress is set.

    Raises:
        DatasetError, OptionError: as read_dataset.
    """
    found = read_dataset(
        path,
        config.dataset_format,
        root=config.root or None,
        path_map=config.path_map,
        follow_links=config.follow_links,
        shard_cache=config.shard_cache,
        show_progress=show_progress,
    )
    part = next((part for part in found.parts if part.source_fps), None)
    if config.latents is not None and part is not None:
        raise ConfigError(
            "index",
            f"{{latents}} must be left out for {part.name}, which sets source_fps: musubi-tuner then leaves frames out, and "
            "its files do not say which",
        )
    roots = tuple(str(root) for root in found.options.roots)
    config = replace(config, root=roots, path_map=tuple("=".join(pair) for pair in found.options.path_map))
    if remote_shards(found) is not None:
        config = replace(config, shard_cache=os.path.abspath(config.shard_cache or default_cache()))
    return found, config


def index(
    dataset: Path | str,
    *,
    out: Path | str,
    model: str | None = None,
    config: IndexConfig | None = None,
    probe: int = 0,
    show_progress: bool = False,
    launch: LaunchConfig | None = None,
) -> IndexSummary:
    """Gradient vectors for every clip of a dataset (paper, sections 4.1 to 4.3).

    Resumable: a run into a store that was created with the same settings adds what is missing, and an interrupted one
    loses at most the clips of one uncommitted shard.

    Args:
        dataset: folder of videos or a metadata file, or shards by a pattern or their addresses.
        out: the store's folder, or an address such as s3://bucket/store; made if absent.
        model: overrides config.model.
        config: settings, those that decide vectors and those of the run in one; default IndexConfig().
        probe: first compare exact with projected cosines on this many clips and record the result; 0 for none.
        show_progress: draw progress bars on stderr.
        launch: who does the work; default: this process. The vectors do not depend on it.

    Raises:
        DatasetError, ModelError, OptionError: nothing was started.
        IdentityMismatch: ``out`` is a store made with other settings.
        StoreError: the store cannot be written; what was committed stays, and the same call resumes there.
        WorkerLost: worker processes keep dying.
    """
    config = config or IndexConfig()
    if model is not None:
        config = replace(config, model=model)
    found, config = read_clips(dataset, config, show_progress)
    return Job("index", found, out, probe, show_progress, launch or LaunchConfig()).run(set_up(config, found.parts))


def query(
    clips: Path | str,
    *,
    like: Path | str,
    out: Path | str,
    show_progress: bool = False,
    device: str | None = None,
    read: ReadConfig | None = None,
    segments: str = "",
    launch: LaunchConfig | None = None,
) -> IndexSummary:
    """Gradient vectors of query clips, with every setting read from an existing store.

    Args:
        clips: folder of videos or a metadata file.
        like: the store to be comparable with.
        out: folder of the new store.
        show_progress: draw progress bars on stderr.
        device: where to compute, if other than for the store; it does not enter the identity.
        read: how the query clips are read; their folders are not those of the store.
        segments: parts of each query clip that become a query each, as in IndexConfig; whole clips are the default,
            also for a store of segments.
        launch: who does the work; default: this process.

    Raises:
        IdentityMismatch: the model's weights have changed since ``like`` was made.
    """
    reference = Store.open(like)
    config = stored_config(reference)
    read = read or ReadConfig()
    links = config.follow_links if read.follow_links is None else read.follow_links
    reading = {
        "dataset_format": read.dataset_format,
        "root": read.root,
        "path_map": read.path_map,
        "latents": read.latents,
        "latents_fps": read.latents_fps,
        "shard_cache": read.shard_cache or config.shard_cache,
    }
    config = replace(config, **reading, follow_links=links, device=device or config.device, segments=segments)
    if read.buckets.given:
        config = replace(config, buckets=read.buckets)
    found, config = read_clips(clips, config, show_progress)
    setup = set_up(config, found.parts)
    require_comparable(reference.identity, setup.identity, "query")
    return Job("query", found, out, 0, show_progress, launch or LaunchConfig()).run(setup)


def stored_config(store: Store) -> IndexConfig:
    """The settings that a store was made with."""
    data = store.manifest.origin.config
    if data is None:
        raise StoreError(f"{store.location} does not say with which settings it was made; make it with motive index")
    return IndexConfig.from_json(data, store.location)


@dataclass(frozen=True)
class Job:
    """One run of clips into a store.

    Attributes:
        verb: ``index`` or ``query``.
        dataset: the clips.
        out: the store's folder or address.
        probe: clips to compare exact with projected cosines on; 0 for none.
        show_progress: draw progress bars on stderr.
        launch: who does the work.
    """

    verb: Verb
    dataset: Dataset
    out: Path | str
    probe: int
    show_progress: bool
    launch: LaunchConfig

    def run(self, setup: Setup) -> IndexSummary:
        """Store what is missing, and write run.json and summary.json."""
        dataset, rank = self.dataset, rank_of(self.launch.launcher, os.environ)
        check_regions(setup.config.segments, dataset.clips)
        if self.probe:
            check_probe(setup, self.probe)
        store = open_or_create(self.out, setup, dataset, self.verb)
        setup = as_created(setup, store, self.verb)
        done = store.done_ids()
        ids = [clip.clip_id for clip in dataset.clips]
        # An unrelated process may share a store with this one; only the first of several writes what they have in common.
        suffix = "" if rank.rank == 0 else f".{rank.rank}"
        arguments = {"dataset": str(dataset.location), "probe": self.probe}
        record = RunRecord(store.files, f"run{suffix}.json", self.verb, arguments, setup)
        if rank.rank == 0:
            store.append_failures(dataset.failures)
        if self.probe:
            with Worker(setup, store, self.show_progress) as prober:  # separate: its notes are not counted twice
                record.add(probe=to_json(probe_clips(setup, prober, dataset.clips, self.probe)))
        plan, poison, buckets = plan_of(store, ids, setup.config), self._poison(store), setup.config.buckets.given
        tasks = share(make_tasks(ids, plan, done, poison, buckets=buckets), rank.rank, rank.world)
        todo = sum(len(task.wanted) for task in tasks)
        reporter = self._reporter(store, setup, todo, suffix)
        status = "complete"
        try:
            work(tasks, ClipsById(dataset.clips), setup, store, self.launch, rank, reporter, self.show_progress)
        except BaseException as error:
            status = ending(error)
            raise
        finally:
            counts = {
                "stored": reporter.stored,
                "already": sum(clip_id in done for clip_id in ids),
                "failed": reporter.failed + (len(dataset.failures) if rank.rank == 0 else 0),
            }
            record.finish(status=status, routes=reporter.routes, **counts)
            reporter.close(already=counts["already"])
            done_now = self._summary(store, counts, reporter, setup)
            publish_json(store.files, f"summary{suffix}.json", {**reporter.summary(), **counts, **facts(done_now)})
        return done_now

    def _summary(self, store: Store, counts: Mapping[str, int], ran: RunReporter, setup: Setup) -> IndexSummary:
        reasons, examples = tally(store.failures())
        return IndexSummary(
            self.out,
            **counts,
            reasons=reasons,
            examples=examples,
            rows=self.dataset.rows,
            without_caption=self.dataset.without_caption,
            unread=self.dataset.unread,
            notes=dict(ran.notes),
            parts=self.dataset.parts,
            weight_notes=setup.adapter.weight_notes(),
            used=dict(ran.used),
            buckets=setup.config.buckets.given,
            read_as=self.dataset.read_as,
        )

    def _poison(self, store: Store) -> set[str]:
        if self.launch.retry_quarantined:
            return set()
        return {failure.clip_id for failure in store.failures() if failure.reason == QUARANTINED}

    def _reporter(self, store: Store, setup: Setup, todo: int, suffix: str) -> RunReporter:
        local = isinstance(store.files, LocalFiles)
        folder = store.path if local else cache_folder(setup.config.cache, store)
        folder.mkdir(parents=True, exist_ok=True)
        return RunReporter(
            clips=len(self.dataset.clips),
            todo=todo,
            log=folder / f"log{suffix}.jsonl",
            metrics=Path(self.launch.metrics) if self.launch.metrics else None,
            shown=self.show_progress and in_processes(self.launch),
        )


def open_or_create(out: Path | str, setup: Setup, dataset: Dataset, verb: str) -> Store:
    """The store at ``out``, made if absent; refused if its vectors would not be comparable with the new ones."""
    files = open_files(out)
    config = replace(setup.config, threads=setup.config.threads or torch.get_num_threads())
    if files.size(MANIFEST) is None:
        setup = replace(setup, config=config)
        origin = Origin(
            source=Source.of(dataset),
            config=config.to_json(),
            plan=PlanConfig.of((clip.clip_id for clip in dataset.clips), config.shard_rows, config.batch_size),
            code=Code(versions(), git_commit()),
        )
        try:
            return Store.create(
                out,
                identity=setup.identity,
                columns_schema=index_columns(segments=bool(config.segments), buckets=config.buckets.given),
                dim=setup.width,
                segments=config.segments,
                vectors_digest=setup.vectors_digest,
                origin=origin,
            )
        except OptionError:
            if files.size(MANIFEST) is None:
                raise  # else another process of this run was first
    store = Store.open(out)
    require_same_identity(store.identity, setup.identity, f"{verb} into {out}")
    require_same_source(store, dataset, verb)
    return store


def require_same_source(store: Store, dataset: Dataset, verb: str) -> None:
    """Refuse to add clips of another dataset: equal ids would be taken for the same clips, and no subset be written.

    Raises:
        OptionError: the store was made from another dataset.
    """
    known, given = store.manifest.origin.source, Source.of(dataset)
    if known is not None and not known.holds_clips_of(given):
        raise OptionError(
            f"{verb}: {store.location} holds clips of {known.location or known.root}, not of {given.location}; "
            "give another --out (motive merge joins stores)"
            if known.location != given.location or not scheme_of(given.location)
            else f"{verb}: the clips of {store.location} lie in {known.root}, not in {given.root}; give the same "
            "--shard-cache, or another --out"
        )


def as_created(setup: Setup, store: Store, verb: str) -> Setup:
    """The set-up with every setting that can change a vector's last bits as the store was created with.

    Raises:
        ConfigError: another value was given.
    """
    config = setup.config
    if config.segments != store.segments:
        raise _other_value(verb, "segments", store, store.segments, config.segments)
    if store.manifest.origin.config is not None:
        created = stored_config(store)
        for name in names_with(Role.EXACT):
            kept, given = getattr(created, name), getattr(config, name)
            if name == "threads" and 0 in (kept, given):  # 0 stands for whatever the store has
                kept = kept or given
            elif kept != given:
                raise _other_value(verb, name, store, kept, given)
            config = replace(config, **{name: kept})
    return replace(setup, config=replace(config, threads=config.threads or torch.get_num_threads()))


def _other_value(verb: str, name: str, store: Store, kept: object, given: object) -> ConfigError:
    return ConfigError(
        verb,
        f"{{{name}}} must be {kept or 'left out'}, as {store.location} was created, got {given or 'none'}; give the "
        "same, or another store",
    )


def plan_of(store: Store, ids: Sequence[str], config: IndexConfig) -> PlanConfig:
    """The plan that the store was created with; for a store without one, a plan of this dataset."""
    return store.manifest.origin.plan or PlanConfig.of(ids, config.shard_rows, config.batch_size)
