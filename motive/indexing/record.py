"""run.json: what a run did, with what, so that it can be read and replayed."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import motive_kernels as mk
from motive.errors import StoreError
from motive.indexing.setup import Setup
from motive.store.files import Files
from motive.versions import git_commit, versions

Verb = Literal["index", "query"]
"""Verbs that fill a store, and that a record can be replayed of."""


def ending(error: BaseException) -> str:
    """How a run ended that did not complete: interrupted, or the class of what stopped it."""
    return "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__


class RunRecord:
    """The record of one run, written at its start and completed at its end.

    Args:
        files: of the store.
        name: of the record, run.json or that of one of several processes.
        verb: ``index`` or ``query``.
        arguments: what a replay needs beside the config.
        setup: with resolved settings.
    """

    def __init__(self, files: Files, name: str, verb: Verb, arguments: Mapping[str, Any], setup: Setup) -> None:
        self._files, self._name = files, name
        self._began = time.time()
        self._record: dict[str, Any] = {
            "verb": verb,
            "arguments": dict(arguments),
            "config": setup.config.to_json(),
            "vectors_digest": setup.vectors_digest,
            "weight_notes": list(setup.adapter.weight_notes()),
            "versions": versions(),
            "commit": git_commit(),
            "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
            "implementations": mk.implementations(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began)),
            "status": "running",
            "finished": None,
        }
        self._write()

    def add(self, **facts: Any) -> None:
        """Add facts under their names and write the record."""
        self._record.update(facts)
        self._write()

    def finish(self, **facts: Any) -> None:
        """Add the closing facts and the duration."""
        self._record["finished"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._record["seconds"] = round(time.time() - self._began, 3)
        self.add(**facts)

    def _write(self) -> None:
        publish_json(self._files, self._name, self._record)


def publish_json(files: Files, name: str, value: Any) -> None:
    """Write JSON beside a store's own files, so that readers see the old file or the new one, never a part."""
    files.publish(name, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode(), replace=True)


def read_record(path: Path) -> dict[str, Any]:
    """A run.json as it was written.

    Raises:
        StoreError: not there, not a record, or without what a replay needs.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"replay: {path} must be a run.json, got {error}; give the file that a run wrote") from error
    if not isinstance(record, dict) or not {"verb", "arguments", "config"} <= set(record):
        raise StoreError(f"replay: {path} lacks verb, arguments or config; give the run.json that a run wrote")
    verb, arguments = record["verb"], record["arguments"]
    if verb not in get_args(Verb) or not isinstance(arguments, dict):
        raise StoreError(
            f"replay: {path} must hold the verb index or query and its arguments, got {str(verb)[:100]!r} and "
            f"{type(arguments).__name__}; restore the file"
        )
    if not isinstance(arguments.get("dataset"), str) or type(arguments.get("probe", 0)) is not int:
        raise StoreError(
            f"replay: in the arguments of {path}, dataset must be a path and probe a number, got "
            f"{arguments.get('dataset')!r} and {arguments.get('probe')!r}; restore the file"
        )
    return record
