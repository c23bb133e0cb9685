"""Checking every byte of a store, and saying what is wrong with which file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from motive.errors import StoreError
from motive.publish import TEMPORARY_PREFIX
from motive.result import Result
from motive.store.failures import FAILED, FailureList
from motive.store.files import Files
from motive.store.ids import ClipIds, sort_ids
from motive.store.index import (
    Index,
    ShardFiles,
    check_content,
    check_size,
    committed_names,
    load_commit,
    read_table,
    standing,
)
from motive.store.location import open_files
from motive.store.manifest import MANIFEST, MANIFEST_COPY, Manifest, parse_manifest
from motive.store.records import COMMITS, SHARDS, Commit, commit_file
from motive.store.tables import FAILURE_COLUMNS, decode_table, failures_of

_BLOCK_ROWS = 1 << 14
_LISTED = 20


@dataclass(frozen=True)
class Finding:
    """Something about one file.

    Attributes:
        file: its name, relative to the store.
        reason: what is wrong, or worth knowing.
    """

    file: str
    reason: str


@dataclass(frozen=True)
class VerifyReport(Result):
    """What a check of every byte found.

    Attributes:
        path: where the store is.
        problems: damage; reading what it touches raises StoreError.
        notes: harmless things: clips committed twice, leftovers of a crash, a stale failed.parquet.
        clips: clips that can be read.
        failures: clips listed as failed.
        shards: committed shards that are whole.
        bytes: bytes checked.
    """

    path: str
    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    clips: int = 0
    failures: int = 0
    shards: int = 0
    bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether everything that was committed is there, byte for byte."""
        return not self.problems

    def lines(self) -> list[str]:
        """The report for people, a finding a line."""
        state = "ok" if self.ok else f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        head = f"{self.path}: {state}; {self.clips} clips in {self.shards} shards, {self.bytes} bytes checked"
        problems = [f"  problem  {item.file}: {item.reason}" for item in self.problems]
        return [head, *problems, *(f"  note     {item.file}: {item.reason}" for item in self.notes)]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def verify_store(path: Path | str) -> VerifyReport:
    """Check every byte of a store; damage is reported, never raised.

    Checked are: the manifest's and each commit's digest and fields; each file's size and digest; that vectors
    are finite; that ids are UTF-8, sorted, unique, and the same in both files of a shard; that index columns
    are those of the manifest. Works on stores that Store.open refuses.
    """
    return _Check(open_files(path)).run()


