"""Run again what a run.json says was run."""

from __future__ import annotations

from pathlib import Path

from motive.indexing.config import IndexConfig
from motive.indexing.index import IndexSummary, Job, read_clips
from motive.indexing.record import read_record
from motive.indexing.setup import set_up
from motive.workers.launch import LaunchConfig


def replay(record: Path | str, *, out: Path | str, show_progress: bool = False) -> IndexSummary:
    """Repeat the run that wrote a run.json, with its resolved settings, into another store.

    Args:
        record: a run.json.
        out: folder of the new store.
        show_progress: draw progress bars on stderr.

    Raises:
        StoreError: not a run.json. DatasetError, ModelError: what it used has gone.
    """
    written = read_record(Path(record))
    config = IndexConfig.from_json(written["config"], str(record))
    arguments = written["arguments"]
    found, config = read_clips(arguments["dataset"], config, show_progress)
    job = Job(written["verb"], found, out, arguments.get("probe", 0), show_progress, LaunchConfig())
    return job.run(set_up(config))
