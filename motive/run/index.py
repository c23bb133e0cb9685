"""The main job: a dataset of clips into a store of gradient vectors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from motive.curate import source_fields
from motive.data import Dataset, read_dataset
from motive.errors import StoreError
from motive.run.config import IndexConfig, from_json, to_json
from motive.run.probe import probe as probe_clips
from motive.run.record import RunRecord
from motive.run.setup import Setup, set_up
from motive.run.worker import Worker
from motive.store import Store, require_same_identity


@dataclass(frozen=True)
class IndexSummary:
    """What an index run did.

    Attributes:
        store: its folder.
        stored: clips added by this run.
        already: clips that the store held before.
        failed: clips left out by this run, each in failed.parquet with its reason.
    """

    store: Path
    stored: int
    already: int
    failed: int


def index(
    dataset: Path | str,
    *,
    out: Path | str,
    model: str | None = None,
    config: IndexConfig | None = None,
    probe: int = 0,
    show_progress: bool = False,
) -> IndexSummary:
    """Gradient vectors for every clip of a dataset (paper, sections 4.1 to 4.3).

    Resumable: a run into a store that was begun with the same settings adds what is missing, and an interrupted one
    loses at most the clips of one uncommitted shard.

    Args:
        dataset: folder of videos or a metadata file.
        out: the store's folder; made if absent.
        model: overrides config.model.
        config: settings; default IndexConfig().
        probe: first compare exact with projected cosines on this many clips and record the result; 0 for none.
        show_progress: draw progress bars on stderr.

    Raises:
        DatasetError, ModelError, OptionError: nothing was started.
        IdentityMismatch: ``out`` is a store made with other settings.
    """
    config = config or IndexConfig()
    if model is not None:
        config = replace(config, model=model)
    found = read_dataset(Path(dataset), config.dataset_format, follow_links=config.follow_links)
    return Job("index", found, Path(out), probe, show_progress).run(set_up(config))


def query(
    clips: Path | str, *, like: Path | str, out: Path | str, show_progress: bool = False, device: str | None = None
) -> IndexSummary:
    """Gradient vectors of query clips, with every setting read from an existing store.

    Args:
        clips: folder of videos or a metadata file.
        like: the store to be comparable with.
        out: folder of the new store.
        show_progress: draw progress bars on stderr.
        device: where to compute, if other than for the store; it does not enter the identity.

    Raises:
        IdentityMismatch: the model's weights have changed since ``like`` was made.
    """
    reference = Store.open(Path(like))
    config = stored_config(reference)
    config = replace(config, dataset_format="auto", device=device or config.device)
    setup = set_up(config)
    require_same_identity(reference.identity, setup.identity, "query")
    return Job("query", read_dataset(Path(clips)), Path(out), 0, show_progress).run(setup)


def stored_config(store: Store) -> IndexConfig:
    """The settings that a store was made with."""
    data = store.manifest["extra"].get("config")
    if data is None:
        raise StoreError(
            f"query: {store.path} must be a store made by motive index, got one without config; index again"
        )
    return from_json(IndexConfig, data, str(store.path))


@dataclass(frozen=True)
class Job:
    """One run of clips into a store.

    Attributes:
        verb: ``index`` or ``query``.
        dataset: the clips.
        out: the store's folder.
        probe: clips to compare exact with projected cosines on; 0 for none.
        show_progress: draw progress bars on stderr.
    """

    verb: str
    dataset: Dataset
    out: Path
    probe: int
    show_progress: bool

    def run(self, setup: Setup) -> IndexSummary:
        """Store what is missing, and write run.json."""
        dataset = self.dataset
        store = open_or_create(self.out, setup, dataset, self.verb)
        done = store.done_ids()
        todo = [clip for clip in dataset.clips if clip.clip_id not in done]
        arguments = {"dataset": str(dataset.location), "probe": self.probe}
        record = RunRecord(self.out / "run.json", self.verb, arguments, to_json(setup.config))
        store.append_failures(dataset.failures)
        if self.probe:
            # A worker of its own, so that what it notes is not counted twice.
            found = probe_clips(setup, Worker(setup, store, self.show_progress), dataset.clips, self.probe)
            record.add(probe=asdict(found))
        worker = Worker(setup, store, self.show_progress)
        try:
            worker.run(todo)
        finally:
            counts = {
                "stored": worker.stored,
                "already": len(dataset.clips) - len(todo),
                "failed": worker.failed + len(dataset.failures),
            }
            record.finish(routes=worker.routes, **counts)
        return IndexSummary(self.out, **counts)


def open_or_create(out: Path, setup: Setup, dataset: Dataset, verb: str) -> Store:
    """The store at ``out``, made if absent; refused if its vectors would not be comparable with the new ones."""
    if (out / "manifest.json").is_file():
        store = Store.open(out)
        require_same_identity(store.identity, setup.identity, f"{verb} into {out}")
        return store
    extra = {"config": to_json(setup.config), "source": source_fields(dataset)}
    dim = setup.config.draws.parts * setup.projector.dim
    return Store.create(out, identity=setup.identity, dim=dim, manifest_extra=extra)