class _Check:
    def __init__(self, files: Files) -> None:
        self.files = files
        self.problems: list[Finding] = []
        self.notes: list[Finding] = []
        self.commits: dict[str, Commit] = {}
        self.replaced: list[Commit] = []
        self.ids: dict[str, ClipIds] = {}
        self.bytes = 0

    def run(self) -> VerifyReport:
        manifest = self._manifest()
        if manifest is None:
            return VerifyReport(self.files.location, self.problems, self.notes)
        self._copy_of(manifest)
        found = self._guarded(COMMITS, lambda: committed_names(self.files)) or []
        for name in found:
            self._guarded(commit_file(name), lambda name=name: self._load(name, manifest))
        for name in sorted(set(self.commits) - set(standing(self.commits))):
            self.replaced.append(self.commits.pop(name))
            self.notes.append(Finding(commit_file(name), "replaced by a later shard; repair --sweep removes it"))
        for commit in list(self.commits.values()):
            self._guarded(commit_file(commit.name), lambda commit=commit: self._shard(commit, manifest))
        clips = self._duplicates()
        failures = self._failures() if all(commit.name in self.ids for commit in self._vectors()) else 0
        self._leftovers()
        whole = sum(1 for commit in self.commits.values() if commit.kind == "failures" or commit.name in self.ids)
        return VerifyReport(self.files.location, self.problems, self.notes, clips, failures, whole, self.bytes)

    def _guarded(self, file: str, step: Any) -> Any:
        """Run a step; a StoreError in it becomes a problem of the file."""
        try:
            return step()
        except StoreError as error:
            self.problems.append(Finding(file, _without_place(str(error), self.files.where(file))))
            return None

    def _manifest(self) -> Manifest | None:
        if self.files.size(MANIFEST) is None:
            self.problems.append(Finding(MANIFEST, "is missing; this is no store, or restore the manifest"))
            return None

        def read() -> Manifest:
            data = self.files.read(MANIFEST)
            self.bytes += len(data)
            return parse_manifest(data, self.files.where(MANIFEST))

        return self._guarded(MANIFEST, read)

    def _copy_of(self, manifest: Manifest) -> None:
        """Note a copy of the manifest that is not equal to it; stores of older software have none."""
        if self.files.size(MANIFEST_COPY) is None:
            return
        try:
            data = self.files.read(MANIFEST_COPY)
            self.bytes += len(data)
            same = parse_manifest(data, MANIFEST_COPY) == manifest
        except StoreError:
            same = False
        if not same:
            self.notes.append(Finding(MANIFEST_COPY, "damaged; motive repair writes it again"))

    def _load(self, name: str, manifest: Manifest) -> None:
        self.commits[name] = load_commit(self.files, name, manifest.digest)
        self.bytes += self.files.size(commit_file(name)) or 0

    def _shard(self, commit: Commit, manifest: Manifest) -> None:
        name = commit.name
        whole = [self._file(commit, suffix) for suffix in sorted(commit.files)]
        if not all(whole):
            return
        columns = manifest.columns if commit.kind == "vectors" else FAILURE_COLUMNS
        table = self._guarded(commit.file("parquet"), lambda: read_table(self.files, commit, columns))
        if commit.kind == "vectors":
            ids = self._guarded(commit.file("safetensors"), lambda: self._vector_file(commit, manifest.dim))
            if ids is not None and table is not None:
                self.ids[name] = ids
                if table.column("clip_id").to_pylist() != ids.tolist():
                    self.problems.append(Finding(commit.file("parquet"), "clip ids must equal those of the vectors"))

    def _file(self, commit: Commit, suffix: str) -> bool:
        name, expected = commit.file(suffix), commit.files[suffix]

        def check() -> bool:
            check_size(self.files, name, expected.size)
            self.bytes += expected.size
            check_content(self.files, name, expected.digest)
            return True

        return bool(self._guarded(name, check))

    def _vector_file(self, commit: Commit, dim: int) -> ClipIds:
        shard = ShardFiles(self.files, dim, check=False)
        ids = shard.ids(commit)
        name = commit.file("safetensors")
        order, repeated = sort_ids(ids)
        if repeated.any() or (order[1:] < order[:-1]).any():
            self.problems.append(Finding(name, "ids must be sorted and unique"))
        for start in range(0, commit.rows, _BLOCK_ROWS):
            block = shard.vectors(commit, start, min(start + _BLOCK_ROWS, commit.rows))
            bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
            if bad.size:
                clip_id = ids[start + int(bad[0])]
                self.problems.append(Finding(name, f"vectors must be finite, got NaN or infinity for {clip_id!r}"))
                break
        return ids

    def _vectors(self) -> list[Commit]:
        return [commit for _, commit in sorted(self.commits.items()) if commit.kind == "vectors"]

    def _duplicates(self) -> int:
        """Note clips committed more than once; returns the number of distinct clips."""
        commits = [commit for commit in self._vectors() if commit.name in self.ids]
        names = [commit.name for commit in commits]
        merged = Index.merge(commits, [self.ids[name] for name in names])
        for clip_id in list(merged.repeated)[:_LISTED]:
            holders = [name for name in names if self.ids[name].find(clip_id) >= 0]
            self.notes.append(
                Finding(
                    ", ".join(f"{SHARDS}/{name}" for name in holders),
                    f"clip {clip_id!r} was committed {merged.repeated[clip_id] + 1} times; readers take the first",
                )
            )
        if len(merged.repeated) > _LISTED:
            self.notes.append(Finding(SHARDS, f"{len(merged.repeated)} clips in all were committed more than once"))
        return len(merged.ids)

    def _failures(self) -> int:
        """Compare failed.parquet with the failure shards; returns the number of failures that stand."""
        commits = [commit for commit in self.commits.values() if commit.kind == "failures"]
        known = list(self.ids.values())
        listing = FailureList(self.files, lambda clip_id: any(ids.find(clip_id) >= 0 for ids in known))
        listing.reset(commits)
        try:
            expected = listing.listed()
        except StoreError:
            return 0  # the damaged shard is listed already
        size = self.files.size(FAILED)
        if size is None and not expected:
            return 0
        try:
            data = self.files.read(FAILED)
            self.bytes += len(data)
            table = decode_table(data, FAILURE_COLUMNS, len(expected), self.files.where(FAILED))
            stale = failures_of(table) != expected
        except StoreError:
            stale = True
        if stale:
            self.notes.append(Finding(FAILED, "out of date or damaged; it is a copy, written again by the next run"))
        return len(expected)

    def _leftovers(self) -> None:
        """Note files that no commit names: what a crash leaves."""
        owned = {commit_file(name) for name in committed_names(self.files)}
        commits = (*self.commits.values(), *self.replaced)
        owned |= {commit.file(suffix) for commit in commits for suffix in commit.files}
        loose = [name for name in self.files.names() if name.startswith(TEMPORARY_PREFIX)]
        for folder in (SHARDS, COMMITS):
            names = [f"{folder}/{name}" for name in self.files.names(folder)]
            loose += [name for name in names if name not in owned]
        for name in loose[:_LISTED]:
            size = self.files.size(name) or 0
            self.notes.append(Finding(name, f"{size} bytes that no commit names; readers ignore it"))
        if len(loose) > _LISTED:
            self.notes.append(Finding(SHARDS, f"{len(loose)} files in all that no commit names"))


def _without_place(message: str, place: str) -> str:
    return message.removeprefix(f"{place}: ")
