"""Taking what is broken out of a store, so that the rest can be read and the next run redoes what was lost."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from motive.errors import StoreError
from motive.publish import TEMPORARY_PREFIX
from motive.result import Result
from motive.store.compact import remove_replaced
from motive.store.files import Files
from motive.store.ids import clip_of
from motive.store.index import ShardFiles, committed_names, load_commit, read_table
from motive.store.location import open_files
from motive.store.manifest import MANIFEST, MANIFEST_COPY, Manifest, parse_manifest
from motive.store.records import (
    COMMITS,
    KINDS,
    SHARDS,
    commit_file,
    shard_file,
)
from motive.store.store import Store
from motive.store.verify import verify_store

QUARANTINE = "quarantine"
REDO = "redo.jsonl"


@dataclass
class RepairReport(Result):
    """What a repair did.

    Attributes:
        path: where the store is.
        quarantined: shard -> why it was taken out.
        redo: ids of the clips that have no vector any more, sorted; the next run of motive index redoes them.
        unnamed: shards whose ids could not be read; the next run finds their clips missing all the same.
        notes: further things that were done.
    """

    path: str
    quarantined: dict[str, str] = field(default_factory=dict)
    redo: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report for people."""
        head = f"{self.path}: {len(self.quarantined)} shards quarantined, {len(self.redo)} clips to redo"
        lines = [head, *(f"  quarantined  {name}: {reason}" for name, reason in sorted(self.quarantined.items()))]
        lines += [f"  no ids       {name}: its clips are redone like any that are missing" for name in self.unnamed]
        lines += [f"  note         {note}" for note in self.notes]
        if self.quarantined:
            lines.append(f"  {QUARANTINE}/{REDO}: the clips to redo; run the same motive index command again")
        return lines


def repair_store(path: Path | str, *, sweep: bool = False) -> RepairReport:
    """Make a damaged store whole: move broken shards to ``quarantine/`` and list the clips to redo.

    A shard's record is moved first, so that the shard ceases to exist in one step; a repair that is cut short is
    simply run again. Nothing is deleted but what ``sweep`` names. Vectors that stay are byte for byte what they were.

    Args:
        path: the store.
        sweep: nobody is writing to the store: also remove unfinished files and shards that others replace.

    Raises:
        StoreError: the manifest and its copy are both lost (nothing says what the vectors are), or the store cannot
            be written.
    """
    files = open_files(path)
    report = RepairReport(files.location)
    _restore_manifest(files, report)
    manifest = parse_manifest(files.read(MANIFEST), files.where(MANIFEST))
    for finding in verify_store(path).problems:
        name = Path(finding.file).stem
        if finding.file.startswith((f"{COMMITS}/", f"{SHARDS}/")) and name not in report.quarantined:
            report.quarantined[name] = finding.reason
    lost: set[str] = set()
    for name in sorted(report.quarantined):
        ids = _ids_of(files, name, manifest)
        if ids is None:
            report.unnamed.append(name)
        lost.update(ids or ())
        _quarantine(files, name)
    store = Store.open(path)
    done = store.done_ids()
    report.redo = sorted(set(store.clips_of(sorted(lost))) - done)
    _note_parts(store, lost, done, report)
    if report.quarantined:
        _write_redo(files, report.redo)
    store.write_failed()
    if sweep:
        _sweep(store, report)
    return report


def _restore_manifest(files: Files, report: RepairReport) -> None:
    """Write the manifest from its copy, or the copy from the manifest, whichever is sound."""
    found: dict[str, bytes] = {}
    for name in (MANIFEST, MANIFEST_COPY):
        try:
            data = files.read(name)
            parse_manifest(data, files.where(name))
            found[name] = data
        except StoreError as error:
            reason = error
    if not found:
        raise StoreError(
            f"repair {files.location}: {MANIFEST} or {MANIFEST_COPY} must be whole, got neither ({reason}); "
            "restore one of them from a copy of the store"
        )
    good = found.get(MANIFEST) or found[MANIFEST_COPY]
    for name in (MANIFEST, MANIFEST_COPY):
        if found.get(name) != good:
            files.publish(name, good, replace=True)
            report.notes.append(f"{name}: written again")


def _note_parts(store: Store, lost: Iterable[str], done: Container[str], report: RepairReport) -> None:
    """Name the clips that lost some segments and keep others, as in a store whose shards cut clips apart."""
    if not store.segments:
        return
    gone = {clip_of(row_id) for row_id in lost if store.ids.find(row_id) < 0}
    report.notes += [
        f"clip {clip_id!r}: some of its segments are lost, and with the others it counts as done; merge a whole store "
        "into this one, or index into a new one"
        for clip_id in sorted(gone)
        if clip_id in done
    ]


def _ids_of(files: Files, name: str, manifest: Manifest) -> list[str] | None:
    """Ids of the clips in a broken shard, if any of its files still tells them; none for a shard of failures."""
    try:
        commit = load_commit(files, name, manifest.digest)
    except StoreError:
        return None
    if commit.kind == "failures":
        return []
    try:
        return ShardFiles(files, manifest.dim, check=False).ids(commit).tolist()
    except StoreError:
        pass
    try:
        return read_table(files, commit, manifest.columns).column("clip_id").to_pylist()
    except StoreError:
        return None


def _quarantine(files: Files, name: str) -> None:
    suffixes = sorted({suffix for kind in KINDS.values() for suffix in kind})
    for file in (commit_file(name), *(shard_file(name, suffix) for suffix in suffixes)):
        if files.size(file) is not None:
            files.move(file, f"{QUARANTINE}/{file}")


def _write_redo(files: Files, ids: Iterable[str]) -> None:
    lines = "".join(json.dumps({"clip_id": clip_id}, ensure_ascii=True) + "\n" for clip_id in ids)
    files.publish(f"{QUARANTINE}/{REDO}", lines.encode("ascii"), replace=True)


def _sweep(store: Store, report: RepairReport) -> None:
    """Remove what a crash or a compaction left behind."""
    removed = remove_replaced(store)
    files = store.files
    store = Store.open(store.location)
    owned = {commit_file(name) for name in committed_names(files)}
    owned |= {commit.file(suffix) for commit in store.commits.values() for suffix in commit.files}
    loose = [name for name in files.names() if name.startswith(TEMPORARY_PREFIX)]
    for folder in (SHARDS, COMMITS):
        loose += [f"{folder}/{name}" for name in files.names(folder) if f"{folder}/{name}" not in owned]
    for name in loose:
        files.remove(name)
    report.notes.append(f"{removed} replaced shards and {len(loose)} unfinished files removed")
